/**
 * The scheduler and the admission alone, under a virtual clock: what an engine would do whose steps
 * take as long as was measured elsewhere, with callers who come, talk and leave.
 */
import { FRAME_MS, FRAME_SAMPLES } from '../../protocol/messages.ts';
import { Admission, STEP_LIMIT_MS } from './admission.ts';
import { RandomGenerator } from '../random.ts';
import { FrameScheduler, type PlannedRow } from './scheduler.ts';
import { StepTimes } from './step-times.ts';

/** Steps of one batch size: a lognormal distribution by two of its percentiles, ms. */
export type StepFigures = { p50: number; p99: number };

export type SimulationOptions = {
  slots: number;
  /** Callers who want to talk all the time; whoever is refused or leaves comes again. */
  callers: number;
  /** Per batch size, ascending; the last covers all slots. */
  steps: ReadonlyMap<number, StepFigures>;
  /** Steps take so many times as long as the admission is told before anybody comes; 1 if missing. */
  slowdown?: number;
  /** Length of a conversation, mean of an exponential distribution. */
  meanConversationMs: number;
  durationMs: number;
  seed: number;
};

export type SimulationReport = {
  slots: number;
  callers: number;
  /** Conversations at once, on average. */
  meanAttached: number;
  conversations: number;
  refused: { full: number; overloaded: number };
  steps: number;
  /** Conversations that step together, on average. */
  meanRows: number;
  frames: number;
  /** Frames of input that were dropped to bound the lag. */
  missedFrames: number;
  /** Share of its frames that the conversation missed that missed the most; of those of a minute or more. */
  worstMissedShare: number;
  /** And of that which missed the least: under overload near to the worst, if nobody is preferred. */
  leastMissedShare: number;
  /** From the last sample of a frame to the end of its step, ms. */
  lagMs: { p50: number; p99: number; max: number };
  moves: number;
};

/** Who was refused tries again after so long, unless he was told when. */
const RETRY_MS = 5_000;
/** Time between two conversations of a caller. */
const PAUSE_MS = 500;
/** The 99th percentile of the normal distribution. */
const NORMAL_P99 = 2.3263;
/** Conversations shorter than this say little about fairness. */
const FAIR_SAMPLE_MS = 60_000;

type Call = { caller: number; slot: number; endsMs: number; frames: number; missed: number };
/** What happens next to a caller: he comes, or a frame of his is full. */
type Event = { atMs: number; caller: number; call: Call | null };

export function simulate(options: SimulationOptions): SimulationReport {
  const { slots, callers, steps, slowdown = 1, meanConversationMs, durationMs, seed } = options;
  const clock = { ms: 0 };
  const now = (): number => clock.ms;
  const random = new RandomGenerator(seed);
  const uniform = (): number => (random.uint32() + 0.5) / 0x1_0000_0000;
  const batches = [...steps.keys()];
  const scheduler = new FrameScheduler({ slots, batches, now });
  const stepTimes = new StepTimes(
    new Map(Array.from(steps, ([batch, { p50 }]) => [batch, p50])),
    now,
  );
  const admission = new Admission({ slots, batches, stepTimes, limitMs: STEP_LIMIT_MS });
  const rows = batches.at(-1) ?? slots;
  const pcm = new Float32Array(rows * FRAME_SAMPLES);
  const execMask = new Uint8Array(rows);
  const frame = new Float32Array(FRAME_SAMPLES);

  const events = new EventQueue();
  const inSlot: (Call | null)[] = Array.from({ length: slots }, () => null);
  const lags = new LagHistogram();
  const report = { conversations: 0, steps: 0, rows: 0, frames: 0, missed: 0, moves: 0 };
  const refused = { full: 0, overloaded: 0 };
  let attachedMs = 0;
  let worstMissedShare = 0;
  let leastMissedShare = 1;
  const device: { rows: readonly PlannedRow[]; stepMs: number; endsMs: number } = {
    rows: [],
    stepMs: 0,
    endsMs: Infinity,
  };

  const leave = (call: Call, startedMs: number): void => {
    scheduler.leave(call.slot);
    inSlot[call.slot] = null;
    attachedMs += clock.ms - startedMs;
    if (clock.ms - startedMs >= FAIR_SAMPLE_MS) {
      const missedShare = call.missed / call.frames;
      worstMissedShare = Math.max(worstMissedShare, missedShare);
      leastMissedShare = Math.min(leastMissedShare, missedShare);
    }
  };
  const started = new Map<Call, number>();
  const come = (caller: number): void => {
    const refusal = admission.refusal(scheduler.attached, null);
    if (refusal !== null) {
      refused[refusal.code] += 1;
      events.add({ atMs: clock.ms + (refusal.retryAfterMs ?? RETRY_MS), caller, call: null });
      return;
    }
    const slot = scheduler.attach();
    if (slot === null) {
      return;
    }
    const endsMs = clock.ms + meanConversationMs * random.exponential();
    const call: Call = { caller, slot, endsMs, frames: 0, missed: 0 };
    inSlot[slot] = call;
    started.set(call, clock.ms);
    report.conversations += 1;
    events.add({ atMs: clock.ms + FRAME_MS, caller, call });
  };
  const speak = (call: Call): void => {
    if (clock.ms >= call.endsMs) {
      leave(call, started.get(call) ?? 0);
      started.delete(call);
      events.add({ atMs: clock.ms + PAUSE_MS, caller: call.caller, call: null });
      return;
    }
    call.frames += 1;
    const dropped = scheduler.push(call.slot, frame);
    call.missed += dropped;
    report.missed += dropped;
    events.add({ atMs: clock.ms + FRAME_MS, caller: call.caller, call });
  };
  const step = (): void => {
    const move = scheduler.compact();
    if (move !== null) {
      const call = inSlot[move.from] ?? null;
      inSlot[move.to] = call;
      inSlot[move.from] = null;
      if (call !== null) {
        call.slot = move.to;
      }
      report.moves += 1;
    }
    const plan = scheduler.next(pcm, execMask);
    if (plan === null) {
      return;
    }
    const { p50, p99 } = steps.get(plan.batch) ?? { p50: 0, p99: 0 };
    const stepMs = slowdown * p50 * Math.exp((Math.log(p99 / p50) / NORMAL_P99) * normal(uniform));
    Object.assign(device, { rows: plan.rows, stepMs, endsMs: clock.ms + stepMs });
    stepTimes.observe(plan.batch, stepMs);
    report.steps += 1;
    report.rows += plan.rows.length;
  };

  for (let caller = 0; caller < callers; caller += 1) {
    events.add({ atMs: uniform() * RETRY_MS, caller, call: null });
  }
  for (;;) {
    const next = events.first();
    const nextMs = Math.min(next?.atMs ?? Infinity, device.endsMs);
    if (nextMs > durationMs) {
      break;
    }
    clock.ms = nextMs;
    if (device.endsMs <= nextMs) {
      for (const { queuedMs } of device.rows) {
        report.frames += 1;
        lags.add(queuedMs + device.stepMs);
      }
      device.endsMs = Infinity;
    } else if (next !== null) {
      events.removeFirst();
      if (next.call === null) {
        come(next.caller);
      } else {
        speak(next.call);
      }
    }
    if (device.endsMs === Infinity) {
      step();
    }
  }
  clock.ms = durationMs;
  for (const [call, startedMs] of started) {
    leave(call, startedMs);
  }
  return {
    slots,
    callers,
    meanAttached: attachedMs / durationMs,
    conversations: report.conversations,
    refused,
    steps: report.steps,
    meanRows: report.rows / Math.max(1, report.steps),
    frames: report.frames,
    missedFrames: report.missed,
    worstMissedShare,
    leastMissedShare: Math.min(leastMissedShare, worstMissedShare),
    lagMs: { p50: lags.quantile(0.5), p99: lags.quantile(0.99), max: lags.max },
    moves: report.moves,
  };
}

/** Box and Muller's transform of two uniform draws. */
function normal(uniform: () => number): number {
  return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Events by time: a binary heap. */
class EventQueue {
  readonly #heap: Event[] = [];

  first(): Event | null {
    return this.#heap[0] ?? null;
  }

  add(event: Event): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Event;
      if (above.atMs <= event.atMs) {
        break;
      }
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) {
      return;
    }
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) {
        break;
      }
      const right = heap[child + 1];
      if (right !== undefined && right.atMs < (heap[child] as Event).atMs) {
        child += 1;
      }
      const below = heap[child] as Event;
      if (below.atMs >= last.atMs) {
        break;
      }
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

/** Counts of lags in bins of a tenth of a millisecond, up to ten seconds. */
class LagHistogram {
  static readonly #BIN_MS = 0.1;
  readonly #bins = new Uint32Array(100_000);
  #count = 0;
  max = 0;

  add(lagMs: number): void {
    const bin = Math.min(this.#bins.length - 1, Math.floor(lagMs / LagHistogram.#BIN_MS));
    this.#bins[bin] = (this.#bins[bin] ?? 0) + 1;
    this.#count += 1;
    this.max = Math.max(this.max, lagMs);
  }

  quantile(fraction: number): number {
    let below = 0;
    for (const [bin, count] of this.#bins.entries()) {
      below += count;
      if (below >= fraction * this.#count) {
        return (bin + 1) * LagHistogram.#BIN_MS;
      }
    }
    return this.max;
  }
}
