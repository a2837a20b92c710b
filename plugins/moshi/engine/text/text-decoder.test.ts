import { expect, test } from 'vitest';

import type { VocabularyPiece } from '../../../../models/manifest.ts';
import { StreamingTextDecoder, Vocabulary } from './text-decoder.ts';

const PIECES: VocabularyPiece[] = [
  { piece: '<unk>', kind: 'unknown' },
  { piece: '<s>', kind: 'control' },
  { piece: '</s>', kind: 'control' },
  { piece: '<pad>', kind: 'normal' },
  { piece: '▁Hel', kind: 'normal' },
  { piece: 'lo', kind: 'normal' },
  { piece: '▁a▁b', kind: 'user' },
  ...[0xe2, 0x82, 0xac].map((byte): VocabularyPiece => ({
    piece: `<0x${byte.toString(16).toUpperCase()}>`,
    kind: 'byte',
  })),
];
const [EURO_1, EURO_2, EURO_3] = [7, 8, 9] as const;
const decode = (...tokens: number[]): string[] => {
  const decoder = new StreamingTextDecoder(new Vocabulary(PIECES, [3, 0]));
  return tokens.map((token) => decoder.push(token));
};

test('spells spaces and joins pieces', () => {
  expect(decode(4, 5, 6)).toEqual([' Hel', 'lo', ' a b']);
});

test('says nothing for padding, control tokens and ids that do not exist', () => {
  expect(decode(0, 1, 2, 3, 99, -2)).toEqual(['', '', '', '', '', '']);
});

test('joins bytes when their character is complete, also across padding', () => {
  expect(decode(EURO_1, 3, EURO_2, 0, EURO_3, 5)).toEqual(['', '', '', '', '€', 'lo']);
});

test('shows bytes that nothing completes as a replacement character', () => {
  expect(decode(EURO_1, EURO_2, 5)).toEqual(['', '', '\uFFFDlo']);
});
