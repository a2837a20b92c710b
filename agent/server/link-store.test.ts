import { expect, test } from 'vitest';
import { LinkStore } from './link-store.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

function setUp(capacity: number) {
  const time = { nowMs: 0 };
  const store = new LinkStore(capacity, () => time.nowMs);
  const create = (room: string, ttlSeconds = 60) =>
    store.create({ room, displayName: undefined, maxParticipants: undefined, ttlSeconds });
  return { store, time, create };
}

test('remembers for a day that a link has expired', () => {
  const { store, time, create } = setUp(10);
  const id = create('lounge')?.id ?? '';
  expect(store.find(id).state).toBe('open');
  time.nowMs = 60_000;
  expect(store.find(id).state).toBe('expired');
  time.nowMs += DAY_MS;
  expect(store.find(id).state).toBe('unknown');
});

test('gives a room back when its link expires', () => {
  const { store, time, create } = setUp(10);
  create('lounge');
  expect(store.findByRoom('lounge')).not.toBeNull();
  time.nowMs = 60_000;
  expect(store.findByRoom('lounge')).toBeNull();
});

test('holds no more than its capacity, and forgets expired links for new ones', () => {
  const { store, time, create } = setUp(2);
  const first = create('a')?.id ?? '';
  create('b', 120);
  expect(create('c')).toBeNull();
  time.nowMs = 60_000;
  expect(create('c')).not.toBeNull();
  expect(store.find(first).state).toBe('unknown');
  expect(create('d')).toBeNull();
});

test('does not confuse a later link into a room with an earlier one', () => {
  const { store, time, create } = setUp(2);
  create('lounge');
  time.nowMs = 60_000;
  const later = create('lounge');
  create('garden');
  expect(store.findByRoom('lounge')?.id).toBe(later?.id);
});
