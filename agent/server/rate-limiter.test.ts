import { expect, test } from 'vitest';
import { callerOf, RateLimiter } from './rate-limiter.ts';

test('lets a burst pass and then the rate', () => {
  let nowMs = 0;
  const limiter = new RateLimiter({ burst: 3, perSecond: 2, callers: 10 }, () => nowMs);
  expect([1, 2, 3, 4].map(() => limiter.take('a'))).toEqual([0, 0, 0, 1]);
  nowMs = 500;
  expect(limiter.take('a')).toBe(0);
  expect(limiter.take('a')).toBe(1);
});

test('does not punish a clock that goes backwards', () => {
  let nowMs = 10_000;
  const limiter = new RateLimiter({ burst: 2, perSecond: 1, callers: 10 }, () => nowMs);
  limiter.take('a');
  nowMs = 0;
  expect(limiter.take('a')).toBe(0);
});

test('forgets the longest-idle caller when it knows too many', () => {
  const limiter = new RateLimiter({ burst: 1, perSecond: 1, callers: 2 }, () => 0);
  limiter.take('a');
  limiter.take('b');
  expect(limiter.take('a')).toBe(1);
  limiter.take('c');
  expect(limiter.take('b')).toBe(0);
});

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1:2::6', '2001:db8:1:2'],
  ['2001:db8::6', '2001:db8:0:0'],
  ['::1', '0:0:0:0'],
])('counts %s as the caller %s', (address, caller) => {
  expect(callerOf(address)).toBe(caller);
});
