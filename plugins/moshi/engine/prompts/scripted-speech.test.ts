import { describe, expect, test } from 'vitest';

import type { VocabularyPiece } from '../../../../models/manifest.ts';
import { ScriptedSpeech } from './scripted-speech.ts';

const END_OF_PADDING = 0;
const PADDING = 1;
const OWN_WORD = 5;
const PIECES: VocabularyPiece[] = ['<epad>', '<pad>', '▁one', '▁two', 'fold', '▁own'].map(
  (piece) => ({ piece, kind: 'normal' }),
);
const MODEL = { paddingToken: PADDING, endOfPaddingToken: END_OF_PADDING, pieces: PIECES };

/** What is written when the model samples these tokens, as the graph reads `forced_text`. */
function write(script: ScriptedSpeech, sampled: readonly number[]): number[] {
  return sampled.map((own) => {
    const forced = script.next();
    const isPadding = own === PADDING || own === END_OF_PADDING;
    const token = forced >= 0 ? forced : forced === -1 || isPadding ? own : -2 - forced;
    script.took(token);
    return token;
  });
}

test('the pauses of the model stay, its words are replaced, and at the end it is silent', () => {
  const script = new ScriptedSpeech(MODEL, [2, 3, 4]);
  const paused = [PADDING, END_OF_PADDING, OWN_WORD, PADDING, PADDING];
  expect(write(script, [...paused, OWN_WORD, OWN_WORD, OWN_WORD])).toEqual([
    ...[PADDING, END_OF_PADDING, 2, PADDING, PADDING],
    ...[3, 4, PADDING],
  ]);
  expect(script.isDone).toBe(true);
});

test('pieces of a word come in frames one after the other', () => {
  const script = new ScriptedSpeech(MODEL, [3, 4, 4, 2]);
  expect(write(script, [OWN_WORD, PADDING, PADDING, PADDING, OWN_WORD])).toEqual([
    3,
    4,
    4,
    PADDING,
    2,
  ]);
});

test('a model that stays silent is made to speak, each word announced', () => {
  const script = new ScriptedSpeech(MODEL, [2, 3]);
  const most = script.mostSteps;
  const written = write(script, Array<number>(most).fill(PADDING));
  const silence = Array<number>(10).fill(PADDING);
  expect(written).toEqual([...silence, END_OF_PADDING, 2, ...silence, END_OF_PADDING, 3]);
  expect(script.isDone).toBe(true);
});

test('a word that was announced in the last frame of patience is not announced again', () => {
  const script = new ScriptedSpeech(MODEL, [2]);
  const silence = Array<number>(9).fill(PADDING);
  expect(write(script, [...silence, END_OF_PADDING, PADDING]).at(-1)).toBe(2);
});

describe('refuses', () => {
  test.each([
    ['no text', [], 'the text is empty'],
    ['too long a text', Array<number>(1001).fill(2), 'has 1001 tokens, 1000 are the most'],
    ['padding', [2, PADDING], 'characters that the model cannot write'],
    ['tokens beyond the vocabulary', [9], 'characters that the model cannot write'],
  ])('%s', (_, tokens, message) => {
    expect(() => new ScriptedSpeech(MODEL, tokens)).toThrow(message);
  });
});
