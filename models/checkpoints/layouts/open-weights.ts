/**
 * Recognises from its content in which layout a language model's file is, and presents its tensors
 * under the names of Kyutai's PyTorch layout: where they lie, if their bytes are plain numbers, else in
 * a file that the build writes.
 */
import { open } from 'node:fs/promises';
import { CheckpointError } from '../checkpoint-error.ts';
import type { LanguageModelConfig } from '../language-model-config.ts';
import type { BlockPrecision, LinearWeight } from '../linear-weight.ts';
import { SafetensorsFile } from '../safetensors.ts';
import { TranslatedWeights, type WeightSource } from '../weight-source.ts';
import { blockMatrix, blockPacking, isBlockLayout, isBlockPart } from './blocks.ts';
import { candleToPytorch, isCandle } from './candle.ts';
import { GGUF_MAGIC, GgufFile, ggufPacking } from './gguf.ts';
import { mergeAdapters, type AdapterOptions } from './low-rank-adapters.ts';
import { isMlx, mlxPacking, mlxScheme, mlxToPytorch } from './mlx.ts';
import { int8Packing, isPytorchInt8, isRowScale } from './pytorch-int8.ts';
import {
  PLAIN_TYPES,
  type PresentedTensor,
  type StoredTensor,
  type TensorContainer,
} from './stored-tensors.ts';
import { ConvertedWeights } from './converted-weights.ts';

/** Name of the file that a build writes where graphs cannot use the checkpoint's own. */
const CONVERTED_FILE = 'language-model.safetensors';

/**
 * Copies up to this size are compared: all norms, which are what a fine-tuned model might no longer
 * share. The sets of a schedule are too large to read each time a model is opened.
 */
const MAX_COMPARED_BYTES = 65_536;

/** A file that the build writes. */
export type ConvertedFile = { readonly fileName: string; readonly weights: ConvertedWeights };

export type OpenedWeights = {
  readonly source: WeightSource;
  /** The file that graphs need, or null where they use the checkpoint's own. */
  readonly converted: ConvertedFile | null;
  /** What the matrices are when a step reads them. */
  readonly precision: 'f32' | BlockPrecision;
  readonly stored: StoredWeights;
};

/** What a file of weights is, as it lies there. */
export type StoredWeights = {
  /** For people: `PyTorch`, `MLX` … */
  readonly layout: string;
  /** How many tensors have each type, as the file spells it. */
  readonly types: Readonly<Record<string, number>>;
};

/**
 * @param path - Of the file, without links.
 * @param fileName - Name by which graphs refer to it.
 * @param adapters - To merge into the matrices, or null.
 * @param wanted - Of the matrices; null for the blocks of a file of ours, else float32.
 * @throws CheckpointError when the file is damaged or in a layout that is not implemented.
 */
export async function openWeights(
  path: string,
  fileName: string,
  config: LanguageModelConfig,
  adapters: AdapterOptions | null,
  wanted: 'f32' | BlockPrecision | null,
): Promise<OpenedWeights> {
  const isGguf = (await readMagic(path)) === GGUF_MAGIC;
  const file = isGguf
    ? await GgufFile.open(path, fileName)
    : await SafetensorsFile.open(path, fileName);
  const names = file.names();
  const foreign = names.find((name) => name.startsWith('decoder.model.'));
  if (foreign !== undefined) {
    throw new CheckpointError(
      `${path}: this is the transformers layout (tensor ${foreign}), which is not implemented; ` +
        `use the files of Kyutai's PyTorch, MLX or Candle repositories.`,
    );
  }
  if (config.quantized && !isPytorchInt8(names)) {
    throw new CheckpointError(
      `${path}: config.json says quantize, but no tensor has row scales (weight_scb).`,
    );
  }
  if ((config.blockPrecision !== null) !== isBlockLayout(names)) {
    throw new CheckpointError(
      config.blockPrecision === null
        ? `${path}: there are matrices in blocks, and config.json does not say so (quantization).`
        : `${path}: config.json says quantization, but no matrix is in blocks.`,
    );
  }
  const { layout, tensors: own, copies } = present(file, config);
  const stored = { layout, types: countTypes(file) };
  const tensors = adapters === null ? own : await mergeAdapters(own, config, adapters);
  const blockPrecision = isBlockLayout(names) ? config.blockPrecision : null;
  const precision = wanted ?? blockPrecision ?? 'f32';
  if (
    adapters === null &&
    layout === 'PyTorch' &&
    precision === 'f32' &&
    file instanceof SafetensorsFile
  ) {
    return { source: file, converted: null, precision, stored };
  }
  await checkCopies(path, copies);
  const isPlain = tensors.every(({ packing }) => packing === null);
  if (blockPrecision === null ? isPlain && precision === 'f32' : precision === blockPrecision) {
    const views = tensors.map((tensor) => [tensor.name, viewInPlace(file, tensor)] as const);
    const source = new TranslatedWeights(path, layout, views);
    return { source, converted: null, precision, stored };
  }
  // A quantised file has few plain bytes beside the packed ones; all go into one new file, so that
  // the build need not keep, or copy to its own disk, the whole of the old one for them.
  const blocks = precision === 'f32' ? null : precision;
  const weights = new ConvertedWeights(path, CONVERTED_FILE, layout, tensors, blocks);
  const converted = { fileName: CONVERTED_FILE, weights };
  return { source: weights.source, converted, precision, stored };
}

function countTypes(file: TensorContainer): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of file.names()) {
    const { type } = file.stored(name);
    counts[type] = (counts[type] ?? 0) + 1;
  }
  return counts;
}

/**
 * The tensors under PyTorch's names; where steps of the depth transformer have copies of a tensor that
 * PyTorch shares between them, the first copy, and the pairs that must be equal.
 */
function present(
  file: TensorContainer,
  config: LanguageModelConfig,
): {
  layout: string;
  tensors: readonly PresentedTensor[];
  copies: readonly (readonly [StoredTensor, StoredTensor])[];
} {
  const names = file.names();
  const tensors = new Map<string, PresentedTensor>();
  const copies: [StoredTensor, StoredTensor][] = [];
  const add = (tensor: PresentedTensor | null): void => {
    if (tensor === null) return;
    const first = tensors.get(tensor.name);
    if (first === undefined) tensors.set(tensor.name, tensor);
    else copies.push([first.stored, tensor.stored]);
  };
  let layout = 'PyTorch';
  if (isMlx(names)) {
    layout = 'MLX';
    const scheme = mlxScheme(file, config);
    for (const name of names) {
      const scales = name.replace(/weight$/, 'scales');
      if (/\.(scales|biases)$/.test(name)) continue;
      const target = mlxToPytorch(config, name);
      if (scheme === null || scales === name || !file.has(scales)) add(plain(file, name, target));
      else if (target !== null) {
        add({ name: target, stored: file.stored(name), ...mlxPacking(file, name, scheme) });
      }
    }
  } else if (isCandle(names)) {
    layout = 'Candle';
    for (const name of names) add(plain(file, name, candleToPytorch(config, name)));
  } else if (config.blockPrecision !== null) {
    layout = 'block';
    for (const name of names) {
      if (isBlockPart(name)) continue;
      const blocks = blockPacking(file, name, config.blockPrecision);
      if (blocks === null) add(plain(file, name, name));
      else add({ name, stored: file.stored(name), ...blocks });
    }
  } else if (isPytorchInt8(names)) {
    layout = '8-bit PyTorch';
    for (const name of names) {
      if (isRowScale(name)) continue;
      const packing = int8Packing(file, name);
      if (packing === null) add(plain(file, name, name));
      else {
        const stored = file.stored(name);
        add({ name, shape: stored.shape, stored, packing });
      }
    }
  } else {
    if (file instanceof GgufFile) layout = 'GGUF';
    for (const name of names) add(plain(file, name, name));
  }
  return { layout, tensors: [...tensors.values()], copies };
}

/** A tensor that needs no other: plain numbers, or blocks that hold their own scale. */
function plain(file: TensorContainer, name: string, target: string | null): PresentedTensor | null {
  if (target === null) return null;
  const stored = file.stored(name);
  const packing = ggufPacking(stored);
  if (packing === null && !(stored.type in PLAIN_TYPES)) {
    throw new CheckpointError(
      `${file.path}: tensor ${name} has type ${stored.type}; ` +
        `supported are ${Object.keys(PLAIN_TYPES).join(', ')}.`,
    );
  }
  const { shape } = stored;
  // MLX keeps the scales of norms [D], PyTorch [1, 1, D].
  const flatScale = target.endsWith('.alpha') && shape.length === 1;
  return { name: target, shape: flatScale ? [1, 1, ...shape] : shape, stored, packing };
}

/** @throws CheckpointError when copies differ: the graphs have one tensor for all steps. */
async function checkCopies(
  path: string,
  copies: readonly (readonly [StoredTensor, StoredTensor])[],
): Promise<void> {
  const file = await open(path, 'r');
  try {
    const read = async ({ offsetBytes, lengthBytes }: StoredTensor): Promise<Buffer> => {
      const buffer = Buffer.alloc(lengthBytes);
      await file.read(buffer, 0, lengthBytes, offsetBytes);
      return buffer;
    };
    for (const [first, second] of copies) {
      if (Math.max(first.lengthBytes, second.lengthBytes) > MAX_COMPARED_BYTES) continue;
      if ((await read(first)).equals(await read(second))) continue;
      throw new CheckpointError(
        `${path}: tensors ${first.name} and ${second.name} differ; steps that do not share them are ` +
          `not implemented.`,
      );
    }
  } finally {
    await file.close();
  }
}

function viewInPlace(file: TensorContainer, tensor: PresentedTensor): LinearWeight {
  const { name, shape, stored, packing } = tensor;
  const { type, offsetBytes, lengthBytes } = stored;
  if (packing?.blocks !== null && packing?.blocks !== undefined) {
    return blockMatrix(file, name, shape, packing.blocks.format);
  }
  return {
    name,
    type: PLAIN_TYPES[type] ?? 'float32',
    shape,
    file: file.fileName,
    offsetBytes,
    lengthBytes,
  };
}

/** The first four bytes, or what there is of them. */
async function readMagic(path: string): Promise<string> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new CheckpointError(`Cannot open ${path}.`, { cause });
  });
  try {
    const buffer = Buffer.alloc(4);
    const { bytesRead } = await file.read(buffer, 0, 4, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}
