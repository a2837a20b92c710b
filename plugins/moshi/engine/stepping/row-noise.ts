/** The noise that rows sample with, and how much of it they look at. */
import type { ModelManifest, SamplingOptions } from '../../../../models/manifest.ts';
import type { RandomGenerator } from '../random.ts';
import type { GraphSet } from './graph-set.ts';

/** How codes are drawn; a model that only listens draws none. */
type AudioDraw = { temperature: Float32Array; topK: BigInt64Array; noise: Float32Array };

export class RowNoise {
  readonly #manifest: ModelManifest;
  readonly #textTemperature: Float32Array;
  readonly #textTopK: BigInt64Array;
  readonly #textNoise: Float32Array;
  readonly #audio: AudioDraw | null;

  constructor(graphs: GraphSet, manifest: ModelManifest) {
    this.#manifest = manifest;
    this.#textTemperature = graphs.input('text_temperature').float32();
    this.#textTopK = graphs.input('text_top_k').int64().fill(1n);
    // Rows that never draw still divide by their noise.
    this.#textNoise = graphs.input('text_noise').float32().fill(1);
    this.#audio =
      manifest.generatedCodebooks > 0
        ? {
            temperature: graphs.input('audio_temperature').float32(),
            topK: graphs.input('audio_top_k').int64().fill(1n),
            noise: graphs.input('audio_noise').float32().fill(1),
          }
        : null;
  }

  /**
   * Makes a row sample like this from now on.
   *
   * @returns What the graphs can do of it: their top-k have limits.
   */
  choose(slot: number, sampling: SamplingOptions): SamplingOptions {
    const { textWidth, audioWidth } = this.#manifest.noise;
    const clamped = {
      ...sampling,
      textTopK: Math.min(sampling.textTopK, textWidth),
      audioTopK: Math.min(sampling.audioTopK, audioWidth),
    };
    this.#textTemperature[slot] = clamped.textTemperature;
    this.#textTopK[slot] = BigInt(clamped.textTopK);
    if (this.#audio !== null) {
      this.#audio.temperature[slot] = clamped.audioTemperature;
      this.#audio.topK[slot] = BigInt(clamped.audioTopK);
    }
    return clamped;
  }

  /** For one step; greedy rows draw nothing, others as many as their top-k looks at. */
  draw(slot: number, sampling: SamplingOptions, random: RandomGenerator): void {
    const { noise, generatedCodebooks } = this.#manifest;
    if (sampling.textTemperature > 0) {
      const start = slot * noise.textWidth;
      for (let index = 0; index < sampling.textTopK; index += 1) {
        this.#textNoise[start + index] = random.exponential();
      }
    }
    if (this.#audio !== null && sampling.audioTemperature > 0) {
      for (let codebook = 0; codebook < generatedCodebooks; codebook += 1) {
        const start = (slot * generatedCodebooks + codebook) * noise.audioWidth;
        for (let index = 0; index < sampling.audioTopK; index += 1) {
          this.#audio.noise[start + index] = random.exponential();
        }
      }
    }
  }
}
