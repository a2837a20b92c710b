/**
 * How long a step takes, learnt from the steps themselves: one estimate per batch size.
 *
 * Every `BLOCK_STEPS` steps of a size give one 99th percentile, and the estimate follows the lower of
 * the last two: a machine that was busy with something else for a few seconds is not too slow. It
 * begins at what was measured when the model was loaded, and falls back to that while the size does
 * not run: a slow minute must not close a size for ever that nobody may try again.
 */
import { strict as assert } from 'node:assert';

/** The second longest of so many steps is their 99th percentile: one hiccup says nothing. */
const BLOCK_STEPS = 100;
/** Share of a new percentile in the estimate. */
const BLOCK_WEIGHT = 0.5;
/** An estimate of a size that does not run is halfway back at its beginning after this long. */
const HALF_LIFE_MS = 15_000;

type Estimate = {
  readonly initialMs: number;
  ms: number;
  updatedAtMs: number;
  /** Percentile of the last whole block. */
  blockMs: number;
  /** The two longest steps of the block under way. */
  longestMs: number;
  secondMs: number;
  steps: number;
};

export class StepTimes {
  readonly #estimates: ReadonlyMap<number, Estimate>;
  readonly #now: () => number;

  /**
   * @param initialMs - Per batch size, ascending; measured while nobody was there.
   * @param now - Monotonic, ms.
   */
  constructor(initialMs: ReadonlyMap<number, number>, now: () => number) {
    this.#now = now;
    this.#estimates = new Map(
      Array.from(initialMs, ([batch, ms]) => [
        batch,
        { initialMs: ms, ms, updatedAtMs: now(), blockMs: ms, longestMs: 0, secondMs: 0, steps: 0 },
      ]),
    );
  }

  observe(batch: number, stepMs: number): void {
    const estimate = this.#of(batch);
    if (stepMs > estimate.longestMs) {
      estimate.secondMs = estimate.longestMs;
      estimate.longestMs = stepMs;
    } else {
      estimate.secondMs = Math.max(estimate.secondMs, stepMs);
    }
    estimate.steps += 1;
    if (estimate.steps === BLOCK_STEPS) {
      const before = this.#fallenBack(estimate);
      const measured = Math.min(estimate.blockMs, estimate.secondMs);
      estimate.ms = before + BLOCK_WEIGHT * (measured - before);
      estimate.blockMs = estimate.secondMs;
      estimate.updatedAtMs = this.#now();
      Object.assign(estimate, { longestMs: 0, secondMs: 0, steps: 0 });
    }
  }

  /** 99th percentile to expect of a batch size, ms; never below that of a smaller one. */
  expectedMs(batch: number): number {
    let expected = 0;
    for (const [size, estimate] of this.#estimates) {
      if (size <= batch) {
        expected = Math.max(expected, this.#fallenBack(estimate));
      }
    }
    return expected;
  }

  /**
   * How long it takes until a batch size is expected to keep a limit, if it does not run meanwhile.
   *
   * @returns 0 if it does already, null if it never did, not even when nobody was there.
   */
  msUntilWithin(batch: number, limitMs: number): number | null {
    let longest = 0;
    for (const [size, estimate] of this.#estimates) {
      if (size > batch) {
        continue;
      }
      if (estimate.initialMs > limitMs) {
        return null;
      }
      const excess = this.#fallenBack(estimate) - estimate.initialMs;
      const allowed = Math.max(limitMs - estimate.initialMs, Number.EPSILON);
      longest = Math.max(longest, HALF_LIFE_MS * Math.log2(Math.max(1, excess / allowed)));
    }
    return longest;
  }

  #fallenBack({ initialMs, ms, updatedAtMs }: Estimate): number {
    return initialMs + (ms - initialMs) * 2 ** (-(this.#now() - updatedAtMs) / HALF_LIFE_MS);
  }

  #of(batch: number): Estimate {
    const estimate = this.#estimates.get(batch);
    assert(estimate !== undefined, `no steps of batch size ${batch} are expected`);
    return estimate;
  }
}
