/**
 * The matrix of a linear layer: plain numbers, or blocks of 4- or 8-bit numbers as onnxruntime's
 * MatMulNBits reads them.
 *
 * Format: microsoft/onnxruntime docs/ContribOperators.md (com.microsoft.MatMulNBits). A row of K
 * columns is K / size blocks of its own scale and, where it has them, zero point:
 * w = (q - zero point) · scale; without zero points q counts from 2^(bits - 1). Of two 4-bit numbers
 * that share a byte the first has the lower half.
 */
import { rowBlock, type HalfType, type TensorView } from './safetensors.ts';

export type BlockFormat = {
  readonly bits: 4 | 8;
  /** Columns that share a scale: a power of two from 16 up. */
  readonly size: number;
  readonly hasZeroPoints: boolean;
};

/** What config.json calls the layout of layouts/blocks.ts. */
export const BLOCK_LAYOUT_MARKER = 'matmul-nbits';

/**
 * The precisions that keep matrices in blocks. Blocks of 32 are what Kyutai's GGUF and 4-bit MLX files
 * have, too; those of 128 take a sixth less of memory's time, and round more coarsely.
 */
export const BLOCKS = {
  q8: { bits: 8, size: 32 },
  q4: { bits: 4, size: 32 },
  'q4-128': { bits: 4, size: 128 },
} as const satisfies Readonly<Record<string, Pick<BlockFormat, 'bits' | 'size'>>>;
export type BlockPrecision = keyof typeof BLOCKS;
export const BLOCK_PRECISIONS = Object.keys(BLOCKS) as readonly BlockPrecision[];

/** A matrix [N, K] in blocks. */
export type BlockMatrix = {
  readonly name: string;
  readonly shape: readonly [number, number];
  readonly format: BlockFormat;
  /** uint8 [N, K / size, size · bits / 8]. */
  readonly packed: TensorView;
  /** float32 [N, K / size]. */
  readonly scales: TensorView;
  /** uint8 [N, ⌈K / size · bits / 8⌉], or null. */
  readonly zeroPoints: TensorView | null;
  /** What is multiplied with it, and the product; float32 if absent. */
  readonly computedIn?: HalfType;
};

export type LinearWeight = TensorView | BlockMatrix;

export function isBlockMatrix(weight: LinearWeight): weight is BlockMatrix {
  return 'packed' in weight;
}

/** Shapes of what a matrix [rows, columns] is stored as. */
export function blockShapes(
  { bits, size }: BlockFormat,
  rows: number,
  columns: number,
): { packed: number[]; scales: number[]; zeroPoints: number[] } {
  const blocks = columns / size;
  return {
    packed: [rows, blocks, (size * bits) / 8],
    scales: [rows, blocks],
    zeroPoints: [rows, Math.ceil((blocks * bits) / 8)],
  };
}

/** Rows [start, start + count): contiguous in every piece. */
export function matrixRows(weight: LinearWeight, start: number, count: number): LinearWeight {
  if (!isBlockMatrix(weight)) return rowBlock(weight, start, count);
  const { packed, scales, zeroPoints } = weight;
  return {
    ...weight,
    shape: [count, weight.shape[1]],
    packed: rowBlock(packed, start, count),
    scales: rowBlock(scales, start, count),
    zeroPoints: zeroPoints === null ? null : rowBlock(zeroPoints, start, count),
  };
}
