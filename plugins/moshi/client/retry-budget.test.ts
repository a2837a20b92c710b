import { expect, test } from 'vitest';
import { RetryBudget } from './retry-budget.ts';

const options = { outageMs: 60_000, maxDelayMs: 1_000, stableMs: 10_000, attemptMs: 5_000 };

test('tries again at once, then waits longer and longer, never above the cap', () => {
  const budget = new RetryBudget(options, () => 1);
  budget.connected(0);
  const delays = [0, 1, 2, 3, 4, 5, 6].map((index) => budget.failed(20_000 + index));
  expect(delays).toEqual([0, 125, 250, 500, 1_000, 1_000, 1_000]);
});

test('spreads the waits of many calls over half of each delay', () => {
  const least = new RetryBudget(options, () => 0);
  least.failed(0);
  expect(least.failed(1)).toBe(62.5);
});

test('gives up when the outage has lasted for the whole budget', () => {
  const budget = new RetryBudget(options, () => 0.5);
  expect(budget.failed(1_000)).toBe(0);
  expect(budget.failed(60_999)).not.toBeNull();
  expect(budget.failed(61_000)).toBeNull();
});

test('is full again after a connection that was stable', () => {
  const budget = new RetryBudget(options, () => 0.5);
  budget.failed(0);
  budget.failed(50_000);
  budget.connected(55_000);
  expect(budget.failed(65_000)).toBe(0);
  expect(budget.failed(120_000)).not.toBeNull();
});

test('is not refilled by connections that break before they are stable', () => {
  const budget = new RetryBudget(options, () => 0.5);
  for (let nowMs = 0; nowMs < 60_000; nowMs += 5_000) {
    expect(budget.failed(nowMs)).not.toBeNull();
    budget.connected(nowMs + 100);
  }
  expect(budget.failed(60_000)).toBeNull();
});
