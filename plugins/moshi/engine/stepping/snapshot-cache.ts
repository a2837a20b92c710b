/**
 * Snapshots of conversations by key, for prompts that many conversations begin with: the first one
 * computes it, the others begin with a copy.
 *
 * Bounded in bytes; whoever has not been asked for the longest goes first.
 */

/** What the cache keeps; it alone disposes of what it has been given. */
export type Cached = { readonly bytes: number; dispose: () => void };

export class SnapshotCache<T extends Cached> {
  readonly #budgetBytes: number;
  /** Least recently used first. */
  readonly #entries = new Map<string, T>();
  #bytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): T | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      return null;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Whether a snapshot of so many bytes would ever be kept. */
  hasRoomFor(bytes: number): boolean {
    return bytes <= this.#budgetBytes;
  }

  /** Makes room first, so that old and new never lie in memory together beyond the budget. */
  put(key: string, bytes: number, make: () => T): void {
    if (!this.hasRoomFor(bytes)) {
      return;
    }
    this.#drop(key);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes + bytes <= this.#budgetBytes) {
        break;
      }
      this.#drop(oldest);
    }
    const entry = make();
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      this.#entries.delete(key);
      this.#bytes -= entry.bytes;
      entry.dispose();
    }
  }
}
