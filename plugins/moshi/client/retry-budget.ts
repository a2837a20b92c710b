/** How long and how often a lost engine is tried again. All durations in ms. */
export type RetryOptions = {
  /** Time without a stable connection after which the conversation gives up. */
  outageMs: number;
  /** Longest wait between two attempts. */
  maxDelayMs: number;
  /** A connection that lasts this long refills the budget. */
  stableMs: number;
  /** Time an attempt has from the first packet to `ready`, or to the next step of a prompt. */
  attemptMs: number;
};

/** A call goes on within 3 s of the engine's return: at most 1 s of waiting, then the attempt. */
export const defaultRetryOptions: RetryOptions = {
  outageMs: 60_000,
  maxDelayMs: 1_000,
  stableMs: 10_000,
  attemptMs: 5_000,
};

const FIRST_DELAY_MS = 125;

/**
 * Decides when to try again and when to give up. Knows neither sockets nor timers.
 *
 * The outage begins with the first failure after a stable connection. A connection that comes and
 * breaks again before it was stable does not end it, so an engine that dies in every first step
 * cannot keep a call alive for ever.
 */
export class RetryBudget {
  readonly #options: RetryOptions;
  readonly #random: () => number;
  #outageSinceMs: number | null = null;
  #connectedSinceMs: number | null = null;
  #failures = 0;

  /** @param random - Uniform in [0, 1): jitter, so that many calls do not return in one instant. */
  constructor(options: RetryOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
  }

  connected(nowMs: number): void {
    this.#connectedSinceMs = nowMs;
  }

  /**
   * Takes note of a failed attempt or a lost connection.
   *
   * @returns how long to wait before the next attempt (0 for the first), or null: give up.
   */
  failed(nowMs: number): number | null {
    const { stableMs, outageMs, maxDelayMs } = this.#options;
    if (this.#connectedSinceMs !== null && nowMs - this.#connectedSinceMs >= stableMs) {
      this.#outageSinceMs = null;
      this.#failures = 0;
    }
    this.#connectedSinceMs = null;
    this.#outageSinceMs ??= nowMs;
    if (nowMs - this.#outageSinceMs >= outageMs) {
      return null;
    }
    this.#failures += 1;
    if (this.#failures === 1) {
      return 0;
    }
    const delayMs = Math.min(maxDelayMs, FIRST_DELAY_MS * 2 ** Math.min(this.#failures - 2, 16));
    return delayMs * (0.5 + 0.5 * this.#random());
  }
}
