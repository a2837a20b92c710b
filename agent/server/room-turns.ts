/** Runs work that concerns one room one after the other; rooms do not wait for each other. */
export class RoomTurns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` when all earlier work of this room is done, whether that succeeded or not. */
  async take<T>(room: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(room) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#last.set(room, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(room) === mine) {
        this.#last.delete(room);
      }
    }
  }
}
