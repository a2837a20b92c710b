import { expect, test } from 'vitest';
import { mergeCaptions, speakerOf } from './merge-captions.ts';

test('shows the latest text of a segment at the place of its first', () => {
  const captions = mergeCaptions([
    { id: 'u1', speaker: 'user', text: 'what is' },
    { id: 'a1', speaker: 'agent', text: ' Hello there ' },
    { id: 'u1', speaker: 'user', text: 'what is your name' },
  ]);
  expect(captions).toEqual([
    { id: 'u1', speaker: 'user', words: ['what', 'is', 'your', 'name'] },
    { id: 'a1', speaker: 'agent', words: ['Hello', 'there'] },
  ]);
});

test('keeps two speakers apart whose segments have the same name', () => {
  const captions = mergeCaptions([
    { id: '1', speaker: 'user', text: 'yes' },
    { id: '1', speaker: 'agent', text: 'no' },
  ]);
  expect(captions).toHaveLength(2);
});

test('shows no segment without words, and only the last forty', () => {
  const streams = Array.from({ length: 50 }, (_, index) => ({
    id: `${index}`,
    speaker: 'agent' as const,
    text: index === 49 ? ' ' : `line ${index}`,
  }));
  const captions = mergeCaptions(streams);
  expect(captions).toHaveLength(40);
  expect(captions.at(-1)?.id).toBe('48');
});

test.each([
  ['visitor-1', 'user'],
  ['agent-AJ_1', 'agent'],
  ['visitor-2', 'guest'],
])('knows %s as %s', (identity, speaker) => {
  expect(speakerOf(identity, 'visitor-1')).toBe(speaker);
});
