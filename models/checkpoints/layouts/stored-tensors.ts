/**
 * What layouts have in common: a file's tensors as they are stored, and how to present them under the
 * names of Kyutai's PyTorch layout.
 */
import type { BlockFormat } from '../linear-weight.ts';
import { DATA_TYPES, elementCount, type DataType } from '../../onnx/data-types.ts';

/** A tensor in a file; `type` is the name that the file's format gives it. */
export type StoredTensor = {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  readonly offsetBytes: number;
  readonly lengthBytes: number;
};

/** A safetensors or GGUF file. */
export type TensorContainer = {
  readonly path: string;
  /** Name by which graphs refer to it. */
  readonly fileName: string;
  has(name: string): boolean;
  names(): string[];
  /** @throws CheckpointError when there is no such tensor. */
  stored(name: string): StoredTensor;
};

/** Types that graphs read as they are; safetensors and GGUF name them alike. */
export const PLAIN_TYPES: Readonly<Record<string, DataType>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
};

/** Bytes of a file that some rows of a matrix are made from. */
export type Piece = {
  readonly offsetBytes: number;
  readonly rowBytes: number;
  /** Of a piece that all rows need: its length; `rowBytes` is 0. */
  readonly wholeBytes?: number;
  /** The file, without links; the checkpoint's own if absent. */
  readonly path?: string;
};

/** A matrix whose rows must be computed from one or several stored tensors with as many rows. */
export type Packing = {
  readonly pieces: readonly Piece[];
  /** Bytes of `rows` rows of every piece → that many rows of weights. */
  readonly decode: (pieces: readonly Buffer[], rows: number) => Float32Array;
  /** The same rows as blocks, where the stored numbers are such or become such without rounding. */
  readonly blocks: {
    readonly format: BlockFormat;
    readonly decode: (pieces: readonly Buffer[], rows: number) => BlockRows;
  } | null;
};

/** Some rows of a matrix in blocks, as linear-weight.ts describes them. */
export type BlockRows = {
  readonly packed: Uint8Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array | null;
};

export type PresentedTensor = {
  readonly name: string;
  readonly shape: readonly number[];
  readonly stored: StoredTensor;
  /** Null where the stored bytes are the tensor. */
  readonly packing: Packing | null;
};

/** Shape [R, ...] → R, and bytes of one row. */
export function rowPiece(tensor: StoredTensor): Piece {
  const [rows = 1] = tensor.shape;
  return { offsetBytes: tensor.offsetBytes, rowBytes: tensor.lengthBytes / Math.max(1, rows) };
}

export function plainBytes(type: DataType, shape: readonly number[]): number {
  return elementCount(shape) * DATA_TYPES[type].bytes;
}

/** Numbers of a stored F32, F16 or BF16 piece. */
export function readFloats(bytes: Buffer, type: string): Float32Array {
  const { buffer } = Uint8Array.from(bytes); // aligned, whatever the piece's place
  if (type === 'F32') return new Float32Array(buffer);
  const halves = new Uint16Array(buffer);
  if (type === 'F16') {
    const numbers = new Float32Array(halves.length);
    for (let i = 0; i < halves.length; i += 1) numbers[i] = halfToNumber(halves[i] ?? 0);
    return numbers;
  }
  // A bfloat16 is the upper half of a float32.
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) words[i] = (halves[i] ?? 0) << 16;
  return new Float32Array(words.buffer);
}

/** An IEEE 754 half-precision number from its 16 bits. */
export function halfToNumber(bits: number): number {
  const sign = bits >>> 15 === 1 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
