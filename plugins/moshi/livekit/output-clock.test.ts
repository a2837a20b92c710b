import { expect, test } from 'vitest';
import { OutputClock } from './output-clock.ts';

test('places steps one after the other', () => {
  const clock = new OutputClock(80);
  expect([0, 1, 2].map((step) => clock.startOf(step))).toEqual([0, 80, 160]);
});

test('goes on at the time of the call after an outage', () => {
  const clock = new OutputClock(80);
  clock.startOf(9);
  clock.restart(3_000.4);
  expect([0, 1].map((step) => clock.startOf(step))).toEqual([3_000, 3_080]);
});

test('never goes back, even if the model was ahead of the call', () => {
  const clock = new OutputClock(80);
  clock.startOf(99);
  clock.restart(1_000);
  expect(clock.startOf(0)).toBe(8_000);
});
