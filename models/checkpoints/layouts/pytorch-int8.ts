/**
 * PyTorch q8 (kyutai-labs/moshi@e6a55d2 moshi/moshi/utils/quantize.py, QLinear): every linear as int8
 * [out, in] with `weight_scb` [out], the largest magnitude of each row: w = q · scb / 127. The reference
 * rounds activations to 8 bits as well; we do not, which is nearer to the original model.
 */
import { CheckpointError } from '../checkpoint-error.ts';
import { BLOCK_SIZE } from './blocks.ts';
import type { Packing, TensorContainer } from './stored-tensors.ts';
import { rowPiece } from './stored-tensors.ts';

const SCALE_SUFFIX = '_scb';

export function isPytorchInt8(names: readonly string[]): boolean {
  return names.some((name) => name.endsWith(SCALE_SUFFIX));
}

export function isRowScale(name: string): boolean {
  return name.endsWith(SCALE_SUFFIX);
}

/** The matrix whose 8-bit numbers are `name`, or null if it is no such matrix. */
export function int8Packing(file: TensorContainer, name: string): Packing | null {
  if (!file.has(`${name}${SCALE_SUFFIX}`)) return null;
  const numbers = file.stored(name);
  const scales = file.stored(`${name}${SCALE_SUFFIX}`);
  const [rows = 0, columns = 0] = numbers.shape;
  if (numbers.type !== 'I8' || numbers.shape.length !== 2) {
    throw new CheckpointError(
      `${file.path}: tensor ${name} has row scales, so it must be I8 [rows, columns]; ` +
        `found ${numbers.type} [${numbers.shape.join(', ')}].`,
    );
  }
  if (scales.type !== 'F32' || scales.shape.length !== 1 || scales.shape[0] !== rows) {
    throw new CheckpointError(
      `${file.path}: tensor ${scales.name} must be F32 [${rows}], one scale for each row of ${name}; ` +
        `found ${scales.type} [${scales.shape.join(', ')}].`,
    );
  }
  return {
    pieces: [numbers, scales].map(rowPiece),
    decode: (pieces, count) => {
      const [bytes, scaleBytes] = pieces as [Buffer, Buffer];
      const weights = new Float32Array(count * columns);
      for (let row = 0; row < count; row += 1) {
        const scale = scaleBytes.readFloatLE(4 * row) / 127;
        for (let i = row * columns; i < (row + 1) * columns; i += 1) {
          weights[i] = bytes.readInt8(i) * scale;
        }
      }
      return weights;
    },
    blocks: {
      format: { bits: 8, size: BLOCK_SIZE, hasZeroPoints: false },
      decode: (pieces, count) => {
        const [bytes, scaleBytes] = pieces as [Buffer, Buffer];
        const rowBlocks = columns / BLOCK_SIZE;
        const packed = new Uint8Array(count * columns);
        for (let i = 0; i < packed.length; i += 1) packed[i] = (bytes[i] ?? 0) ^ 0x80;
        const rowScales = new Float32Array(count * rowBlocks);
        for (let row = 0; row < count; row += 1) {
          const scale = scaleBytes.readFloatLE(4 * row) / 127;
          rowScales.fill(scale, row * rowBlocks, (row + 1) * rowBlocks);
        }
        return { packed, scales: rowScales, zeroPoints: null };
      },
    },
  };
}
