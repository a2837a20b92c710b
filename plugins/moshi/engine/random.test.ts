import { expect, test } from 'vitest';

import { RandomGenerator } from './random.ts';

const draw = (seed: number, count: number): number[] => {
  const random = new RandomGenerator(seed);
  return Array.from({ length: count }, () => random.exponential());
};

test('the same seed gives the same draws, another one others', () => {
  expect(draw(5, 100)).toEqual(draw(5, 100));
  expect(draw(5, 100)).not.toEqual(draw(6, 100));
});

test('draws follow Exp(1): positive, mean 1, variance 1, median ln 2', () => {
  const draws = draw(1, 200_000).sort((left, right) => left - right);
  const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length;
  const variance = draws.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws.length;
  expect(draws[0]).toBeGreaterThan(0);
  // Four standard errors of 200,000 draws.
  expect(Math.abs(mean - 1)).toBeLessThan(0.009);
  expect(Math.abs(variance - 1)).toBeLessThan(0.026);
  expect(Math.abs(draws[100_000]! - Math.LN2)).toBeLessThan(0.009);
});
