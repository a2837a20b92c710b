/**
 * Rounds rows of a matrix to blocks of 4 or 8 bits.
 *
 * Every block gets a scale and a zero point from its smallest and largest number, then the scale that
 * has the least squared error for the numbers drawn. On normally distributed weights in blocks of 32
 * that leaves a relative error of 7.9 % with 4 bits and 0.47 % with 8, of 9.6 % with 4 bits in blocks of
 * 128; the best symmetric scale leaves 8.1 % and 0.50 % in blocks of 32 and saves 2.5 % of the bytes.
 */
import type { BlockRows } from '../checkpoints/layouts/stored-tensors.ts';

/**
 * Parts of a block's range that are tried: with 16 steps, cutting the extremes off often lowers the
 * error of all the others by more; with 256 it never does.
 */
const RANGES = { 4: [1, 0.92], 8: [1] } as const;

/** What rounding has cost: Σ (w - ŵ)² and Σ w². */
export type RoundingError = { readonly squaredError: number; readonly squaredSum: number };

/**
 * @param values - Whole rows of `columns` numbers, a multiple of `size`.
 * @returns the blocks; `squaredSum` is not finite when a number is not.
 */
export function quantizeRows(
  values: Float32Array,
  columns: number,
  bits: 4 | 8,
  size: number,
): BlockRows & RoundingError & { zeroPoints: Uint8Array } {
  const rowBlocks = columns / size;
  const rows = values.length / columns;
  const most = 2 ** bits - 1;
  const ranges = RANGES[bits];
  const packed = new Uint8Array((values.length * bits) / 8);
  const scales = new Float32Array(rows * rowBlocks);
  const zeroPointRow = Math.ceil((rowBlocks * bits) / 8);
  const zeroPoints = new Uint8Array(rows * zeroPointRow);
  let squaredError = 0;
  let squaredSum = 0;
  for (let block = 0; block < scales.length; block += 1) {
    const start = block * size;
    const end = start + size;
    let low = 0;
    let high = 0;
    let power = 0;
    for (let i = start; i < end; i += 1) {
      const value = values[i] ?? 0;
      if (value < low) low = value;
      if (value > high) high = value;
      power += value * value;
    }
    squaredSum += power;
    const span = high - low;
    if (!(span > 0)) continue; // zeros: q, zero point and scale are 0 too
    const zeroPoint = Math.floor((-low * most) / span + 0.5);
    let bestError = Infinity;
    let bestScale = 0;
    let inverse = 0;
    for (const range of ranges) {
      const perStep = most / (span * range);
      let dot = 0;
      let norm = 0;
      for (let i = start; i < end; i += 1) {
        const value = values[i] ?? 0;
        let q = (value * perStep + zeroPoint + 0.5) | 0;
        if (q < 0) q = 0;
        else if (q > most) q = most;
        q -= zeroPoint;
        dot += value * q;
        norm += q * q;
      }
      // The scale s that minimises Σ (w - s·q)² is w·q / q·q, and leaves w·w - (w·q)² / q·q.
      const scale = Math.fround(dot / norm);
      const error = power - 2 * scale * dot + scale * scale * norm;
      if (error < bestError) {
        bestError = error;
        bestScale = scale;
        inverse = perStep;
      }
    }
    squaredError += Math.max(0, bestError);
    scales[block] = bestScale;
    if (bits === 8) {
      for (let i = start; i < end; i += 1) {
        let q = ((values[i] ?? 0) * inverse + zeroPoint + 0.5) | 0;
        if (q < 0) q = 0;
        else if (q > most) q = most;
        packed[i] = q;
      }
      zeroPoints[block] = zeroPoint;
    } else {
      for (let i = start; i < end; i += 2) {
        let q = ((values[i] ?? 0) * inverse + zeroPoint + 0.5) | 0;
        if (q < 0) q = 0;
        else if (q > most) q = most;
        let next = ((values[i + 1] ?? 0) * inverse + zeroPoint + 0.5) | 0;
        if (next < 0) next = 0;
        else if (next > most) next = most;
        packed[i >> 1] = q | (next << 4);
      }
      const row = Math.floor(block / rowBlocks);
      const column = block - row * rowBlocks;
      const at = row * zeroPointRow + (column >> 1);
      zeroPoints[at] = (zeroPoints[at] ?? 0) | (zeroPoint << (4 * (column & 1)));
    }
  }
  return { packed, scales, zeroPoints, squaredError, squaredSum };
}

/** The numbers that blocks of rows stand for. */
export function dequantizeRows(
  { packed, scales, zeroPoints }: BlockRows,
  columns: number,
  bits: 4 | 8,
  size: number,
): Float32Array {
  const rowBlocks = columns / size;
  const zeroPointRow = Math.ceil((rowBlocks * bits) / 8);
  const values = new Float32Array(scales.length * size);
  for (let block = 0; block < scales.length; block += 1) {
    const row = Math.floor(block / rowBlocks);
    const column = block - row * rowBlocks;
    let zeroPoint = 2 ** (bits - 1);
    if (zeroPoints !== null) {
      const byte = zeroPoints[row * zeroPointRow + ((column * bits) >> 3)] ?? 0;
      zeroPoint = bits === 8 ? byte : (byte >> (4 * (column & 1))) & 15;
    }
    const scale = scales[block] ?? 0;
    for (let i = block * size; i < (block + 1) * size; i += 1) {
      const q = bits === 8 ? (packed[i] ?? 0) : ((packed[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
      values[i] = (q - zeroPoint) * scale;
    }
  }
  return values;
}
