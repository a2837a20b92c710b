import { expect, test } from 'vitest';

import type { VocabularyPiece } from '../../../../models/manifest.ts';
import { Vocabulary } from './text-decoder.ts';
import {
  Transcription,
  type TranscribingManifest,
  type TranscriptionEvent,
} from './transcription.ts';

const PIECES: VocabularyPiece[] = [
  { piece: '<unk>', kind: 'unknown' },
  { piece: '<pad>', kind: 'normal' },
  { piece: '▁yes', kind: 'normal' },
  { piece: '▁no', kind: 'normal' },
];
const [EPAD, PAD, YES, NO] = [0, 1, 2, 3] as const;

const MANIFEST: TranscribingManifest = {
  sampleRate: 24_000,
  frameSamples: 1_920,
  paddingToken: PAD,
  endOfPaddingToken: EPAD,
  maxDelay: 0,
  pauses: { heads: 4, horizonsSeconds: [0.5, 1, 2, 3], classes: 6 },
  transcription: { delayFrames: 4, leadingSilenceSamples: 0, trailingSilenceSamples: 0 },
};

function open(manifest: Partial<TranscribingManifest> = {}): Transcription {
  return new Transcription({ ...MANIFEST, ...manifest }, new Vocabulary(PIECES, [PAD, EPAD]));
}

type Steps = {
  /** By step; padding where there is none. */
  tokens: Readonly<Record<number, number>>;
  /** Steps in which the head of two seconds is sure of a pause. */
  pauses?: readonly number[];
};

/** What so many steps tell, with the step, ends of words left out. */
function told(
  transcription: Transcription,
  count: number,
  { tokens, pauses = [] }: Steps,
): [number, TranscriptionEvent][] {
  return Array.from({ length: count }, (_, step) => {
    const heads = [0.9, 0.9, pauses.includes(step) ? 0.9 : 0.1, 0.9];
    const events = transcription.push(tokens[step] ?? PAD, heads);
    return events
      .filter(({ type }) => type !== 'end')
      .map((event): [number, TranscriptionEvent] => [step, event]);
  }).flat();
}

test('a turn is over after its last word, which comes later than the pause is heard', () => {
  const tokens = { 20: EPAD, 21: YES, 26: EPAD, 27: NO };
  expect(told(open(), 40, { tokens, pauses: [25] })).toEqual([
    [22, { type: 'word', text: 'yes', startMs: (21 - 4) * 80 }],
    [28, { type: 'word', text: 'no', startMs: (27 - 4) * 80 }],
    [29, { type: 'turn_end', atMs: 25 * 80 }],
  ]);
});

test('a turn whose pause came before its words is over once the last of them is there', () => {
  const tokens = { 20: EPAD, 21: YES };
  expect(told(open(), 40, { tokens, pauses: [18, 19, 20, 21, 22, 23, 24] })).toEqual([
    [22, { type: 'word', text: 'yes', startMs: (21 - 4) * 80 }],
    [23, { type: 'turn_end', atMs: 19 * 80 }],
  ]);
});

test('the end of a turn whose last words were still to come is told at the end', () => {
  const transcription = open();
  told(transcription, 27, { tokens: { 20: EPAD, 21: YES }, pauses: [25] });
  expect(transcription.finish(2_160)).toContainEqual({ type: 'turn_end', atMs: 2_000 });
  expect(transcription.finish(2_160)).toEqual([]);
});

test('silence before the sound and frames that were dropped are on the clock', () => {
  const transcription = open({
    transcription: { ...MANIFEST.transcription, leadingSilenceSamples: 2_400 },
  });
  transcription.skip(3);
  expect(told(transcription, 40, { tokens: { 20: EPAD, 21: YES }, pauses: [25] })).toEqual([
    [22, { type: 'word', text: 'yes', startMs: (21 - 4) * 80 - 100 + 240 }],
    [29, { type: 'turn_end', atMs: 25 * 80 - 100 + 240 }],
  ]);
});

test.each([
  ['heads', { pauses: null }],
  ['heads of a known horizon', { pauses: { heads: 4, horizonsSeconds: null, classes: 6 } }],
])('a model without %s ends no turn', (_, manifest) => {
  const events = told(open(manifest), 40, { tokens: { 20: EPAD, 21: YES }, pauses: [25] });
  expect(events.map(([, { type }]) => type)).toEqual(['word']);
});

test('steps before the first column mean nothing', () => {
  const events = told(open({ maxDelay: 30 }), 40, { tokens: { 20: YES, 34: EPAD, 35: NO } });
  expect(events).toEqual([[36, { type: 'word', text: 'no', startMs: (5 - 4) * 80 }]]);
});
