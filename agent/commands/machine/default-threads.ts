import os from 'node:os';

/** More than a few threads cost the small graphs of one frame more than they give. */
const MAX_DEFAULT_THREADS = 8;

/** Leaves one core to the rooms, which run on the same machine more often than not. */
export function defaultThreads(cores: number = os.availableParallelism()): number {
  return Math.max(1, Math.min(MAX_DEFAULT_THREADS, cores - 1));
}
