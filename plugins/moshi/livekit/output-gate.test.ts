import { expect, test } from 'vitest';
import { OutputGate } from './output-gate.ts';

function gateOver(levels: number[], textAt: number[], leadFrames: number): boolean[] {
  const gate = new OutputGate(leadFrames);
  return levels.map((level, index) =>
    gate.update(new Float32Array(1_920).fill(level), textAt.includes(index)),
  );
}

function runOf(level: number, frames: number): number[] {
  return new Array<number>(frames).fill(level);
}

test('is closed in silence and in the hiss of a codec', () => {
  expect(gateOver([...runOf(0, 10), ...runOf(0.003, 10)], [], 2)).not.toContain(true);
});

test('opens with a sound that has no text, such as a laugh', () => {
  expect(gateOver([0, 0.1, 0.1], [], 2)).toEqual([false, true, true]);
});

test('opens two frames before a word sounds', () => {
  expect(gateOver([0, 0, 0, 0.1], [1], 2)).toEqual([false, true, true, true]);
});

test('waits when the text is far ahead of the audio', () => {
  const open = gateOver(runOf(0, 16), [0], 10);
  expect(open.indexOf(true)).toBe(8);
});

test('stays open over a pause of half a second, not over a longer one', () => {
  const pause = gateOver([0.1, ...runOf(0, 6), 0.1], [], 2);
  expect(pause).not.toContain(false);
  const end = gateOver([0.1, ...runOf(0, 8)], [], 2);
  expect(end.indexOf(false)).toBe(7);
});
