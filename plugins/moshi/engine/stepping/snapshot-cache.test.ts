import { expect, test } from 'vitest';

import { SnapshotCache, type Cached } from './snapshot-cache.ts';

function setUp(budgetBytes: number) {
  const disposed: string[] = [];
  const cache = new SnapshotCache<Cached & { name: string }>(budgetBytes);
  const put = (name: string, bytes: number): void =>
    cache.put(name, bytes, () => ({ name, bytes, dispose: () => disposed.push(name) }));
  return { cache, disposed, put };
}

test('gives back what it was given', () => {
  const { cache, put } = setUp(100);
  put('a', 40);
  put('b', 60);
  expect(cache.get('a')?.name).toBe('a');
  expect(cache.get('c')).toBeNull();
  expect(cache.bytes).toBe(100);
});

test('drops what was not asked for the longest, as much as it must and no more', () => {
  const { cache, disposed, put } = setUp(100);
  put('a', 40);
  put('b', 30);
  put('c', 30);
  cache.get('a');
  put('d', 50);
  expect(disposed).toEqual(['b', 'c']);
  expect(cache.bytes).toBe(90);
  expect([cache.get('a')?.name, cache.get('d')?.name]).toEqual(['a', 'd']);
});

test('replaces an entry of the same key, and never keeps what exceeds the budget', () => {
  const { cache, disposed, put } = setUp(100);
  put('a', 40);
  put('a', 50);
  expect([cache.bytes, cache.size]).toEqual([50, 1]);
  put('b', 101);
  expect(cache.get('b')).toBeNull();
  expect(disposed).toEqual(['a']);
});
