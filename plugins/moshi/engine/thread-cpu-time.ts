/**
 * How long the calling thread has worked: a clock that stands still while the thread waits, and also
 * while the system lets another thread have its core.
 */
import { performance } from 'node:perf_hooks';
import koffi from 'koffi';

/** Where clock_gettime is, and CLOCK_THREAD_CPUTIME_ID. */
const CLOCKS: Partial<Record<NodeJS.Platform, { library: string; clock: number }>> = {
  linux: { library: 'libc.so.6', clock: 3 },
  darwin: { library: '/usr/lib/libSystem.B.dylib', clock: 16 },
};

/** Seconds and nanoseconds: `struct timespec` where pointers have 64 bits. */
const time = new BigInt64Array(2);

const readClock = openClock();

/**
 * CPU time of the calling thread since it began, ms. Where the system does not tell, the time that
 * its event loop was not idle, which also counts what the thread waited within an event.
 */
export function threadCpuMs(): number {
  if (readClock === null) {
    return performance.eventLoopUtilization().active;
  }
  readClock();
  return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
}

function openClock(): (() => void) | null {
  const found = CLOCKS[process.platform];
  if (found === undefined) {
    return null;
  }
  try {
    const library = koffi.load(found.library);
    const call = library.func('clock_gettime', 'int', ['int', 'void *']);
    const read = (): boolean => call(found.clock, time) === 0;
    return read() ? read : null;
  } catch {
    return null;
  }
}
