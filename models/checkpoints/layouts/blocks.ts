/**
 * Our own layout of quantised models: that of PyTorch, with the matrix of every linear layer as blocks
 * that MatMulNBits reads where they lie. Matrix `X` is then `X` (uint8 [rows, blocks, bytes]),
 * `X_scales` (float32) and, unless its numbers lie evenly around zero, `X_zero_points` (uint8).
 * config.json says so: `"quantization": {"format": "matmul-nbits", "bits": 4 or 8, "group_size": 32 or
 * 128}`; matrices whose width is no multiple of 128 have blocks of 32 all the same.
 *
 * Embeddings are looked up, not multiplied: a step reads a row of each, so they stay as they were.
 */
import type { DataType } from '../../onnx/data-types.ts';
import { dequantizeRows } from '../../quantize/quantize-rows.ts';
import { CheckpointError } from '../checkpoint-error.ts';
import {
  BLOCKS,
  blockShapes,
  type BlockFormat,
  type BlockMatrix,
  type BlockPrecision,
} from '../linear-weight.ts';
import type { TensorView } from '../safetensors.ts';
import {
  rowPiece,
  type BlockRows,
  type Packing,
  type StoredTensor,
  type TensorContainer,
} from './stored-tensors.ts';

/** Columns of the smallest blocks. */
export const BLOCK_SIZE = 32;

/**
 * Of the language model heads, the depth transformer's inputs, and all that is in a transformer's layers;
 * of the codec the layers of the transformer that makes the voice.
 */
const LINEAR =
  /^(text_linear|linears\.\d+|depformer_in\.\d+|(transformer|depformer|decoder_transformer\.transformer)\.layers\.\d+\.(self_attn|gating|linear1|linear2)\b.*)[._]?weight$/;

/**
 * Whether the tensor of this name in PyTorch's layout is the matrix of a linear layer that may be
 * rounded and fits whole blocks; those of tiny models whose width is no multiple of 32 stay plain.
 */
export function isLinearMatrix(name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && (shape[1] ?? 0) % BLOCK_SIZE === 0 && LINEAR.test(name);
}

/** Bits and columns of the blocks of a matrix of that width, a multiple of 32. */
export function blocksFor(
  precision: BlockPrecision,
  columns: number,
): Pick<BlockFormat, 'bits' | 'size'> {
  const { bits, size } = BLOCKS[precision];
  return { bits, size: columns % size === 0 ? size : BLOCK_SIZE };
}

const SCALES = '_scales';
const ZERO_POINTS = '_zero_points';

export function blockNames(name: string): { packed: string; scales: string; zeroPoints: string } {
  return { packed: name, scales: `${name}${SCALES}`, zeroPoints: `${name}${ZERO_POINTS}` };
}

export function isBlockLayout(names: readonly string[]): boolean {
  return names.some((name) => name.endsWith(`weight${SCALES}`));
}

/** Whether the tensor belongs to a matrix of another name. */
export function isBlockPart(name: string): boolean {
  return name.endsWith(SCALES) || name.endsWith(ZERO_POINTS);
}

/** The matrix whose blocks are `name`, or null if it is plain. */
export function blockPacking(
  file: TensorContainer,
  name: string,
  precision: BlockPrecision,
): { shape: readonly [number, number]; packing: Packing } | null {
  const names = blockNames(name);
  if (!file.has(names.scales)) return null;
  const packed = file.stored(name);
  const scales = file.stored(names.scales);
  const hasZeroPoints = file.has(names.zeroPoints);
  const [rows = 0, blocks = 0, bytes = 0] = packed.shape;
  const { bits } = BLOCKS[precision];
  const columns = (blocks * bytes * 8) / bits;
  const { size } = blocksFor(precision, columns);
  const format: BlockFormat = { bits, size, hasZeroPoints };
  const shapes = blockShapes(format, rows, columns);
  checkPiece(file.path, packed, 'U8', shapes.packed, size);
  checkPiece(file.path, scales, 'F32', shapes.scales, size);
  const pieces = [packed, scales];
  if (hasZeroPoints) {
    const zeroPoints = file.stored(names.zeroPoints);
    checkPiece(file.path, zeroPoints, 'U8', shapes.zeroPoints, size);
    pieces.push(zeroPoints);
  }
  const decodeBlocks = ([numbers, factors, points]: readonly Buffer[]): BlockRows => ({
    packed: numbers ?? new Uint8Array(),
    scales: floatsOf(factors ?? Buffer.alloc(0)),
    zeroPoints: points ?? null,
  });
  return {
    shape: [rows, columns],
    packing: {
      pieces: pieces.map(rowPiece),
      decode: (buffers) => dequantizeRows(decodeBlocks(buffers), columns, bits, size),
      blocks: { format, decode: decodeBlocks },
    },
  };
}

/** The matrix `name` where it lies in the file. */
export function blockMatrix(
  file: TensorContainer,
  name: string,
  [rows = 0, columns = 0]: readonly number[],
  format: BlockFormat,
): BlockMatrix {
  const names = blockNames(name);
  const shapes = blockShapes(format, rows, columns);
  const view = (piece: string, type: DataType, shape: readonly number[]): TensorView => {
    const { offsetBytes, lengthBytes } = file.stored(piece);
    return { name: piece, type, shape, file: file.fileName, offsetBytes, lengthBytes };
  };
  return {
    name,
    shape: [rows, columns],
    format,
    packed: view(names.packed, 'uint8', shapes.packed),
    scales: view(names.scales, 'float32', shapes.scales),
    zeroPoints: format.hasZeroPoints ? view(names.zeroPoints, 'uint8', shapes.zeroPoints) : null,
  };
}

/** Buffers of their own are aligned. */
function floatsOf(bytes: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

function checkPiece(
  path: string,
  tensor: StoredTensor,
  type: string,
  shape: readonly number[],
  size: number,
): void {
  if (tensor.type === type && tensor.shape.join() === shape.join()) return;
  throw new CheckpointError(
    `${path}: tensor ${tensor.name} must be ${type} [${shape.join(', ')}], as blocks of ` +
      `${size} columns are; found ${tensor.type} [${tensor.shape.join(', ')}].`,
  );
}
