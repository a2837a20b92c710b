/**
 * Decides which conversations step next, and in which slots they are.
 *
 * Work-conserving: `next` takes every conversation that has a whole frame waiting, on the smallest
 * graph that covers the highest of their slots. A frame starts at once while the device has time;
 * under load the batches grow by themselves. A conversation's own frames are 80 ms apart, so a step
 * that takes less keeps every deadline; if steps take longer, the queues fill and drop (see
 * `FrameQueue`) instead of falling behind.
 *
 * A conversation with a prompt goes through it first, at the device's speed, in the same steps in
 * which others speak.
 *
 * Conversations live in the lowest slots: when some leave, `compact` moves the highest down until the
 * smallest graph that holds as many holds them all.
 */
import { strict as assert } from 'node:assert';

import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { FrameQueue } from './frame-queue.ts';

/** Whole frames of input that may wait per conversation: 240 ms. */
export const MAX_WAITING_FRAMES = 3;

export type PlannedRow = {
  slot: number;
  /** How long its frame has waited. */
  queuedMs: number;
  /** Steps of its prompt after this one; null if it hears. */
  promptStepsLeft: number | null;
};

/** Who is in a slot. */
type Occupant = {
  readonly queue: FrameQueue;
  /** Whether its prompt is still being looked for; it does not step then. */
  held: boolean;
  /** Steps it takes before it hears. */
  promptSteps: number;
};

/** One run of a graph. */
export type PlannedStep = {
  /** Rows of the graph to run. */
  batch: number;
  /** Slots that step, ascending. */
  rows: PlannedRow[];
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
  readonly #occupants: (Occupant | null)[];
  readonly #batches: readonly number[];
  readonly #now: () => number;

  constructor({ slots, batches, now }: SchedulerOptions) {
    assert((batches.at(-1) ?? 0) >= slots, `no graph covers ${slots} slots`);
    this.#occupants = Array.from({ length: slots }, () => null);
    this.#batches = batches;
    this.#now = now;
  }

  get attached(): number {
    return this.#occupants.filter((occupant) => occupant !== null).length;
  }

  /** Takes the lowest free slot, so that small graphs suffice; null if none is free. */
  attach(): number | null {
    const slot = this.#occupants.indexOf(null);
    if (slot === -1) {
      return null;
    }
    this.#occupants[slot] = {
      queue: new FrameQueue(FRAME_SAMPLES, MAX_WAITING_FRAMES),
      held: false,
      promptSteps: 0,
    };
    return slot;
  }

  leave(slot: number): void {
    this.#occupants[slot] = null;
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
    const from = this.#occupants.findLastIndex((occupant) => occupant !== null);
    if (
      from === -1 ||
      batchFor(this.#batches, from + 1) === batchFor(this.#batches, this.attached)
    ) {
      return null;
    }
    const to = this.#occupants.indexOf(null);
    this.#occupants[to] = this.#occupants[from] ?? null;
    this.#occupants[from] = null;
    return { from, to };
  }

  /** Forgets the input that waits. */
  reset(slot: number): void {
    this.#occupants[slot]?.queue.clear();
  }

  /** Keeps a conversation from stepping until `prompt` says what it has to go through first. */
  hold(slot: number): void {
    const occupant = this.#occupants[slot] ?? null;
    assert(occupant !== null, `nobody is in slot ${slot}`);
    occupant.held = true;
  }

  /** Lets a conversation step: first so many times with silence, as fast as the device can, then as it hears. */
  prompt(slot: number, steps: number): void {
    const occupant = this.#occupants[slot] ?? null;
    assert(occupant !== null, `nobody is in slot ${slot}`);
    occupant.held = false;
    occupant.promptSteps = steps;
  }

  /** Adds samples and returns how many waiting frames were dropped to make room. */
  push(slot: number, samples: Float32Array): number {
    return this.#occupants[slot]?.queue.push(samples, this.#now()) ?? 0;
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
    for (const [slot, occupant] of this.#occupants.entries()) {
      if (occupant === null || occupant.held) {
        continue;
      }
      const target = pcm.subarray(slot * FRAME_SAMPLES, (slot + 1) * FRAME_SAMPLES);
      if (occupant.promptSteps > 0) {
        target.fill(0);
        occupant.promptSteps -= 1;
        rows.push({ slot, queuedMs: 0, promptStepsLeft: occupant.promptSteps });
        continue;
      }
      const completedMs = occupant.queue.take(target);
      if (completedMs !== null) {
        rows.push({ slot, queuedMs: now - completedMs, promptStepsLeft: null });
      }
    }
    const highest = rows.at(-1)?.slot;
    if (highest === undefined) {
      return null;
    }
    for (const { slot } of rows) {
      execMask[slot] = 1;
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
