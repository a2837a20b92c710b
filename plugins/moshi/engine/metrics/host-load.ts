/** What the engine's main thread has to do, and how late it comes to it. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

import { threadCpuMs } from '../thread-cpu-time.ts';

/**
 * How often the loop is asked whether it is on time, ms. Asking wakes the thread, which costs as much
 * as a client's message; and the interval shares no factor with a frame's 80 ms, so that all parts of
 * a frame are asked about.
 */
const RESOLUTION_MS = 97;

export class HostLoad {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#delay.enable();
  }

  /** How late the event loop was since this was last asked, 99th percentile, ms. */
  takeDelayP99Ms(): number {
    // Node records the whole time between two of its questions.
    const lateMs = this.#delay.percentile(99) / 1e6 - RESOLUTION_MS;
    this.#delay.reset();
    return Math.max(0, lateMs);
  }

  /** CPU time of the calling thread, which is the main thread, since the process began, ms. */
  get cpuMs(): number {
    return threadCpuMs();
  }

  stop(): void {
    this.#delay.disable();
  }
}
