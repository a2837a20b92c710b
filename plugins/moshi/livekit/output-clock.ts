/**
 * The time line of what the model says: the position of every frame, in ms.
 *
 * Steps of a connection lie one after the other. A new connection counts its steps from 0 again, so
 * its line starts where the time of the call is by then, and never before the end of what was said.
 */
export class OutputClock {
  readonly #frameMs: number;
  #originMs = 0;
  #endMs = 0;

  constructor(frameMs: number) {
    this.#frameMs = frameMs;
  }

  /** Step 0 is about to come, `elapsedMs` after the first connection's step 0. */
  restart(elapsedMs: number): void {
    this.#originMs = Math.max(this.#endMs, Math.round(elapsedMs));
  }

  /** Where step 0 lies. */
  get originMs(): number {
    return this.#originMs;
  }

  /** Where the audio of this step begins. */
  startOf(step: number): number {
    const startMs = this.#originMs + step * this.#frameMs;
    this.#endMs = Math.max(this.#endMs, startMs + this.#frameMs);
    return startMs;
  }
}
