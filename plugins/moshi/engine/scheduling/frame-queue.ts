/**
 * Input of one conversation that waits for a step: chunks of any length in, whole frames out.
 *
 * Bounded: when more whole frames wait than allowed, the oldest is dropped and counted, so that lag
 * cannot drift. Nothing is allocated after construction.
 */
export class FrameQueue {
  readonly #frameSamples: number;
  readonly #frames: Float32Array[];
  readonly #completedMs: Float64Array;
  #first = 0;
  #waiting = 0;
  #partialSamples = 0;

  /** @param maxFrames - Whole frames that may wait; one that is not yet full comes on top. */
  constructor(frameSamples: number, maxFrames: number) {
    this.#frameSamples = frameSamples;
    this.#frames = Array.from({ length: maxFrames + 1 }, () => new Float32Array(frameSamples));
    this.#completedMs = new Float64Array(maxFrames + 1);
  }

  /** Whole frames waiting. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Adds samples that arrived at `nowMs` and returns how many whole frames were dropped for them. */
  push(samples: Float32Array, nowMs: number): number {
    const size = this.#frames.length;
    let dropped = 0;
    let consumed = 0;
    while (consumed < samples.length) {
      const index = (this.#first + this.#waiting) % size;
      const frame = this.#frames[index] as Float32Array;
      const taken = samples.subarray(
        consumed,
        consumed + this.#frameSamples - this.#partialSamples,
      );
      frame.set(taken, this.#partialSamples);
      consumed += taken.length;
      this.#partialSamples += taken.length;
      if (this.#partialSamples < this.#frameSamples) {
        break;
      }
      this.#partialSamples = 0;
      this.#completedMs[index] = nowMs;
      this.#waiting += 1;
      if (this.#waiting === size) {
        this.#first = (this.#first + 1) % size;
        this.#waiting -= 1;
        dropped += 1;
      }
    }
    return dropped;
  }

  /**
   * Moves the oldest whole frame into `target`.
   *
   * @returns When its last sample arrived, or null if no whole frame waits.
   */
  take(target: Float32Array): number | null {
    if (this.#waiting === 0) {
      return null;
    }
    target.set(this.#frames[this.#first] as Float32Array);
    const completedMs = this.#completedMs[this.#first] as number;
    this.#first = (this.#first + 1) % this.#frames.length;
    this.#waiting -= 1;
    return completedMs;
  }

  /** Forgets everything that waits. */
  clear(): void {
    this.#first = 0;
    this.#waiting = 0;
    this.#partialSamples = 0;
  }
}
