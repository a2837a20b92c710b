/** When to start a dead process again, and when to stop trying. */

/** Wait before the n-th restart in a row, milliseconds; the last one repeats. */
const DELAYS_MS = [500, 1_000, 2_000, 4_000, 8_000];

/** Deaths in a row without ever having been ready, after which another try will not help. */
const MAX_FAILED_STARTS = 3;

/** A process that was ready for so long has proved itself: its next death counts as the first. */
const STABLE_AFTER_MS = 30_000;

export type RestartDecision = { action: 'restart'; delayMs: number } | { action: 'give_up' };

/** One per supervised process. Time comes in through the arguments. */
export class RestartPolicy {
  #deathsInRow = 0;
  #failedStartsInRow = 0;

  /** @param readyForMs - How long the process had been ready when it died; null: it never was. */
  onDeath(readyForMs: number | null): RestartDecision {
    if (readyForMs === null) {
      this.#failedStartsInRow++;
    } else {
      this.#failedStartsInRow = 0;
      if (readyForMs >= STABLE_AFTER_MS) {
        this.#deathsInRow = 0;
      }
    }
    if (this.#failedStartsInRow >= MAX_FAILED_STARTS) {
      return { action: 'give_up' };
    }
    const delayMs = DELAYS_MS[Math.min(this.#deathsInRow, DELAYS_MS.length - 1)] ?? 0;
    this.#deathsInRow++;
    return { action: 'restart', delayMs };
  }
}
