/** A whole word on the clock of the audio, with the blank that separates it from the one before. */
export type TimedWord = {
  text: string;
  /** Where the word's audio begins and ends, ms. */
  startMs: number;
  endMs: number;
};

/** Time without a further piece after which a word is taken as complete, ms. */
const PENDING_WORD_MS = 400;

/**
 * Joins the pieces of text that the model emits step by step into whole words.
 *
 * A piece with a leading blank starts a word. A word is complete when the next one starts, when the
 * model pads (it writes the pieces of one word in consecutive steps), or after 400 ms. Should a piece
 * follow nevertheless, it comes without a blank of its own, so that the text as a whole stays right.
 */
export class WordAssembler {
  #pending: TimedWord | null = null;

  /**
   * Takes the text of one step.
   *
   * @param text - Text of this step's token, often empty.
   * @param isPadding - True if the token says that no word goes on.
   * @param audioStartMs - Where the audio that belongs to this token begins.
   * @param frameMs - Length of the step.
   * @returns the words that are complete now: at most two.
   */
  push(text: string, isPadding: boolean, audioStartMs: number, frameMs: number): TimedWord[] {
    const words: TimedWord[] = [];
    const pending = this.#pending;
    if (
      pending !== null &&
      (isPadding || text.startsWith(' ') || audioStartMs - pending.endMs >= PENDING_WORD_MS)
    ) {
      words.push(pending);
      this.#pending = null;
    }
    if (text === '') {
      return words;
    }
    const endMs = audioStartMs + frameMs;
    this.#pending =
      this.#pending === null
        ? { text, startMs: audioStartMs, endMs }
        : { text: this.#pending.text + text, startMs: this.#pending.startMs, endMs };
    return words;
  }

  /** The word that is still open, if any; for the end of a conversation. */
  flush(): TimedWord[] {
    const words = this.#pending === null ? [] : [this.#pending];
    this.#pending = null;
    return words;
  }
}
