/**
 * Random weights that are the same bits on every machine: 32-bit integer hashing of a counter picks
 * from a table of near-normal numbers. Nothing but integer operations, products and square roots is
 * used, which IEEE 754 defines to the last bit; a logarithm, as true normal numbers need, it does not.
 *
 * The numbers have the spread of trained weights and are not meant to be good randomness: a tensor
 * draws from 65536 different values.
 */

/** How the elements of a tensor are distributed. */
export type Distribution = {
  readonly mean: number;
  /** Standard deviation; no element lies further than five of them from the mean. */
  readonly deviation: number;
};

const TABLE_SIZE = 65536;
/** Sum of this many bytes: near enough to normal (Irwin–Hall). */
const SUMMED_BYTES = 8;
const SUM_MEAN = (SUMMED_BYTES * 255) / 2;
const SUM_DEVIATION = Math.sqrt((SUMMED_BYTES * (256 * 256 - 1)) / 12);

/** Mixes 32 bits (lowbias32, github.com/skeeto/hash-prospector). */
function mix(value: number): number {
  let bits = value ^ (value >>> 16);
  bits = Math.imul(bits, 0x21f0aaad);
  bits ^= bits >>> 15;
  bits = Math.imul(bits, 0xd35a2d97);
  return bits ^ (bits >>> 15);
}

/** Mean 0, deviation 1; the second half mirrors the first, so that nothing has a bias. */
function unitNormals(): Float64Array {
  const numbers = new Float64Array(TABLE_SIZE);
  for (let index = 0; index < TABLE_SIZE / 2; index += 1) {
    let sum = 0;
    for (let part = 0; part < SUMMED_BYTES / 4; part += 1) {
      const word = mix(index * 2 + part + 1);
      sum += (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
    }
    numbers[index] = (sum - SUM_MEAN) / SUM_DEVIATION;
    numbers[index + TABLE_SIZE / 2] = -(numbers[index] ?? 0);
  }
  return numbers;
}

/** Where the numbers of a tensor come from: seed and name alone, so that tensors do not depend on each other. */
export function streamKey(seed: number, name: string): number {
  let key = mix(seed ^ 0x6d6f7368);
  for (const byte of Buffer.from(name)) key = mix(key ^ byte);
  return key;
}

export class RandomValues {
  readonly #unit = unitNormals();
  readonly #tables = new Map<string, Float32Array>();
  readonly #bfloatTables = new Map<Float32Array, Uint16Array>();

  /**
   * Elements [start, start + words.length) of stream `key` as float32 bits; `start` is even.
   */
  fillFloats(words: Float32Array, key: number, start: number, distribution: Distribution): void {
    const table = this.#table(distribution);
    const first = start / 2;
    for (let index = 0; index < words.length; index += 2) {
      const bits = mix((first + index / 2) ^ key);
      words[index] = table[bits & 0xffff] ?? 0;
      if (index + 1 < words.length) words[index + 1] = table[bits >>> 16] ?? 0;
    }
  }

  /** The same numbers rounded to bfloat16, the upper half of a float32. */
  fillBfloats(words: Uint16Array, key: number, start: number, distribution: Distribution): void {
    const table = this.#bfloatTable(distribution);
    const first = start / 2;
    for (let index = 0; index < words.length; index += 2) {
      const bits = mix((first + index / 2) ^ key);
      words[index] = table[bits & 0xffff] ?? 0;
      if (index + 1 < words.length) words[index + 1] = table[bits >>> 16] ?? 0;
    }
  }

  #table({ mean, deviation }: Distribution): Float32Array {
    const name = `${mean} ${deviation}`;
    const made =
      this.#tables.get(name) ?? Float32Array.from(this.#unit, (z) => mean + deviation * z);
    this.#tables.set(name, made);
    return made;
  }

  #bfloatTable(distribution: Distribution): Uint16Array {
    const floats = this.#table(distribution);
    const made = this.#bfloatTables.get(floats) ?? roundToBfloats(floats);
    this.#bfloatTables.set(floats, made);
    return made;
  }
}

/** To nearest, ties to even. */
function roundToBfloats(floats: Float32Array): Uint16Array {
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  return Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
}
