import { expect, test } from 'vitest';
import { editDistance, spokenWords, transcriptErrors } from './transcript-errors.ts';

test('spellings that sound the same count as the same words', () => {
  expect(spokenWords("I'm 42, it's my favourite colour — can't you hear?")).toEqual(
    'i am four two it is my favorite color can not you hear'.split(' '),
  );
  expect(spokenWords('Good-bye!')).toEqual(['goodbye']);
  expect(spokenWords('…')).toEqual([]);
});

test.each([
  ['tell me a joke', 'tell me a joke', 0],
  ['tell me a joke', 'tell me joke', 1],
  ['tell me a joke', 'tell us a good joke', 2],
  ['tell me a joke', '', 4],
  ['', 'oh well', 2],
])('from “%s” to “%s” it is %i words', (expected, found, distance) => {
  expect(editDistance(spokenWords(expected), spokenWords(found))).toBe(distance);
});

test('errors are counted over all words, right transcripts as a whole', () => {
  const pairs = [
    { said: 'what is your name', written: 'What is your name?' },
    { said: 'stop', written: 'do not stop' },
  ];
  expect(transcriptErrors(pairs)).toEqual({
    words: 5,
    errors: 2,
    rate: 0.4,
    right: 1,
    transcripts: 2,
  });
});
