/**
 * Weights that several sessions use: mapped from their files once, and brought into the order that
 * the CPU's kernels want once. Without it every batch size would keep a copy of its own.
 */
import type { WeightDescription } from '../../../../models/manifest.ts';
import type { CApi } from './c-api.ts';
import { WeightFiles, weightValue } from './weight-files.ts';

export class SharedWeights {
  /** `OrtPrepackedWeightsContainer`. */
  readonly container: bigint;
  readonly #api: CApi;
  readonly #hostMemory: bigint;
  readonly #files = new WeightFiles();
  readonly #values = new Map<string, bigint>();

  constructor(api: CApi, hostMemory: bigint) {
    this.#api = api;
    this.#hostMemory = hostMemory;
    this.container = api.create('CreatePrepackedWeightsContainer');
  }

  /** Makes a session that is about to be created use the shared weights. */
  addTo(sessionOptions: bigint, directory: string, weights: readonly WeightDescription[]): void {
    for (const weight of weights) {
      const value = this.#value(directory, weight);
      if (value !== null) {
        this.#api.call('AddInitializer', sessionOptions, weight.name, value);
      }
    }
  }

  /** Says that a session is loaded: kernels have their own order of most of what was read. */
  loaded(): void {
    this.#files.forget();
  }

  /** Only after the sessions. */
  dispose(): void {
    this.#api.call('ReleasePrepackedWeightsContainer', this.container);
    for (const value of this.#values.values()) {
      this.#api.call('ReleaseValue', value);
    }
    this.#files.close();
  }

  /** Null where the session must read the file itself. */
  #value(directory: string, weight: WeightDescription): bigint | null {
    const key = `${directory}\0${weight.name}`;
    const known = this.#values.get(key);
    if (known !== undefined) {
      return known;
    }
    const address = this.#files.locate(directory, weight);
    if (address === null) {
      return null;
    }
    const value = weightValue(this.#api, this.#hostMemory, address, weight);
    this.#values.set(key, value);
    return value;
  }
}
