import type { MoshiFrame } from '../../plugins/moshi/index.ts';

type Distribution = { p50: number; p99: number };
type FrameTiming = Pick<MoshiFrame, 'stepMs' | 'queuedMs' | 'droppedFrames'>;

/** Collects what frames tell of their own making, and sums it up when asked. */
export class TimingSummary {
  #stepMs: number[] = [];
  #queuedMs: number[] = [];
  #droppedFrames = 0;

  push(frame: FrameTiming): void {
    this.#stepMs.push(frame.stepMs);
    this.#queuedMs.push(frame.queuedMs);
    this.#droppedFrames = frame.droppedFrames;
  }

  /** Sums up the frames since the last call; distributions are null if there were none. */
  take(): {
    frames: number;
    stepMs: Distribution | null;
    queuedMs: Distribution | null;
    droppedFrames: number;
  } {
    const summary = {
      frames: this.#stepMs.length,
      stepMs: distributionOf(this.#stepMs),
      queuedMs: distributionOf(this.#queuedMs),
      droppedFrames: this.#droppedFrames,
    };
    this.#stepMs = [];
    this.#queuedMs = [];
    return summary;
  }
}

function distributionOf(values: number[]): Distribution | null {
  if (values.length === 0) {
    return null;
  }
  const sorted = values.toSorted((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}

/** Nearest rank. */
function quantile(sorted: readonly number[], probability: number): number {
  return sorted[Math.max(0, Math.ceil(probability * sorted.length) - 1)] ?? 0;
}
