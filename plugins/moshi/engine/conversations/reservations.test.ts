import { expect, test } from 'vitest';

import { RESERVATION_MS, Reservations } from './reservations.ts';

test('promises no more slots than are free, each key one', () => {
  const reservations = new Reservations(() => 0);
  expect(reservations.hold('a', 2)).toBe(true);
  expect(reservations.hold('a', 2)).toBe(true);
  expect(reservations.hold('b', 2)).toBe(true);
  expect(reservations.hold('c', 2)).toBe(false);
  expect(reservations.end('a')).toBe(true);
  expect(reservations.end('a')).toBe(false);
  expect(reservations.hold('c', 2)).toBe(true);
  expect(reservations.held).toBe(2);
});

test('forgets a promise nobody claims', () => {
  const clock = { ms: 0 };
  const reservations = new Reservations(() => clock.ms);
  reservations.hold('a', 1);
  clock.ms = RESERVATION_MS - 1;
  expect(reservations.held).toBe(1);
  expect(reservations.nextExpiryMs).toBe(1);
  clock.ms = RESERVATION_MS;
  expect(reservations.held).toBe(0);
  expect(reservations.nextExpiryMs).toBeNull();
  expect(reservations.end('a')).toBe(false);
});
