import { expect, test } from 'vitest';

import type { VocabularyPiece } from '../../../../models/manifest.ts';
import { Vocabulary } from './text-decoder.ts';
import { TimedWords, type TimedWordsOptions, type WordEvent } from './timed-words.ts';

const PIECES: VocabularyPiece[] = [
  { piece: '<unk>', kind: 'unknown' },
  { piece: '<s>', kind: 'control' },
  { piece: '</s>', kind: 'control' },
  { piece: '<pad>', kind: 'normal' },
  { piece: '▁Hel', kind: 'normal' },
  { piece: 'lo', kind: 'normal' },
  { piece: '▁you', kind: 'normal' },
  ...[0xe2, 0x82, 0xac].map((byte): VocabularyPiece => ({
    piece: `<0x${byte.toString(16).toUpperCase()}>`,
    kind: 'byte',
  })),
];
const [EPAD, PAD, HEL, LO, YOU, EURO_1, EURO_2, EURO_3] = [0, 3, 4, 5, 6, 7, 8, 9] as const;

function timedWords(options: Partial<TimedWordsOptions> = {}): TimedWords {
  return new TimedWords({
    vocabulary: new Vocabulary(PIECES, [PAD, EPAD]),
    paddingToken: PAD,
    endOfPaddingToken: EPAD,
    delayFrames: 2,
    leadingSilenceMs: 0,
    ...options,
  });
}

/** What each token tells, those that tell nothing left out: [step, events]. */
function told(words: TimedWords, tokens: readonly number[]): [number, WordEvent[]][] {
  return tokens
    .map((token, step): [number, WordEvent[]] => [step, words.push(token)])
    .filter(([, events]) => events.length > 0);
}

test('a word starts at the end of padding before it and ends at the one after it', () => {
  const words = timedWords();
  // Step s is (s + 1 - 2) frames of 80 ms into the sound.
  expect(told(words, [PAD, PAD, EPAD, HEL, LO, PAD, PAD, EPAD, YOU, EPAD])).toEqual([
    [5, [{ type: 'word', text: 'Hello', startMs: 80 }]],
    [7, [{ type: 'end', endMs: 480 }]],
    [
      9,
      [
        { type: 'word', text: 'you', startMs: 480 },
        { type: 'end', endMs: 640 },
      ],
    ],
  ]);
  expect(words.finish(800)).toEqual([]);
});

test('words without an end of padding between them share a start and an end', () => {
  expect(told(timedWords(), [PAD, PAD, EPAD, YOU, PAD, YOU, PAD, EPAD])).toEqual([
    [4, [{ type: 'word', text: 'you', startMs: 80 }]],
    [6, [{ type: 'word', text: 'you', startMs: 80 }]],
    [7, [{ type: 'end', endMs: 480 }]],
  ]);
});

test.each([
  // The model has not come further than 160 ms; the sound has not; the sound ended before the word.
  { soundMs: 800, endMs: 160 },
  { soundMs: 100, endMs: 100 },
  { soundMs: 0, endMs: 80 },
])(
  'a word under way at the end of $soundMs ms of sound ends at $endMs ms',
  ({ soundMs, endMs }) => {
    const words = timedWords();
    expect(told(words, [PAD, PAD, EPAD, HEL])).toEqual([]);
    expect(words.finish(soundMs)).toEqual([
      { type: 'word', text: 'Hel', startMs: 80 },
      { type: 'end', endMs },
    ]);
    expect(words.finish(soundMs)).toEqual([]);
  },
);

test('what the model writes before its delay has passed means nothing', () => {
  expect(told(timedWords({ delayFrames: 4 }), [YOU, YOU, EPAD, HEL, LO, PAD])).toEqual([
    [5, [{ type: 'word', text: 'Hello', startMs: 0 }]],
  ]);
});

test('silence before the sound is taken off, and nothing starts before it', () => {
  const words = timedWords({ leadingSilenceMs: 100 });
  expect(told(words, [PAD, PAD, EPAD, YOU, EPAD, HEL, PAD])).toEqual([
    [
      4,
      [
        { type: 'word', text: 'you', startMs: 0 },
        { type: 'end', endMs: 140 },
      ],
    ],
    [6, [{ type: 'word', text: 'Hel', startMs: 140 }]],
  ]);
});

test('bytes become characters within a word, and do not leak into the next one', () => {
  expect(
    told(timedWords({ delayFrames: 0 }), [
      EURO_1,
      EURO_2,
      EURO_3,
      PAD,
      EURO_1,
      EURO_2,
      PAD,
      YOU,
      PAD,
    ]),
  ).toEqual([
    [3, [{ type: 'word', text: '€', startMs: 0 }]],
    [6, [{ type: 'word', text: '\uFFFD', startMs: 0 }]],
    [8, [{ type: 'word', text: 'you', startMs: 0 }]],
  ]);
});

test('tokens without text make no word', () => {
  expect(told(timedWords(), [PAD, PAD, 1, 2, PAD, EPAD, 99, EPAD])).toEqual([]);
});
