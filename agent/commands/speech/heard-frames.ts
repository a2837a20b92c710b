/**
 * What a model that transcribes must hear, frame by frame, to write down all of a recording: silence
 * around it, and the first frame twice, because nothing is heard in the first step.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/run_inference.py.
 */
import type { ModelManifest } from '../../../models/manifest.ts';

type Transcription = NonNullable<ModelManifest['transcription']>;

export class HeardFrames {
  /** Steps; a last part shorter than a frame is left out. */
  readonly length: number;
  readonly #speech: Float32Array;
  readonly #frameSamples: number;
  readonly #leadingSamples: number;

  /** @param speech - 24 kHz. */
  constructor(transcription: Transcription, frameSamples: number, speech: Float32Array) {
    const { leadingSilenceSamples, trailingSilenceSamples } = transcription;
    const samples = leadingSilenceSamples + speech.length + trailingSilenceSamples;
    this.length = 1 + Math.floor(samples / frameSamples);
    this.#speech = speech;
    this.#frameSamples = frameSamples;
    this.#leadingSamples = leadingSilenceSamples;
  }

  /** The samples of a step, 0 to `length` - 1. */
  frame(step: number): Float32Array {
    const start = Math.max(0, step - 1) * this.#frameSamples - this.#leadingSamples;
    const end = start + this.#frameSamples;
    const frame = new Float32Array(this.#frameSamples);
    if (end > 0) {
      frame.set(this.#speech.subarray(Math.max(0, start), end), Math.max(0, -start));
    }
    return frame;
  }
}
