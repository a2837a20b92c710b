/**
 * When a speaker has finished, from what a model that transcribes thinks of every frame: not silence
 * counts, but whether a longer pause is to be expected after these words.
 *
 * Source: kyutai-labs/unmute unmute/unmute_handler.py (`determine_pause`, `_stt_loop`),
 * unmute/stt/speech_to_text.py, unmute/exponential_moving_average.py.
 */

const STEP_SECONDS = 0.08;

/** The horizon whose head is asked. */
export const TURN_HORIZON_SECONDS = 2;

const THRESHOLD = 0.6;

/** What the model thinks of the first steps means nothing. */
const IGNORED_STEPS = 12;

/** In which the average goes half the way to a new value. */
const HALF_LIFE_SECONDS = 0.01;
const RETAINED = 2 ** (-STEP_SECONDS / HALF_LIFE_SECONDS);

export class EndOfTurn {
  readonly #delayFrames: number;
  #steps = 0;
  #average = 1;
  /** Steps in a row, up to the last, that were thought to lie in a pause. */
  #pausedSteps = 0;
  #isSpeaking = false;
  /** Words before this step were said before the pause. */
  #nextTurn = 0;

  /** @param delayFrames - Frames by which words lag sound. */
  constructor(delayFrames: number) {
    this.#delayFrames = delayFrames;
  }

  /**
   * Takes what the next step gave.
   * @param pause - Probability that the speaker has paused, of the head of `TURN_HORIZON_SECONDS`.
   * @param hasWord - Whether a word was completed.
   * @returns how many steps ago the pause began that ends a turn, once for each turn; else null. More than none
   * where the turn was shorter than the delay of its words: until they come nobody knows that it was one.
   */
  push(pause: number, hasWord: boolean): number | null {
    this.#steps += 1;
    this.#pausedSteps = pause > THRESHOLD ? this.#pausedSteps + 1 : 0;
    if (this.#steps > IGNORED_STEPS) {
      this.#average = RETAINED * this.#average + (1 - RETAINED) * pause;
    }
    if (hasWord && !this.#isSpeaking && this.#steps > this.#nextTurn) {
      this.#isSpeaking = true;
      // The heads may not have noticed yet: one word is no turn.
      this.#average = 0;
    }
    if (!this.#isSpeaking || this.#average <= THRESHOLD) {
      return null;
    }
    this.#isSpeaking = false;
    // A pause that was there before the word was said is not the one after it.
    const agoSteps = Math.max(0, Math.min(this.#pausedSteps - 1, this.#delayFrames));
    this.#nextTurn = this.#steps + this.#delayFrames - agoSteps;
    return agoSteps;
  }
}
