/** Slots held for conversations that are about to start, so that a worker can promise one. */

/** A job process starts and connects within a few seconds; a promise nobody claims must not last. */
export const RESERVATION_MS = 30_000;

export class Reservations {
  readonly #expiry = new Map<string, number>();
  readonly #now: () => number;

  /** @param now - Monotonic, ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Reservations that have not expired. */
  get held(): number {
    this.#expire();
    return this.#expiry.size;
  }

  /** Until the first reservation lapses, ms; null if none is held. */
  get nextExpiryMs(): number | null {
    this.#expire();
    const first = Math.min(...this.#expiry.values());
    return Number.isFinite(first) ? first - this.#now() : null;
  }

  /**
   * Holds a slot under a key, or holds it for longer.
   *
   * @param freeSlots - Usable slots that no conversation has.
   * @returns False if all of them are promised to others.
   */
  hold(key: string, freeSlots: number): boolean {
    this.#expire();
    if (!this.#expiry.has(key) && this.#expiry.size >= freeSlots) {
      return false;
    }
    this.#expiry.set(key, this.#now() + RESERVATION_MS);
    return true;
  }

  /** Ends a reservation because its conversation starts or never will; false if there is none. */
  end(key: string): boolean {
    this.#expire();
    return this.#expiry.delete(key);
  }

  #expire(): void {
    const now = this.#now();
    for (const [key, expiresMs] of this.#expiry) {
      if (expiresMs <= now) {
        this.#expiry.delete(key);
      }
    }
  }
}
