import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';

import { threadCpuMs } from './thread-cpu-time.ts';

test('counts what a thread does, and not what it waits', () => {
  const work = (untilMs: number): void => {
    while (threadCpuMs() < untilMs);
  };
  const [cpuMs, wallMs] = [threadCpuMs(), performance.now()];
  work(cpuMs + 20);
  const workedMs = threadCpuMs() - cpuMs;
  expect(workedMs).toBeGreaterThanOrEqual(20);
  expect(performance.now() - wallMs).toBeGreaterThanOrEqual(workedMs - 1);

  const beforeMs = threadCpuMs();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60);
  expect(threadCpuMs() - beforeMs).toBeLessThan(30);
});
