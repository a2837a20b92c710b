/**
 * Writes a model's tensors out again as a safetensors file that graphs refer to: matrices as blocks of
 * the precision asked for, other packed tensors as float32, the rest byte for byte.
 *
 * Unpacked matrices are float32: 8 bits times a scale of 8 or 11 significant bits is exact in it and in
 * neither half precision, whose rounding would be about as large as the quantisation itself (bfloat16)
 * or move logits by 1e-4 of their size (float16). On the CPU it costs no memory either, as graphs widen
 * their weights to float32 anyway.
 *
 * Tensors are read, converted and written a few rows at a time: memory does not grow with the model.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { DATA_TYPES, elementCount, type DataType } from '../../onnx/data-types.ts';
import { quantizeRows } from '../../quantize/quantize-rows.ts';
import { CheckpointError } from '../checkpoint-error.ts';
import {
  blockShapes,
  type BlockFormat,
  type BlockPrecision,
  type LinearWeight,
} from '../linear-weight.ts';
import type { TensorView } from '../safetensors.ts';
import { TranslatedWeights, type WeightSource } from '../weight-source.ts';
import { blockNames, blocksFor, isLinearMatrix } from './blocks.ts';
import {
  plainBytes,
  PLAIN_TYPES,
  readFloats,
  rowPiece,
  type Packing,
  type Piece,
  type PresentedTensor,
} from './stored-tensors.ts';

/** Numbers that are converted at a time: bounds the memory whatever the size of a tensor. */
const CHUNK_ELEMENTS = 1 << 20;
const ALIGNMENT_BYTES = 64;

/** A matrix that `write` has put into blocks. */
export type ConvertedMatrix = {
  readonly name: string;
  readonly shape: readonly number[];
  /** √(Σ (w - ŵ)² / Σ w²); 0 where the stored numbers were taken over as they are. */
  readonly relativeError: number;
};

export type ConversionWatch = {
  /** Bytes of the new file written so far, and in all. */
  readonly onBytes?: (written: number, total: number) => void;
  readonly onMatrix?: (matrix: ConvertedMatrix) => void;
  /** Ends the conversion between two chunks with its reason; the file is then incomplete. */
  readonly signal?: AbortSignal;
};

/** A tensor of the new file. */
type Entry = {
  readonly name: string;
  readonly storedType: string;
  readonly type: DataType;
  readonly shape: readonly number[];
};
type Place = Entry & { readonly startBytes: number; readonly lengthBytes: number };

/** Where a presented tensor goes: some rows of input make the same rows of every entry. */
type Plan = {
  readonly tensor: PresentedTensor;
  readonly rows: number;
  readonly columns: number;
  readonly pieces: Packing['pieces'];
  readonly entries: readonly Entry[];
  readonly blocks: BlockFormat | null;
  /** One array for each entry. */
  readonly convert: (pieces: readonly Buffer[], rows: number) => Converted;
};
type Converted = {
  readonly arrays: readonly (Uint8Array | Float32Array)[];
  readonly squaredError: number;
  readonly squaredSum: number;
};

export class ConvertedWeights {
  /** Views of the file that `write` makes. */
  readonly source: WeightSource;
  /** Size of the file that `write` makes. */
  readonly totalBytes: number;
  readonly #path: string;
  readonly #header: Buffer;
  readonly #plans: readonly Plan[];
  readonly #places = new Map<Entry, Place>();

  /**
   * @param fileName - Name by which graphs refer to the file to be written.
   * @param precision - Of the matrices of linear layers; null leaves them plain.
   */
  constructor(
    path: string,
    fileName: string,
    layout: string,
    tensors: readonly PresentedTensor[],
    precision: BlockPrecision | null,
  ) {
    this.#path = path;
    this.#plans = tensors.map((tensor) => planTensor(path, tensor, precision));
    // Wide types first: every tensor then starts at a multiple of its element's size.
    const entries = this.#plans
      .flatMap((plan) => plan.entries)
      .sort((a, b) => DATA_TYPES[b.type].bytes - DATA_TYPES[a.type].bytes);
    let end = 0;
    for (const entry of entries) {
      const lengthBytes = plainBytes(entry.type, entry.shape);
      this.#places.set(entry, { ...entry, startBytes: end, lengthBytes });
      end += lengthBytes;
    }
    const header = entries.map((entry) => {
      const { name, storedType, shape, startBytes, lengthBytes } = this.#place(entry);
      const range = [startBytes, startBytes + lengthBytes];
      return [name, { dtype: storedType, shape, data_offsets: range }];
    });
    this.#header = encodeHeader(JSON.stringify(Object.fromEntries(header)));
    this.totalBytes = this.#header.length + end;
    const views = this.#plans.map((plan): [string, LinearWeight] => [
      plan.tensor.name,
      this.#weight(plan, fileName),
    ]);
    this.source = new TranslatedWeights(path, layout, views);
  }

  /** Matrices that become blocks. */
  get blockMatrices(): number {
    return this.#plans.filter(({ blocks }) => blocks !== null).length;
  }

  /**
   * @throws CheckpointError when the checkpoint's file ends before a tensor does, or holds numbers that
   * cannot be quantised.
   */
  async write(target: string, watch: ConversionWatch = {}): Promise<void> {
    const inputs = new InputFiles(this.#path);
    try {
      const output = await open(target, 'wx');
      try {
        await writeFully(output, this.#header, 0);
        let written = this.#header.length;
        for (const plan of this.#plans) {
          const error = await this.#convert(inputs, output, plan, (bytes) => {
            watch.signal?.throwIfAborted();
            written += bytes;
            watch.onBytes?.(written, this.totalBytes);
          });
          if (plan.blocks === null) continue;
          const { name, shape } = plan.tensor;
          watch.onMatrix?.({ name, shape, relativeError: error });
        }
      } finally {
        await output.close();
      }
    } finally {
      await inputs.close();
    }
  }

  async #convert(
    inputs: InputFiles,
    output: FileHandle,
    { tensor, rows, columns, pieces, entries, convert }: Plan,
    onBytes: (count: number) => void,
  ): Promise<number> {
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / columns));
    let squaredError = 0;
    let squaredSum = 0;
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - row);
      const chunks: Buffer[] = [];
      for (const piece of pieces) chunks.push(await inputs.read(piece, row, count));
      const converted = convert(chunks, count);
      squaredError += converted.squaredError;
      squaredSum += converted.squaredSum;
      if (!Number.isFinite(squaredSum)) {
        throw new CheckpointError(
          `${this.#path}: tensor ${tensor.name} has numbers that are infinite or not a number.`,
        );
      }
      for (const [index, entry] of entries.entries()) {
        const array = converted.arrays[index];
        if (array === undefined) continue;
        const { startBytes, lengthBytes } = this.#place(entry);
        const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
        const position = this.#header.length + startBytes + row * (lengthBytes / rows);
        await writeFully(output, bytes, position);
        onBytes(bytes.length);
      }
    }
    return squaredSum === 0 ? 0 : Math.sqrt(squaredError / squaredSum);
  }

  #place(entry: Entry): Place {
    const place = this.#places.get(entry);
    if (place === undefined) throw new RangeError(`${entry.name} has no place`);
    return place;
  }

  #weight({ tensor, rows, columns, entries, blocks }: Plan, file: string): LinearWeight {
    const views = entries.map((entry): TensorView => {
      const { name, type, shape, startBytes, lengthBytes } = this.#place(entry);
      const offsetBytes = this.#header.length + startBytes;
      return { name, type, shape, file, offsetBytes, lengthBytes };
    });
    const [first, scales, zeroPoints = null] = views;
    if (first === undefined) throw new RangeError(`${tensor.name} is stored nowhere`);
    if (blocks === null || scales === undefined) return first;
    return {
      name: tensor.name,
      shape: [rows, columns],
      format: blocks,
      packed: first,
      scales,
      zeroPoints,
    };
  }
}

/** The checkpoint's file, and others that pieces name, each opened when it is first read. */
class InputFiles {
  readonly #path: string;
  readonly #handles = new Map<string, FileHandle>();

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws CheckpointError when the file ends before the piece does. */
  async read(piece: Piece, row: number, count: number): Promise<Buffer> {
    const path = piece.path ?? this.#path;
    const input = this.#handles.get(path) ?? (await open(path, 'r'));
    this.#handles.set(path, input);
    const position = piece.offsetBytes + row * piece.rowBytes;
    const length = piece.wholeBytes ?? count * piece.rowBytes;
    const buffer = Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await input.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) throw new CheckpointError(`${path}: truncated while being read.`);
      filled += bytesRead;
    }
    return buffer;
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values()) await handle.close();
  }
}

function planTensor(path: string, tensor: PresentedTensor, precision: BlockPrecision | null): Plan {
  const { name, shape, stored, packing } = tensor;
  const [rows = 1] = packing === null ? stored.shape : shape;
  const columns = elementCount(shape) / Math.max(1, rows);
  const pieces = packing?.pieces ?? [rowPiece(stored)];
  const shared = { tensor, rows, columns, pieces };
  if (precision !== null && isLinearMatrix(name, shape)) {
    return { ...shared, ...planBlocks(path, tensor, columns, precision) };
  }
  if (packing === null) {
    const type = PLAIN_TYPES[stored.type];
    if (type === undefined)
      throw new RangeError(`${name} of type ${stored.type} is no plain tensor`);
    const entries = [{ name, storedType: stored.type, type, shape }];
    return { ...shared, entries, blocks: null, convert: (arrays) => exactly(arrays) };
  }
  const entries = [{ name, storedType: 'F32', type: 'float32' as const, shape }];
  const convert: Plan['convert'] = (chunks, count) => exactly([packing.decode(chunks, count)]);
  return { ...shared, entries, blocks: null, convert };
}

/** Numbers that are such blocks already are taken over, others are rounded. */
function planBlocks(
  path: string,
  { name, shape, stored, packing }: PresentedTensor,
  columns: number,
  precision: BlockPrecision,
): Pick<Plan, 'entries' | 'blocks' | 'convert'> {
  const { bits, size } = blocksFor(precision, columns);
  const stays = packing?.blocks?.format.bits === bits && packing.blocks.format.size === size;
  const kept = stays ? packing.blocks : null;
  const format = kept?.format ?? { bits, size, hasZeroPoints: true };
  const names = blockNames(name);
  const shapes = blockShapes(format, shape[0] ?? 0, columns);
  const entries: Entry[] = [
    { name: names.packed, storedType: 'U8', type: 'uint8', shape: shapes.packed },
    { name: names.scales, storedType: 'F32', type: 'float32', shape: shapes.scales },
  ];
  if (format.hasZeroPoints) {
    const zeroPoints = { name: names.zeroPoints, shape: shapes.zeroPoints };
    entries.push({ ...zeroPoints, storedType: 'U8', type: 'uint8' });
  }
  if (kept !== null) {
    const convert: Plan['convert'] = (chunks, count) => {
      const { packed, scales, zeroPoints } = kept.decode(chunks, count);
      return exactly(zeroPoints === null ? [packed, scales] : [packed, scales, zeroPoints]);
    };
    return { entries, blocks: format, convert };
  }
  const decode = packing?.decode ?? (([bytes]) => readPlain(path, name, stored.type, bytes));
  const convert: Plan['convert'] = (chunks, count) => {
    const rounded = quantizeRows(decode(chunks, count), columns, bits, format.size);
    const { packed, scales, zeroPoints, squaredError, squaredSum } = rounded;
    return { arrays: [packed, scales, zeroPoints], squaredError, squaredSum };
  };
  return { entries, blocks: format, convert };
}

function exactly(arrays: Converted['arrays']): Converted {
  return { arrays, squaredError: 0, squaredSum: 0 };
}

function readPlain(
  path: string,
  name: string,
  type: string,
  bytes: Buffer | undefined,
): Float32Array {
  if (bytes === undefined || !['F32', 'F16', 'BF16'].includes(type)) {
    throw new CheckpointError(`${path}: tensor ${name} of type ${type} cannot be quantised.`);
  }
  return readFloats(bytes, type);
}

/** A single write may stop short of the end. */
async function writeFully(output: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const rest = bytes.length - written;
    written += (await output.write(bytes, written, rest, position + written)).bytesWritten;
  }
}

/** Length and JSON, padded with spaces so that the data starts aligned. */
function encodeHeader(json: string): Buffer {
  const text = Buffer.from(json);
  const total = Math.ceil((8 + text.length) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const header = Buffer.alloc(total, ' ');
  header.writeBigUInt64LE(BigInt(total - 8));
  text.copy(header, 8);
  return header;
}
