import { expect, test } from 'vitest';
import { WordAssembler } from './word-assembler.ts';
import type { TimedWord } from './word-assembler.ts';

/** Runs a text stream, one entry per step of 80 ms; null is padding. */
function assemble(steps: (string | null)[]): TimedWord[][] {
  const words = new WordAssembler();
  return steps.map((text, step) => words.push(text ?? '', text === null, step * 80, 80));
}

test('joins pieces until the next word starts', () => {
  expect(assemble([' hel', 'lo', ' there']).flat()).toEqual([
    { text: ' hello', startMs: 0, endMs: 160 },
  ]);
});

test('gives the last word out as soon as the model pads', () => {
  expect(assemble([' hel', 'lo', null])).toEqual([
    [],
    [],
    [{ text: ' hello', startMs: 0, endMs: 160 }],
  ]);
});

test('gives a word out after 400 ms in which neither piece nor padding came', () => {
  const words = assemble([' hello', '', '', '', '', '', '', '']);
  expect(words.findIndex((ready) => ready.length > 0)).toBe(6);
});

test('places each word where its own pieces are', () => {
  expect(assemble([null, ' a', null, null, ' b', 'c', null]).flat()).toEqual([
    { text: ' a', startMs: 80, endMs: 160 },
    { text: ' bc', startMs: 320, endMs: 480 },
  ]);
});

test('loses no letter when a piece follows its word after padding', () => {
  const text = assemble([' hel', null, 'lo', null]).flat();
  expect(text.map((word) => word.text).join('')).toBe(' hello');
});

test('gives out what is pending at the end, once', () => {
  const words = new WordAssembler();
  words.push(' bye', false, 0, 80);
  expect(words.flush()).toEqual([{ text: ' bye', startMs: 0, endMs: 80 }]);
  expect(words.flush()).toEqual([]);
});
