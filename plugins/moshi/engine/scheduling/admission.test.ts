import { describe, expect, test } from 'vitest';

import { Admission, STEP_LIMIT_MS } from './admission.ts';
import { StepTimes } from './step-times.ts';

const BATCHES = [1, 2, 4, 8];

function setUp(initialMs: readonly number[] = [10, 12, 20, 40]) {
  const clock = { ms: 1_000 };
  const stepTimes = new StepTimes(
    new Map(BATCHES.map((batch, index) => [batch, initialMs[index]!])),
    () => clock.ms,
  );
  const admission = new Admission({
    slots: 8,
    batches: BATCHES,
    stepTimes,
    limitMs: STEP_LIMIT_MS,
  });
  const run = (batch: number, stepMs: number, steps: number): void => {
    for (let step = 0; step < steps; step += 1) stepTimes.observe(batch, stepMs);
  };
  return { clock, stepTimes, admission, run };
}

describe('step times', () => {
  test('begin at what was measured at load and follow the steps of their own size', () => {
    const { stepTimes, run } = setUp();
    expect(BATCHES.map((batch) => stepTimes.expectedMs(batch))).toEqual([10, 12, 20, 40]);
    run(4, 30, 5_000);
    expect(stepTimes.expectedMs(4)).toBeCloseTo(30, 5);
    expect(stepTimes.expectedMs(2)).toBe(12);
  });

  test('of a larger batch are never below those of a smaller one', () => {
    const { stepTimes, run } = setUp();
    run(1, 60, 5_000);
    expect(stepTimes.expectedMs(8)).toBeCloseTo(60, 5);
  });

  test('are not moved by one hiccup in a hundred steps', () => {
    const { stepTimes, run } = setUp();
    run(1, 10, 99);
    run(1, 5_000, 1);
    expect(stepTimes.expectedMs(1)).toBe(10);
  });

  test('are not moved by one bad block, but by two', () => {
    const { stepTimes, run } = setUp();
    run(1, 10, 100);
    run(1, 200, 100);
    run(1, 10, 100);
    expect(stepTimes.expectedMs(1)).toBe(10);
    run(1, 200, 200);
    expect(stepTimes.expectedMs(1)).toBe(105);
  });

  test('are 99th percentiles, not means', () => {
    const { stepTimes, run } = setUp();
    for (let block = 0; block < 50; block += 1) {
      run(1, 10, 98);
      run(1, 50, 2);
    }
    expect(stepTimes.expectedMs(1)).toBeCloseTo(50, 3);
  });

  test('fall back to the beginning while a size does not run', () => {
    const { clock, stepTimes, run } = setUp();
    run(4, 100, 10_000);
    clock.ms += 15_000;
    expect(stepTimes.expectedMs(4)).toBeCloseTo(60, 5);
    clock.ms += 1e6;
    expect(stepTimes.expectedMs(4)).toBeCloseTo(20, 5);
  });
});

describe('an engine', () => {
  test('takes as many as it has slots for while its steps are short', () => {
    const { admission } = setUp();
    expect(admission.usableSlots).toBe(8);
    expect(admission.refusal(7, null)).toBeNull();
    expect(admission.refusal(8, null)).toEqual({
      code: 'full',
      message: 'All 8 slots of this engine are taken.',
    });
    expect(admission.refusal(8, 1_234.5)).toMatchObject({ retryAfterMs: 1_235 });
  });

  test('refuses whom it could not serve in time, with figures, and takes him when it can', () => {
    const { clock, admission, run } = setUp();
    run(4, 95, 10_000);
    expect(admission.usableSlots).toBe(2);
    expect(admission.refusal(1, null)).toBeNull();
    const refusal = admission.refusal(2, null)!;
    expect(refusal.code).toBe('overloaded');
    expect(refusal.message).toMatch(
      /a step for 3 takes 95\.0 ms .* at most 75 ms .* in 7 s, or elsewhere/,
    );
    clock.ms += refusal.retryAfterMs! - 10;
    expect(admission.refusal(2, null)).not.toBeNull();
    clock.ms += 10;
    expect(admission.refusal(2, null)).toBeNull();
    expect(admission.usableSlots).toBe(8);
  });

  test('that was too slow from the beginning says so instead of when', () => {
    const { admission } = setUp([30, 50, STEP_LIMIT_MS + 1, 120]);
    expect(admission.usableSlots).toBe(2);
    const refusal = admission.refusal(2, null)!;
    expect(refusal.message).toMatch(/76\.0 ms.*before anybody came/);
    expect(refusal.retryAfterMs).toBeUndefined();
    expect(setUp([500, 600, 700, 800]).admission.usableSlots).toBe(0);
  });
});
