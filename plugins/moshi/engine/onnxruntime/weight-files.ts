/** A model's weights in its files, and as values that sessions take. */
import { join } from 'node:path';

import type { WeightDescription } from '../../../../models/manifest.ts';
import type { CApi } from './c-api.ts';
import { MappedFile } from './mapped-file.ts';

/** ONNXTensorElementDataType of onnxruntime_c_api.h. */
const WEIGHT_TYPES: Record<WeightDescription['type'], number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
};

/** Files as memory, each mapped once. */
export class WeightFiles {
  readonly #files = new Map<string, MappedFile | null>();

  /**
   * Address of a weight; null where the session must read the file itself, which then also tells what
   * is wrong with it.
   */
  locate(directory: string, weight: WeightDescription): bigint | null {
    const file = this.#open(join(directory, weight.file));
    if (file === null || weight.offsetBytes + weight.lengthBytes > file.lengthBytes) {
      return null;
    }
    return file.address + BigInt(weight.offsetBytes);
  }

  /** Says that what was read so far is not needed soon. */
  forget(): void {
    for (const file of this.#files.values()) {
      file?.forget();
    }
  }

  close(): void {
    for (const file of this.#files.values()) {
      file?.close();
    }
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

/** An `OrtValue` over a weight that lies at `address`. @param memoryInfo - Says where that is. */
export function weightValue(
  api: CApi,
  memoryInfo: bigint,
  address: bigint,
  { lengthBytes, shape, type }: WeightDescription,
): bigint {
  const sizes = BigInt64Array.from(shape, BigInt);
  return api.create(
    'CreateTensorWithDataAsOrtValue',
    memoryInfo,
    address,
    lengthBytes,
    sizes,
    sizes.length,
    WEIGHT_TYPES[type],
  );
}
