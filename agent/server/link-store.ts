/**
 * Join links: opaque ids that stand for a room and its options, for a limited time.
 *
 * They live in memory: a restart of the server forgets them, as a restart of LiveKit forgets its
 * rooms. A copied link therefore gives nothing but a conversation, until it expires.
 */
import { randomBytes } from 'node:crypto';

export interface JoinLink {
  /** 128 random bits, base64url: 22 characters. */
  readonly id: string;
  readonly room: string;
  /** What the page calls the visitor, if the maker of the link knew. */
  readonly displayName: string | undefined;
  /** Humans in the room at once; undefined: no limit. */
  readonly maxParticipants: number | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number;
}

export type LinkLookup =
  | { readonly state: 'open'; readonly link: JoinLink }
  /** Expired a short time ago; later it counts as unknown. */
  | { readonly state: 'expired' }
  | { readonly state: 'unknown' };

/** How long an expired link is still told apart from one that never was. */
const REMEMBER_EXPIRED_MS = 24 * 60 * 60 * 1000;

export class LinkStore {
  readonly #links = new Map<string, JoinLink>();
  /** Link that owns a room, by room name. */
  readonly #rooms = new Map<string, string>();
  readonly #capacity: number;
  readonly #clock: () => number;

  /**
   * @param capacity - Most links kept, expired ones included.
   * @param clock - Milliseconds since 1970.
   */
  constructor(capacity: number, clock: () => number) {
    this.#capacity = capacity;
    this.#clock = clock;
  }

  /** Adds a link, or returns null when `capacity` links are open. */
  create(options: {
    room: string;
    displayName: string | undefined;
    maxParticipants: number | undefined;
    ttlSeconds: number;
  }): JoinLink | null {
    if (this.#links.size >= this.#capacity) {
      this.#forget((link) => link.expiresAtMs + REMEMBER_EXPIRED_MS <= this.#clock());
    }
    if (this.#links.size >= this.#capacity) {
      this.#forget((link) => link.expiresAtMs <= this.#clock());
    }
    if (this.#links.size >= this.#capacity) {
      return null;
    }
    const link: JoinLink = {
      id: randomBytes(16).toString('base64url'),
      room: options.room,
      displayName: options.displayName,
      maxParticipants: options.maxParticipants,
      expiresAtMs: this.#clock() + options.ttlSeconds * 1000,
    };
    this.#links.set(link.id, link);
    this.#rooms.set(link.room, link.id);
    return link;
  }

  find(id: string): LinkLookup {
    const link = this.#links.get(id);
    if (link === undefined) {
      return { state: 'unknown' };
    }
    if (link.expiresAtMs > this.#clock()) {
      return { state: 'open', link };
    }
    return link.expiresAtMs + REMEMBER_EXPIRED_MS > this.#clock()
      ? { state: 'expired' }
      : { state: 'unknown' };
  }

  /** The open link that leads into a room, or null. */
  findByRoom(room: string): JoinLink | null {
    const id = this.#rooms.get(room);
    const lookup = id === undefined ? undefined : this.find(id);
    return lookup?.state === 'open' ? lookup.link : null;
  }

  #forget(isStale: (link: JoinLink) => boolean): void {
    for (const link of this.#links.values()) {
      if (isStale(link)) {
        this.#links.delete(link.id);
        if (this.#rooms.get(link.room) === link.id) {
          this.#rooms.delete(link.room);
        }
      }
    }
  }
}
