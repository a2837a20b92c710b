import { expect, test } from 'vitest';
import { RestartPolicy } from './restart-policy.ts';

test('waits longer after every death in a row, up to a limit', () => {
  const policy = new RestartPolicy();
  const delays = Array.from({ length: 7 }, () => policy.onDeath(1_000)).map((decision) =>
    decision.action === 'restart' ? decision.delayMs : null,
  );
  expect(delays).toEqual([500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
});

test('begins anew after a process that proved itself', () => {
  const policy = new RestartPolicy();
  policy.onDeath(100);
  policy.onDeath(100);
  expect(policy.onDeath(30_000)).toEqual({ action: 'restart', delayMs: 500 });
});

test('gives up on a process that dies three times without having been ready', () => {
  const policy = new RestartPolicy();
  expect(policy.onDeath(null).action).toBe('restart');
  expect(policy.onDeath(null).action).toBe('restart');
  expect(policy.onDeath(null)).toEqual({ action: 'give_up' });
});

test('forgives failed starts once the process was ready', () => {
  const policy = new RestartPolicy();
  policy.onDeath(null);
  policy.onDeath(null);
  policy.onDeath(10);
  expect(policy.onDeath(null).action).toBe('restart');
});
