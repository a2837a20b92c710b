/**
 * Reads the index of a GGUF file: magic, version, counts, metadata, tensor descriptions, then, aligned,
 * the tensors' bytes. Dimensions are stored innermost first.
 *
 * Format: ggml-org/ggml, docs/gguf.md; Q8_0: blocks of 32 numbers, a half-precision scale and 32 int8.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { elementCount } from '../../onnx/data-types.ts';
import { CheckpointError } from '../checkpoint-error.ts';
import type { BlockFormat } from '../linear-weight.ts';
import { halfToNumber, rowPiece, type Packing, type StoredTensor } from './stored-tensors.ts';

export const GGUF_MAGIC = 'GGUF';
const VERSIONS = [2, 3];
const DEFAULT_ALIGNMENT = 32;
/** Far above any model; a larger count or string means that the file is damaged. */
const MAX_TENSORS = 1_000_000;
const MAX_STRING_BYTES = 16_000_000;
const MAX_DIMENSIONS = 4;

/** Types by ggml's number; a block is what is stored together along the innermost dimension. */
const TYPES: ReadonlyMap<number, { name: string; block: number; blockBytes: number }> = new Map([
  [0, { name: 'F32', block: 1, blockBytes: 4 }],
  [1, { name: 'F16', block: 1, blockBytes: 2 }],
  [8, { name: 'Q8_0', block: 32, blockBytes: 34 }],
  [30, { name: 'BF16', block: 1, blockBytes: 2 }],
]);

/** Names of types that exist and are not read, for messages. */
const OTHER_TYPES: Readonly<Record<number, string>> = {
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  15: 'Q8_K',
};

/** Bytes of metadata values of fixed size, by type number; 8 is a string, 9 an array. */
const VALUE_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};
const UINT32_VALUE = 4;
const STRING_VALUE = 8;
const ARRAY_VALUE = 9;

export class GgufFile {
  readonly path: string;
  readonly fileName: string;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  private constructor(path: string, fileName: string, tensors: ReadonlyMap<string, StoredTensor>) {
    this.path = path;
    this.fileName = fileName;
    this.#tensors = tensors;
  }

  /**
   * @param path - Without links.
   * @throws CheckpointError when the file is missing, truncated, no GGUF, or has types we cannot read.
   */
  static async open(path: string, fileName: string = basename(path)): Promise<GgufFile> {
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new CheckpointError(`Cannot open ${path}.`, { cause });
    });
    try {
      const { size } = await file.stat();
      return new GgufFile(path, fileName, await readIndex(new Cursor(file, path, size)));
    } finally {
      await file.close();
    }
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  stored(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined)
      throw new CheckpointError(`${this.path}: there is no tensor ${name}.`);
    return tensor;
  }
}

/** How to unpack a Q8_0 matrix; null for types that are plain numbers. */
export function ggufPacking(tensor: StoredTensor): Packing | null {
  if (tensor.type !== 'Q8_0') return null;
  const blockFormat: BlockFormat = { bits: 8, size: 32, hasZeroPoints: false };
  return {
    pieces: [rowPiece(tensor)],
    blocks: {
      format: blockFormat,
      decode: ([bytes]) => ({ ...splitBlocks(bytes ?? Buffer.alloc(0)), zeroPoints: null }),
    },
    decode: (pieces, count) => {
      const [bytes] = pieces as [Buffer];
      const columns = elementCount(tensor.shape.slice(1));
      const weights = new Float32Array(count * columns);
      for (let block = 0; block < weights.length / 32; block += 1) {
        const start = block * 34;
        const scale = halfToNumber(bytes.readUInt16LE(start));
        for (let i = 0; i < 32; i += 1) {
          weights[block * 32 + i] = scale * bytes.readInt8(start + 2 + i);
        }
      }
      return weights;
    },
  };
}

/** The same 8-bit numbers counted from 128, and their scales. */
function splitBlocks(bytes: Buffer): { packed: Uint8Array; scales: Float32Array } {
  const blocks = bytes.length / 34;
  const packed = new Uint8Array(blocks * 32);
  const scales = new Float32Array(blocks);
  for (let block = 0; block < blocks; block += 1) {
    const start = block * 34;
    scales[block] = halfToNumber(bytes.readUInt16LE(start));
    for (let i = 0; i < 32; i += 1) packed[block * 32 + i] = (bytes[start + 2 + i] ?? 0) ^ 0x80;
  }
  return { packed, scales };
}

/** Reads forward through a file, a large piece at a time. */
class Cursor {
  readonly path: string;
  readonly fileBytes: number;
  /** Bytes read so far. */
  position = 0;
  readonly #file: FileHandle;
  #buffer = Buffer.alloc(0);
  #bufferStart = 0;

  constructor(file: FileHandle, path: string, fileBytes: number) {
    this.#file = file;
    this.path = path;
    this.fileBytes = fileBytes;
  }

  async take(count: number): Promise<Buffer> {
    const end = this.position + count;
    if (end > this.fileBytes) {
      throw new CheckpointError(
        `${this.path}: truncated: its index goes on to byte ${end}, the file ends at ${this.fileBytes}.`,
      );
    }
    if (end > this.#bufferStart + this.#buffer.length) {
      const wanted = Math.min(Math.max(count, 1 << 20), this.fileBytes - this.position);
      const fresh = Buffer.alloc(wanted);
      const { bytesRead } = await this.#file.read(fresh, 0, wanted, this.position);
      if (bytesRead < count) throw new CheckpointError(`${this.path}: truncated while being read.`);
      this.#buffer = fresh.subarray(0, bytesRead);
      this.#bufferStart = this.position;
    }
    const start = this.position - this.#bufferStart;
    this.position = end;
    return this.#buffer.subarray(start, start + count);
  }

  async uint32(): Promise<number> {
    return (await this.take(4)).readUInt32LE();
  }

  /** @throws CheckpointError above `limit`: `what` cannot be so large. */
  async uint64(what: string, limit: number): Promise<number> {
    const value = (await this.take(8)).readBigUInt64LE();
    if (value > BigInt(limit)) {
      throw new CheckpointError(`${this.path}: damaged GGUF: ${what} is ${value}.`);
    }
    return Number(value);
  }

  async text(what: string): Promise<string> {
    const length = await this.uint64(`the length of ${what}`, MAX_STRING_BYTES);
    return (await this.take(length)).toString('utf8');
  }
}

async function readIndex(cursor: Cursor): Promise<Map<string, StoredTensor>> {
  const { path, fileBytes } = cursor;
  const magic = (await cursor.take(4)).toString('latin1');
  if (magic !== GGUF_MAGIC) throw new CheckpointError(`${path}: not a GGUF file.`);
  const version = await cursor.uint32();
  if (!VERSIONS.includes(version)) {
    throw new CheckpointError(
      `${path}: GGUF version ${version} is not supported; supported are ${VERSIONS.join(', ')}.`,
    );
  }
  const tensorCount = await cursor.uint64('the number of tensors', MAX_TENSORS);
  const valueCount = await cursor.uint64('the number of metadata values', MAX_TENSORS);
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < valueCount; i += 1) {
    const key = await cursor.text('a metadata key');
    const type = await cursor.uint32();
    if (key === 'general.alignment' && type === UINT32_VALUE) alignment = await cursor.uint32();
    else await skipValue(cursor, key, type);
  }
  if (alignment < 8 || alignment % 8 !== 0) {
    throw new CheckpointError(`${path}: damaged GGUF: general.alignment is ${alignment}.`);
  }
  const relative: StoredTensor[] = [];
  for (let i = 0; i < tensorCount; i += 1) relative.push(await readTensor(cursor));
  const start = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, StoredTensor>();
  for (const tensor of relative) {
    const offsetBytes = start + tensor.offsetBytes;
    const end = offsetBytes + tensor.lengthBytes;
    if (end > fileBytes) {
      throw new CheckpointError(
        `${path}: truncated: tensor ${tensor.name} ends at byte ${end}, the file at ${fileBytes}.`,
      );
    }
    if (tensor.offsetBytes % alignment !== 0) {
      throw new CheckpointError(`${path}: damaged GGUF: tensor ${tensor.name} is not aligned.`);
    }
    if (tensors.has(tensor.name)) {
      throw new CheckpointError(`${path}: damaged GGUF: tensor ${tensor.name} is there twice.`);
    }
    tensors.set(tensor.name, { ...tensor, offsetBytes });
  }
  return tensors;
}

/** The description of one tensor; its offset is still that within the data. */
async function readTensor(cursor: Cursor): Promise<StoredTensor> {
  const name = await cursor.text('the name of a tensor');
  const dimensions = await cursor.uint32();
  if (dimensions > MAX_DIMENSIONS) {
    throw new CheckpointError(
      `${cursor.path}: damaged GGUF: tensor ${name} has ${dimensions} dimensions.`,
    );
  }
  const inner: number[] = [];
  for (let i = 0; i < dimensions; i += 1) {
    inner.push(await cursor.uint64(`a dimension of ${name}`, 2 ** 31));
  }
  const shape = inner.reverse();
  const number = await cursor.uint32();
  const offsetBytes = await cursor.uint64(`the offset of ${name}`, Number.MAX_SAFE_INTEGER);
  const type = TYPES.get(number);
  if (type === undefined) {
    throw new CheckpointError(
      `${cursor.path}: tensor ${name} has quantisation type ${OTHER_TYPES[number] ?? 'number'} ` +
        `(${number}), which is not supported; supported are F32, F16, BF16 and Q8_0.`,
    );
  }
  const columns = shape.at(-1) ?? 1;
  if (columns % type.block !== 0) {
    throw new CheckpointError(
      `${cursor.path}: damaged GGUF: rows of ${columns} in tensor ${name} are no whole blocks of ${type.name}.`,
    );
  }
  const lengthBytes = (elementCount(shape) / type.block) * type.blockBytes;
  return { name, type: type.name, shape, offsetBytes, lengthBytes };
}

async function skipValue(cursor: Cursor, key: string, type: number): Promise<void> {
  const fixed = VALUE_BYTES[type];
  if (fixed !== undefined) {
    await cursor.take(fixed);
  } else if (type === STRING_VALUE) {
    await cursor.text(`metadata value ${key}`);
  } else if (type === ARRAY_VALUE) {
    const itemType = await cursor.uint32();
    const count = await cursor.uint64(`the length of array ${key}`, 100_000_000);
    if (itemType === ARRAY_VALUE) {
      throw new CheckpointError(`${cursor.path}: metadata ${key} is an array of arrays.`);
    }
    for (let i = 0; i < count; i += 1) await skipValue(cursor, key, itemType);
  } else {
    throw new CheckpointError(
      `${cursor.path}: damaged GGUF: metadata ${key} has the unknown type ${type}.`,
    );
  }
}
