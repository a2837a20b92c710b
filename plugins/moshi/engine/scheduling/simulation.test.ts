import { describe, expect, test } from 'vitest';

import { simulate, type SimulationOptions } from './simulation.ts';

/** Steps of a + b ms per row, without jitter. */
const linear = (slots: number, fixedMs: number, rowMs: number): SimulationOptions['steps'] => {
  const steps = new Map<number, { p50: number; p99: number }>();
  for (let batch = 1; batch < slots * 2; batch *= 2) {
    const size = Math.min(batch, slots);
    const ms = fixedMs + rowMs * size;
    steps.set(size, { p50: ms, p99: ms });
  }
  return steps;
};
const minute = { meanConversationMs: 30_000, durationMs: 60_000, seed: 1 };

describe('an engine whose steps are short enough', () => {
  test('serves hundreds who come and go without missing a frame or lagging two steps', () => {
    const steps = linear(256, 10, 0.2);
    const report = simulate({ slots: 256, callers: 200, steps, ...minute });
    expect(report.missedFrames).toBe(0);
    expect(report.refused).toEqual({ full: 0, overloaded: 0 });
    expect(report.conversations).toBeGreaterThan(400);
    expect(report.lagMs.max).toBeLessThan(2 * (10 + 0.2 * 256));
  });

  test('starts frames at once while there is little to do', () => {
    const report = simulate({ slots: 4, callers: 1, steps: linear(4, 5, 1), ...minute });
    expect(report.meanRows).toBe(1);
    expect(report.lagMs.max).toBeCloseTo(6, 5);
  });

  test('runs small graphs again after a crowd has left', () => {
    const { moves } = simulate({ slots: 8, callers: 6, steps: linear(8, 5, 1), ...minute });
    expect(moves).toBeGreaterThan(0);
  });
});

describe('an engine whose steps are too long for all', () => {
  test('refuses whom it cannot serve and misses no frame of those it does', () => {
    // Four fit into 75 ms, eight do not.
    const report = simulate({ slots: 8, callers: 8, steps: linear(8, 20, 10), ...minute });
    expect(report.refused.overloaded).toBeGreaterThan(0);
    expect(report.meanAttached).toBeLessThanOrEqual(4);
    expect(report.meanAttached).toBeGreaterThan(3);
    expect(report.missedFrames).toBe(0);
  });

  test('that has become slow bounds the lag and spreads what is missed evenly', () => {
    // The median admits all four; far too many steps are longer.
    const slow = new Map([[4, { p50: 70, p99: 3_000 }]]);
    const report = simulate({
      slots: 4,
      callers: 4,
      steps: slow,
      meanConversationMs: 1e9,
      durationMs: 300_000,
      seed: 2,
    });
    const missedShare = report.missedFrames / (report.missedFrames + report.frames);
    expect(missedShare).toBeGreaterThan(0.3);
    expect(report.worstMissedShare / missedShare).toBeLessThan(1.05);
  });
});

test('twice the load of what the device can do is shared by all, and nobody starves', () => {
  // A step for eight was measured at 70 ms and takes 160.
  const report = simulate({
    slots: 8,
    callers: 8,
    steps: linear(8, 30, 5),
    slowdown: 160 / 70,
    meanConversationMs: 1e9,
    durationMs: 300_000,
    seed: 3,
  });
  expect(report.meanAttached).toBeGreaterThan(7.5);
  expect(report.leastMissedShare).toBeGreaterThan(0.45);
  expect(report.worstMissedShare).toBeLessThan(0.55);
  expect(report.worstMissedShare / report.leastMissedShare).toBeLessThan(1.05);
  // Three frames may wait, and one is being computed.
  expect(report.lagMs.max).toBeLessThan(3 * 80 + 2 * 160);
});

test('the same seed gives the same report', () => {
  const options = { slots: 8, callers: 10, steps: linear(8, 20, 5), ...minute };
  expect(simulate(options)).toEqual(simulate(options));
  expect(simulate(options)).not.toEqual(simulate({ ...options, seed: 2 }));
});
