/**
 * Notices a step that does not end.
 *
 * One timer is wound up again with every step and runs on after it: beginning and clearing one cost
 * more than all else that a step needs of timers.
 */
export class StepWatchdog {
  readonly #onHang: (patienceMs: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #patienceMs = 0;
  #isWatching = false;

  /** @param onHang - Told how long the step has taken by then. */
  constructor(onHang: (patienceMs: number) => void) {
    this.#onHang = onHang;
  }

  /** A step begins, which should end within so many ms. */
  begin(patienceMs: number): void {
    this.#isWatching = true;
    if (this.#timer !== null && patienceMs === this.#patienceMs) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer ?? undefined);
    this.#patienceMs = patienceMs;
    this.#timer = setTimeout(() => this.#ring(), patienceMs).unref();
  }

  /** The step has ended. */
  end(): void {
    this.#isWatching = false;
  }

  #ring(): void {
    if (this.#isWatching) {
      this.#isWatching = false;
      this.#onHang(this.#patienceMs);
    }
  }
}
