/**
 * The words of a transcript with their times, from the text tokens of a model that transcribes.
 *
 * Source: kyutai-labs/moshi@e6a55d2 rust/moshi-core/src/asr.rs (`State::step_tokens`). Padding ends a
 * word. End-of-padding tells that the next word starts now and the last one has stopped; so a word's
 * start is the time of the end-of-padding before it. Text lags sound by `delayFrames`.
 */
import { StreamingTextDecoder, type Vocabulary } from './text-decoder.ts';

const FRAME_MS = 80;

export type WordEvent =
  | { readonly type: 'word'; readonly text: string; readonly startMs: number }
  /** All words that have not ended yet have. */
  | { readonly type: 'end'; readonly endMs: number };

export type TimedWordsOptions = {
  vocabulary: Vocabulary;
  paddingToken: number;
  endOfPaddingToken: number;
  /** Frames by which text lags sound. */
  delayFrames: number;
  /** What was heard before the sound whose start is 0 ms. */
  leadingSilenceMs: number;
};

/** Times count from the first sound, on the reference's grid: its step 0 hears nothing, step s frame s - 1. */
export class TimedWords {
  readonly #options: TimedWordsOptions;
  readonly #decoder: StreamingTextDecoder;
  #steps = 0;
  #text = '';
  #isUnended = false;
  /** When the last end-of-padding came, ms of all that was heard. */
  #lastStopMs = 0;

  constructor(options: TimedWordsOptions) {
    this.#options = options;
    this.#decoder = new StreamingTextDecoder(options.vocabulary);
  }

  /** Takes the token of the next step, and returns what it tells: at most a word and its end. */
  push(token: number): WordEvent[] {
    const { paddingToken, endOfPaddingToken, delayFrames } = this.#options;
    this.#steps += 1;
    if (this.#steps < delayFrames) {
      return [];
    }
    if (token !== paddingToken && token !== endOfPaddingToken) {
      this.#text += this.#decoder.push(token);
      return [];
    }
    const events = this.#completeWord();
    if (token === endOfPaddingToken) {
      this.#lastStopMs = this.#heardMs;
      events.push(...this.#end(this.#heardMs));
    }
    return events;
  }

  /**
   * Returns the word that was under way, and ends all that no token has ended.
   * @param soundMs - When the sound ended: what was heard after it is silence.
   */
  finish(soundMs: number): WordEvent[] {
    const endMs = Math.max(this.#lastStopMs, soundMs + this.#options.leadingSilenceMs);
    return [...this.#completeWord(), ...this.#end(Math.min(endMs, this.#heardMs))];
  }

  /** Sound up to here is written down, ms of all that was heard. */
  get #heardMs(): number {
    return Math.max(0, this.#steps - this.#options.delayFrames) * FRAME_MS;
  }

  #completeWord(): WordEvent[] {
    const text = (this.#text + this.#decoder.flush()).trim();
    this.#text = '';
    if (text === '') {
      return [];
    }
    this.#isUnended = true;
    return [{ type: 'word', text, startMs: this.#sinceSound(this.#lastStopMs) }];
  }

  #end(endMs: number): WordEvent[] {
    if (!this.#isUnended) {
      return [];
    }
    this.#isUnended = false;
    return [{ type: 'end', endMs: this.#sinceSound(endMs) }];
  }

  #sinceSound(ms: number): number {
    return Math.max(0, ms - this.#options.leadingSilenceMs);
  }
}
