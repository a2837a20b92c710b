/**
 * Weights that several sessions use: mapped from their files once, and brought into the order that
 * the CPU's kernels want once. Without it every batch size would keep a copy of its own.
 */
import { join } from 'node:path';

import type { WeightDescription } from '../../../../models/manifest.ts';
import type { CApi } from './c-api.ts';
import { MappedFile } from './mapped-file.ts';

/** ONNXTensorElementDataType of onnxruntime_c_api.h. */
export const WEIGHT_TYPES: Record<WeightDescription['type'], number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
};

export class SharedWeights {
  /** `OrtPrepackedWeightsContainer`. */
  readonly container: bigint;
  readonly #api: CApi;
  readonly #hostMemory: bigint;
  readonly #files = new Map<string, MappedFile | null>();
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
    for (const file of this.#files.values()) {
      file?.forget();
    }
  }

  /** Only after the sessions. */
  dispose(): void {
    this.#api.call('ReleasePrepackedWeightsContainer', this.container);
    for (const value of this.#values.values()) {
      this.#api.call('ReleaseValue', value);
    }
    for (const file of this.#files.values()) {
      file?.close();
    }
  }

  /** Null where the session must read the file itself; it then also tells what is wrong with it. */
  #value(directory: string, weight: WeightDescription): bigint | null {
    const path = join(directory, weight.file);
    const key = `${directory}\0${weight.name}`;
    const known = this.#values.get(key);
    if (known !== undefined) {
      return known;
    }
    const file = this.#open(path);
    if (file === null || weight.offsetBytes + weight.lengthBytes > file.lengthBytes) {
      return null;
    }
    const shape = BigInt64Array.from(weight.shape, BigInt);
    const value = this.#api.create(
      'CreateTensorWithDataAsOrtValue',
      this.#hostMemory,
      file.address + BigInt(weight.offsetBytes),
      weight.lengthBytes,
      shape,
      shape.length,
      WEIGHT_TYPES[weight.type],
    );
    this.#values.set(key, value);
    return value;
  }

  #open(path: string): MappedFile | null {
    let file = this.#files.get(path);
    if (file === undefined) {
      try {
        file = MappedFile.open(path);
      } catch {
        file = null;
      }
      this.#files.set(path, file);
    }
    return file;
  }
}
