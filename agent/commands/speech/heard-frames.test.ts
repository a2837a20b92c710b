import { expect, test } from 'vitest';
import { HeardFrames } from './heard-frames.ts';

/** All frames of 4 samples as one list. */
function heard(before: number, samples: number[], after: number): number[][] {
  const transcription = {
    delayFrames: 0,
    leadingSilenceSamples: before,
    trailingSilenceSamples: after,
  };
  const frames = new HeardFrames(transcription, 4, Float32Array.from(samples));
  return Array.from({ length: frames.length }, (_, step) => [...frames.frame(step)]);
}

test('hears the first frame twice and silence at the end', () => {
  expect(heard(0, [1, 2, 3, 4, 5, 6], 7)).toEqual([
    [1, 2, 3, 4],
    [1, 2, 3, 4],
    [5, 6, 0, 0],
    [0, 0, 0, 0],
  ]);
});

test('hears silence first where the model wants it, in parts of frames too', () => {
  expect(heard(6, [1, 2, 3, 4, 5], 1)).toEqual([
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 1, 2],
    [3, 4, 5, 0],
  ]);
});

test('leaves out a last part shorter than a frame', () => {
  expect(heard(1, [1, 2, 3, 4, 5, 6], 0)).toEqual([
    [0, 1, 2, 3],
    [0, 1, 2, 3],
  ]);
});
