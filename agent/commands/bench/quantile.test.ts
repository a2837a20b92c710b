import { expect, test } from 'vitest';
import { quantile } from './quantile.ts';

test('quantiles are values that occurred', () => {
  expect(quantile([3, 1, 2], 0.5)).toBe(2);
  expect(quantile([], 0.5)).toBeNull();
});
