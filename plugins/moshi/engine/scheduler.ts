/**
 * Decides which conversations step next, and in which slots they are.
 *
 * Work-conserving: `next` takes every conversation that has a whole frame waiting, on the smallest
 * graph that covers the highest of their slots. A frame starts at once while the device has time;
 * under load the batches grow by themselves. A conversation's own frames are 80 ms apart, so a step
 * that takes less keeps every deadline; if steps take longer, the queues fill and drop (see
 * `FrameQueue`) instead of falling behind.
 *
 * Conversations live in the lowest slots: when some leave, `compact` moves the highest down until the
 * smallest graph that holds as many holds them all.
 */
import { strict as assert } from 'node:assert';

import { FRAME_SAMPLES } from '../protocol/messages.ts';
import { FrameQueue } from './frame-queue.ts';

/** Whole frames of input that may wait per conversation: 240 ms. */
export const MAX_WAITING_FRAMES = 3;

/** One run of a graph. */
export type PlannedStep = {
  /** Rows of the graph to run. */
  batch: number;
  /** Slots that step, ascending. */
  rows: { slot: number; queuedMs: number }[];
};

/** A conversation goes on in another slot. */
export type Move = { from: number; to: number };

export type SchedulerOptions = {
  slots: number;
  /** Batch sizes of the graphs, ascending; the last covers all slots. */
  batches: readonly number[];
  /** Monotonic, ms. */
  now: () => number;
};

export class FrameScheduler {
  readonly #queues: (FrameQueue | null)[];
  readonly #batches: readonly number[];
  readonly #now: () => number;

  constructor({ slots, batches, now }: SchedulerOptions) {
    assert((batches.at(-1) ?? 0) >= slots, `no graph covers ${slots} slots`);
    this.#queues = Array.from({ length: slots }, () => null);
    this.#batches = batches;
    this.#now = now;
  }

  get attached(): number {
    return this.#queues.filter((queue) => queue !== null).length;
  }

  /** Takes the lowest free slot, so that small graphs suffice; null if none is free. */
  attach(): number | null {
    const slot = this.#queues.indexOf(null);
    if (slot === -1) {
      return null;
    }
    this.#queues[slot] = new FrameQueue(FRAME_SAMPLES, MAX_WAITING_FRAMES);
    return slot;
  }

  leave(slot: number): void {
    this.#queues[slot] = null;
  }

  /**
   * Moves the highest conversation, with the input that waits, into the lowest free slot if the
   * conversations would fit a smaller graph than the one that covers them now.
   *
   * One move a call: it costs a copy of the conversation's state, and frames wait for it.
   *
   * @returns What the device has to do before its next step, or null if all are where they should be.
   */
  compact(): Move | null {
    const from = this.#queues.findLastIndex((queue) => queue !== null);
    if (
      from === -1 ||
      batchFor(this.#batches, from + 1) === batchFor(this.#batches, this.attached)
    ) {
      return null;
    }
    const to = this.#queues.indexOf(null);
    this.#queues[to] = this.#queues[from] ?? null;
    this.#queues[from] = null;
    return { from, to };
  }

  /** Forgets the input that waits. */
  reset(slot: number): void {
    this.#queues[slot]?.clear();
  }

  /** Adds samples and returns how many waiting frames were dropped to make room. */
  push(slot: number, samples: Float32Array): number {
    return this.#queues[slot]?.push(samples, this.#now()) ?? 0;
  }

  /**
   * Moves the input of the next step into the graph's tensors; null if nobody has a whole frame.
   *
   * @param pcm - [slots, 1920] or more rows.
   * @param execMask - [slots] or more rows; rows that do not step become 0.
   */
  next(pcm: Float32Array, execMask: Uint8Array): PlannedStep | null {
    execMask.fill(0);
    const now = this.#now();
    const rows: PlannedStep['rows'] = [];
    for (const [slot, queue] of this.#queues.entries()) {
      const target = pcm.subarray(slot * FRAME_SAMPLES, (slot + 1) * FRAME_SAMPLES);
      const completedMs = queue?.take(target) ?? null;
      if (completedMs !== null) {
        execMask[slot] = 1;
        rows.push({ slot, queuedMs: now - completedMs });
      }
    }
    const highest = rows.at(-1)?.slot;
    if (highest === undefined) {
      return null;
    }
    return { batch: batchFor(this.#batches, highest + 1), rows };
  }
}

/** The smallest of the ascending batch sizes that holds so many conversations. */
export function batchFor(batches: readonly number[], conversations: number): number {
  const batch = batches.find((size) => size >= conversations);
  assert(batch !== undefined, `no graph holds ${conversations} conversations`);
  return batch;
}
