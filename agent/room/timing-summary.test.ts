import { expect, test } from 'vitest';
import { TimingSummary } from './timing-summary.ts';

test('percentiles are those of the frames since the last summary', () => {
  const summary = new TimingSummary();
  for (let stepMs = 1; stepMs <= 100; stepMs += 1) {
    summary.push({ stepMs, queuedMs: 2 * stepMs, droppedFrames: 3 });
  }
  expect(summary.take()).toEqual({
    frames: 100,
    stepMs: { p50: 50, p99: 99 },
    queuedMs: { p50: 100, p99: 198 },
    droppedFrames: 3,
  });
  expect(summary.take()).toEqual({ frames: 0, stepMs: null, queuedMs: null, droppedFrames: 3 });
});
