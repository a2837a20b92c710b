/** A word of the person who is heard, with the blank that separates it from the one before. */
export type UserWord = {
  /** One per turn. */
  turnId: string;
  text: string;
  /** Where the word's sound begins, ms. */
  startMs: number;
};

/** What a person said before letting others speak, or has said of it so far. */
export type UserTurn = {
  turnId: string;
  text: string;
  startMs: number;
  /** When the pause after it was heard; where none was, when its last word had been heard. */
  endMs: number;
};

/** Gathers the words of a person into turns. */
export class UserTurns {
  readonly #createId: () => string;
  #open: UserTurn | null = null;

  constructor(createId: () => string) {
    this.#createId = createId;
  }

  /**
   * Takes the next word.
   *
   * @param text - Without blanks around it.
   * @param heardMs - How far has been heard by now.
   * @returns the word, and the turn with it.
   */
  push(text: string, startMs: number, heardMs: number): { word: UserWord; turn: UserTurn } {
    const open = this.#open;
    const turnId = open?.turnId ?? this.#createId();
    const word = { turnId, text: ` ${text}`, startMs };
    this.#open = {
      turnId,
      text: `${open?.text ?? ''}${word.text}`,
      startMs: open?.startMs ?? startMs,
      endMs: Math.max(startMs, heardMs),
    };
    return { word, turn: this.#open };
  }

  /**
   * Ends the turn.
   *
   * @param pauseMs - When the pause after it was heard; missing: none was.
   * @returns null if there was none.
   */
  end(pauseMs?: number): UserTurn | null {
    const turn = this.#open;
    this.#open = null;
    return turn && { ...turn, endMs: Math.max(turn.startMs, pauseMs ?? turn.endMs) };
  }
}
