/**
 * Whether one more conversation would be served in time: by free slots, and by how long a step of
 * all conversations together takes on this machine.
 *
 * A conversation that is taken and then stutters is worse than one that is refused with a reason:
 * it spoils all the others. Those that are in stay in.
 */
import { FRAME_MS } from '../../protocol/messages.ts';
import { batchFor } from './scheduler.ts';
import type { StepTimes } from './step-times.ts';

/** Of a frame's 80 ms, what is left for sockets, scheduling and jitter. */
const RESERVE_MS = 5;
/** A step of all conversations may take this long, 99th percentile, to keep up with speech. */
export const STEP_LIMIT_MS = FRAME_MS - RESERVE_MS;

export type Refusal = {
  code: 'full' | 'overloaded';
  /** What was measured, what is allowed, what to do. */
  message: string;
  /** When a place might come, if anything says so. */
  retryAfterMs?: number;
};

export type AdmissionOptions = {
  slots: number;
  /** Batch sizes of the graphs, ascending. */
  batches: readonly number[];
  stepTimes: StepTimes;
  /** Longest step that keeps up with speech, ms. */
  limitMs: number;
};

export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Conversations that would be served in time, from 0 to all slots. */
  get usableSlots(): number {
    const { slots, batches, stepTimes, limitMs } = this.#options;
    let usable = 0;
    while (usable < slots && stepTimes.expectedMs(batchFor(batches, usable + 1)) <= limitMs) {
      usable += 1;
    }
    return usable;
  }

  /**
   * @param taken - Conversations and promises that hold a place.
   * @param nextExpiryMs - When the first of the promises lapses unless it is kept; null without any.
   * @returns Why one more has no place, or null if it has.
   */
  refusal(taken: number, nextExpiryMs: number | null): Refusal | null {
    const { slots, batches, stepTimes, limitMs } = this.#options;
    if (taken >= slots) {
      return {
        code: 'full',
        message: `All ${slots} slots of this engine are taken.`,
        ...(nextExpiryMs !== null && { retryAfterMs: Math.ceil(nextExpiryMs) }),
      };
    }
    const batch = batchFor(batches, taken + 1);
    const expectedMs = stepTimes.expectedMs(batch);
    if (expectedMs <= limitMs) {
      return null;
    }
    const measured =
      `This engine is too slow for one more conversation: a step for ${taken + 1} takes ` +
      `${expectedMs.toFixed(1)} ms (99th percentile, measured), at most ${limitMs} ms keep up with speech.`;
    const waitMs = stepTimes.msUntilWithin(batch, limitMs);
    if (waitMs === null) {
      return {
        code: 'overloaded',
        message: `${measured} It was so before anybody came: a smaller model, a lower precision, more threads or a GPU would help.`,
      };
    }
    return {
      code: 'overloaded',
      message: `${measured} Try again in ${Math.ceil(waitMs / 1000)} s, or elsewhere.`,
      retryAfterMs: Math.ceil(waitMs),
    };
  }
}
