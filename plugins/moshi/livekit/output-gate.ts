/** Levels as RMS of a frame, full scale 1. */
const OPEN_LEVEL = 0.004;
const STAY_OPEN_LEVEL = 0.002;
/** Pauses up to this long belong to the utterance: 7 frames. */
const MIN_SILENCE_FRAMES = 7;
/** Frames before a word's audio in which the gate is open already. */
const PRE_ROLL_FRAMES = 2;

/**
 * Decides which frames of an endless output belong to an utterance.
 *
 * Level alone notices an onset when its beginning is over. The model's text runs ahead of its audio,
 * so a word opens the gate before it sounds.
 */
export class OutputGate {
  readonly #leadFrames: number;
  #frame = 0;
  #wordDueAt = -Infinity;
  #isOpen = false;
  #quietFrames = 0;

  /** @param leadFrames - Frames by which the text is ahead of the audio. */
  constructor(leadFrames: number) {
    this.#leadFrames = leadFrames;
  }

  /**
   * @param pcm - [1920] what sounds in this frame.
   * @param hasText - True if this frame's token is part of a word.
   */
  update(pcm: Float32Array, hasText: boolean): boolean {
    this.#frame += 1;
    if (hasText) {
      this.#wordDueAt = this.#frame + this.#leadFrames;
    }
    const isWordNear =
      this.#frame >= this.#wordDueAt - PRE_ROLL_FRAMES && this.#frame <= this.#wordDueAt;
    const level = rootMeanSquare(pcm);
    if (isWordNear || level > (this.#isOpen ? STAY_OPEN_LEVEL : OPEN_LEVEL)) {
      this.#isOpen = true;
      this.#quietFrames = 0;
    } else if (this.#isOpen) {
      this.#quietFrames += 1;
      this.#isOpen = this.#quietFrames < MIN_SILENCE_FRAMES;
    }
    return this.#isOpen;
  }
}

function rootMeanSquare(pcm: Float32Array): number {
  let sum = 0;
  for (const sample of pcm) {
    sum += sample * sample;
  }
  return Math.sqrt(sum / pcm.length);
}
