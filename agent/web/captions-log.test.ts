import { expect, test } from 'vitest';
import { addCaption, speakerOf, splitWords, type Caption } from './captions-log.ts';

function caption(id: string, text: string): Caption {
  return { id, speaker: 'agent', words: splitWords(text) };
}

test('shows the latest words of a segment at the place of its first', () => {
  let captions = addCaption([], caption('1', 'what is'));
  captions = addCaption(captions, caption('2', ' Hello there '));
  captions = addCaption(captions, caption('1', 'what is your name'));
  expect(captions.map(({ words }) => words.join(' '))).toEqual([
    'what is your name',
    'Hello there',
  ]);
});

test('shows no segment without words', () => {
  expect(addCaption([], caption('1', ' '))).toEqual([]);
});

test('keeps the last forty', () => {
  let captions: Caption[] = [];
  for (let index = 0; index < 50; index += 1) {
    captions = addCaption(captions, caption(`${index}`, 'word'));
  }
  expect(captions).toHaveLength(40);
  expect(captions[0]?.id).toBe('10');
});

test.each([
  ['visitor-1', 'user'],
  ['agent-AJ_1', 'agent'],
  ['visitor-2', 'guest'],
])('knows %s as %s', (identity, speaker) => {
  expect(speakerOf(identity, 'visitor-1')).toBe(speaker);
});
