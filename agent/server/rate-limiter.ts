/**
 * Token buckets, one per caller, in bounded memory.
 *
 * A caller who is not remembered has a full bucket, so forgetting the longest-idle one when the
 * table is full can only ever err in the caller's favour.
 */
interface Bucket {
  tokens: number;
  updatedAtMs: number;
}

export interface RateLimit {
  /** Requests a caller may make at once. */
  burst: number;
  /** Requests per second that grow back. */
  perSecond: number;
  /** Most callers remembered. */
  callers: number;
}

export class RateLimiter {
  readonly #limit: RateLimit;
  readonly #clock: () => number;
  /** In order of last use, longest idle first. */
  readonly #buckets = new Map<string, Bucket>();

  /** @param clock - Milliseconds, from any origin. */
  constructor(limit: RateLimit, clock: () => number) {
    this.#limit = limit;
    this.#clock = clock;
  }

  /** Takes one request from a caller's bucket: 0 if it may go on, else seconds to wait, rounded up. */
  take(caller: string): number {
    const now = this.#clock();
    const known = this.#buckets.get(caller);
    const grown =
      known === undefined
        ? this.#limit.burst
        : known.tokens + (Math.max(0, now - known.updatedAtMs) / 1000) * this.#limit.perSecond;
    const tokens = Math.min(this.#limit.burst, grown);
    const allowed = tokens >= 1;
    this.#buckets.delete(caller);
    if (this.#buckets.size >= this.#limit.callers) {
      const longestIdle = this.#buckets.keys().next();
      if (longestIdle.done !== true) {
        this.#buckets.delete(longestIdle.value);
      }
    }
    this.#buckets.set(caller, { tokens: allowed ? tokens - 1 : tokens, updatedAtMs: now });
    return allowed ? 0 : Math.max(1, Math.ceil((1 - tokens) / this.#limit.perSecond));
  }
}

/** What counts as one caller: an IPv4 address, or the /64 network that an IPv6 host owns whole. */
export function callerOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !address.includes(':')) {
    return mapped ?? address;
  }
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const tailGroups = tail === '' ? [] : tail.split(':');
    while (groups.length + tailGroups.length < 8) {
      groups.push('0');
    }
    groups.push(...tailGroups);
  }
  return groups.slice(0, 4).join(':');
}
