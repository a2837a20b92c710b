/**
 * The MLX layout (kyutai-labs/moshi@e6a55d2 scripts/import_mlx.py): other names, and, where `nn.quantize`
 * was used, every linear and table as `weight` (uint32, 32/bits numbers in each, the first in the
 * lowest bits), `scales` and `biases` of groups along the input: w = scale · q + bias.
 */
import { CheckpointError } from '../checkpoint-error.ts';
import type { LanguageModelConfig } from '../language-model-config.ts';
import { depthSliceName } from './depth-slices.ts';
import { readFloats, rowPiece, type Packing, type TensorContainer } from './stored-tensors.ts';

const SLICE = /^depformer\.slices\.(\d+)\.(.+)$/;

export function isMlx(names: readonly string[]): boolean {
  return names.some(
    (name) => SLICE.test(name) || name.startsWith('audio_embs.') || name.endsWith('.scales'),
  );
}

/** PyTorch's name of a tensor; null for steps that are not used. */
export function mlxToPytorch(config: LanguageModelConfig, name: string): string | null {
  const slice = SLICE.exec(name);
  const translated =
    slice === null
      ? name.replace(/^audio_embs\./, 'emb.')
      : depthSliceName(config, Number(slice[1]), slice[2] ?? '');
  if (translated === null || !config.temporal.norm.startsWith('rms_norm')) return translated;
  return translated.replace(/(\.norm[12]|^out_norm)\.weight$/, '$1.alpha');
}

export type MlxScheme = { readonly bits: number; readonly group: number };

/**
 * How a file is quantised, or null if it is not. Its packed sizes alone do not tell (8 bits in groups
 * of 32 look like 4 bits in groups of 64): the width of the model does.
 */
export function mlxScheme(file: TensorContainer, config: LanguageModelConfig): MlxScheme | null {
  if (!file.names().some((name) => name.endsWith('.scales'))) return null;
  const { dimension } = config.temporal;
  const words = file.stored('text_emb.weight').shape[1] ?? 0;
  const groups = file.stored('text_emb.scales').shape[1] ?? 0;
  const scheme = { bits: (32 * words) / dimension, group: dimension / groups };
  if ((scheme.bits !== 4 && scheme.bits !== 8) || !Number.isInteger(scheme.group)) {
    throw new CheckpointError(
      `${file.path}: tensor text_emb.weight has ${scheme.bits} bits a number in groups of ` +
        `${scheme.group} for a width (dim) of ${dimension}; supported are 4 and 8 bits in whole groups.`,
    );
  }
  return scheme;
}

/** The matrix whose packed numbers are `name`. */
export function mlxPacking(
  file: TensorContainer,
  name: string,
  { bits, group }: MlxScheme,
): { shape: readonly number[]; packing: Packing } {
  const packed = file.stored(name);
  const stem = name.replace(/weight$/, '');
  const scales = file.stored(`${stem}scales`);
  const biases = file.stored(`${stem}biases`);
  const [rows = 0, words = 0] = packed.shape;
  const columns = (words * 32) / bits;
  const groups = columns / group;
  if (packed.type !== 'U32' || packed.shape.length !== 2) {
    throw new CheckpointError(
      `${file.path}: tensor ${name} has scales, so it must be U32 [rows, columns]; ` +
        `found ${packed.type} [${packed.shape.join(', ')}].`,
    );
  }
  for (const one of [scales, biases]) {
    if (!['F32', 'F16', 'BF16'].includes(one.type)) {
      throw new CheckpointError(
        `${file.path}: tensor ${one.name} has type ${one.type}; supported are F32, F16, BF16.`,
      );
    }
    if (one.shape.length !== 2 || one.shape[0] !== rows || one.shape[1] !== groups) {
      throw new CheckpointError(
        `${file.path}: tensor ${one.name} has shape [${one.shape.join(', ')}]; ` +
          `${columns} columns in groups of ${group} need [${rows}, ${groups}].`,
      );
    }
  }
  const perWord = 32 / bits;
  const mask = 2 ** bits - 1;
  const decode: Packing['decode'] = (pieces, count) => {
    const [numbers, scaleBytes, biasBytes] = pieces as [Buffer, Buffer, Buffer];
    const weights = new Float32Array(count * columns);
    const scale = readFloats(scaleBytes, scales.type);
    const bias = readFloats(biasBytes, biases.type);
    for (let word = 0; word < count * words; word += 1) {
      const packedWord = numbers.readUInt32LE(4 * word);
      for (let i = 0; i < perWord; i += 1) {
        const index = word * perWord + i;
        // Rows are whole groups, so groups run on over the rows.
        const at = Math.floor(index / group);
        weights[index] =
          (scale[at] ?? NaN) * ((packedWord >>> (bits * i)) & mask) + (bias[at] ?? NaN);
      }
    }
    return weights;
  };
  return {
    shape: [rows, columns],
    packing: { pieces: [packed, scales, biases].map(rowPiece), decode, blocks: null },
  };
}
