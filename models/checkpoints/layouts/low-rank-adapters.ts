/**
 * Low-rank adapters of a fine-tuned model, merged into its matrices while they are converted:
 * W + scaling · B · A. Tables that were trained whole replace the model's.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/lora.py (`LoRALinear`), moshi/moshi/models/loaders.py
 * (`get_lora_moshi`) and moshi/moshi/modules/transformer.py (`_load_hook`, which cuts packed attention
 * weights and their adapters into one matrix a weight set). Matrix `X.weight` [out, in] has
 * `X.lora_A.weight` [rank, in] and `X.lora_B.weight` [out, rank]. The reference adds both products in
 * bfloat16 or merges in it; we merge in float64 and keep float32.
 */
import { CheckpointError } from '../checkpoint-error.ts';
import type { LanguageModelConfig } from '../language-model-config.ts';
import { SafetensorsFile } from '../safetensors.ts';
import { projectionWidth } from '../transformer-weights.ts';
import {
  readFloats,
  rowPiece,
  type Packing,
  type Piece,
  type PresentedTensor,
  type StoredTensor,
} from './stored-tensors.ts';

const HALF = /^(.+)\.lora_([AB])\.weight$/;
/** A matrix of queries, keys and values, or of the output, of all weight sets. */
const PACKED_ATTENTION = /^(.+\.self_attn\.(in|out)_proj)(?:_weight|\.weight)$/;
/** Its adapters under the same name. */
const PACKED_ADAPTER = /^.+\.self_attn\.(in|out)_proj$/;
const FLOATS = ['F32', 'F16', 'BF16'];

/** What is added to a matrix. */
type Adapter = { readonly down: StoredTensor; readonly up: StoredTensor };

export type AdapterOptions = {
  /** Without links. */
  readonly path: string;
  readonly scaling: number;
  /** What the configuration says, or null. */
  readonly rank: number | null;
};

/**
 * @param tensors - The model's, under the names of the PyTorch layout.
 * @throws CheckpointError when the file is damaged or does not belong to the model.
 */
export async function mergeAdapters(
  tensors: readonly PresentedTensor[],
  config: LanguageModelConfig,
  options: AdapterOptions,
): Promise<PresentedTensor[]> {
  const file = await SafetensorsFile.open(options.path);
  const { adapters, tables } = readAdapters(file, config, options.rank);
  const merged = tensors.flatMap((tensor) => {
    const table = tables.get(tensor.name);
    if (table !== undefined) {
      tables.delete(tensor.name);
      return replaced(file.path, tensor, table);
    }
    return separateSets(tensor, config, adapters).map((matrix) => {
      const target = matrix.name.replace(/\.weight$/, '');
      const adapter = adapters.get(target);
      if (adapter === undefined) return matrix;
      adapters.delete(target);
      return adapted(file.path, matrix, adapter, options.scaling);
    });
  });
  const [stranger] = [...[...adapters.values()].map(({ down }) => down.name), ...tables.keys()];
  if (stranger !== undefined) {
    throw new CheckpointError(
      `${file.path}: tensor ${stranger} belongs to nothing in the model; are these the adapters of another?`,
    );
  }
  return merged;
}

/** Pairs by the name of their matrix (without `.weight`), one a weight set, and all other tensors. */
function readAdapters(
  file: SafetensorsFile,
  config: LanguageModelConfig,
  rank: number | null,
): { adapters: Map<string, Adapter>; tables: Map<string, StoredTensor> } {
  const adapters = new Map<string, Adapter>();
  const tables = new Map<string, StoredTensor>();
  for (const name of file.names()) {
    const stored = file.stored(name);
    if (!FLOATS.includes(stored.type)) {
      throw new CheckpointError(
        `${file.path}: tensor ${name} has type ${stored.type}; supported are ${FLOATS.join(', ')}.`,
      );
    }
    const [, target, half] = HALF.exec(name) ?? [];
    if (target === undefined) {
      tables.set(name, stored);
      continue;
    }
    const other = `${target}.lora_${half === 'A' ? 'B' : 'A'}.weight`;
    if (!file.has(other)) {
      throw new CheckpointError(`${file.path}: tensor ${name} needs ${other}, which is not there.`);
    }
    if (half === 'B') continue;
    for (const [set, adapter] of separateAdapter(config, target, stored, file.stored(other))) {
      checkRank(file.path, adapter, rank);
      adapters.set(set, adapter);
    }
  }
  if (adapters.size === 0) {
    throw new CheckpointError(`${file.path}: there are no adapters (lora_A, lora_B) in this file.`);
  }
  return { adapters, tables };
}

function separateAdapter(
  config: LanguageModelConfig,
  target: string,
  down: StoredTensor,
  up: StoredTensor,
): [string, Adapter][] {
  if (!PACKED_ADAPTER.test(target)) return [[target, { down, up }]];
  const sets = countSets(config, target, up.shape);
  const cut = (
    { shape: [rows = 0, ...rest], ...tensor }: StoredTensor,
    set: number,
  ): StoredTensor => ({
    ...tensor,
    shape: [rows / sets, ...rest],
    lengthBytes: tensor.lengthBytes / sets,
    offsetBytes: tensor.offsetBytes + (set * tensor.lengthBytes) / sets,
  });
  return Array.from({ length: sets }, (_, set) => [
    `${target}s.${set}`,
    { down: cut(down, set), up: cut(up, set) },
  ]);
}

function checkRank(path: string, { down, up }: Adapter, rank: number | null): void {
  const [found] = down.shape;
  if (down.shape.length !== 2 || up.shape.length !== 2 || found !== up.shape[1]) {
    throw new CheckpointError(
      `${path}: tensors ${down.name} [${down.shape.join(', ')}] and ${up.name} [${up.shape.join(', ')}] ` +
        `are no pair of adapters.`,
    );
  }
  if (rank !== null && found !== rank) {
    throw new CheckpointError(
      `${path}: tensor ${down.name} has rank ${found}, config.json says ${rank} (lora_rank).`,
    );
  }
}

/** One matrix a weight set, where any set of the packed matrix has adapters. */
function separateSets(
  tensor: PresentedTensor,
  config: LanguageModelConfig,
  adapters: ReadonlyMap<string, Adapter>,
): PresentedTensor[] {
  const [, stem] = PACKED_ATTENTION.exec(tensor.name) ?? [];
  if (stem === undefined) return [tensor];
  const sets = countSets(config, stem, tensor.shape);
  const names = Array.from({ length: sets }, (_, set) => `${stem}s.${set}`);
  if (!names.some((name) => adapters.has(name))) return [tensor];
  const [rows = 0, ...rest] = tensor.shape;
  const count = rows / sets;
  const { pieces, decode } = tensor.packing ?? plainPacking(tensor.stored);
  return names.map((name, set) => ({
    name: `${name}.weight`,
    shape: [count, ...rest],
    stored: tensor.stored,
    packing: { pieces: pieces.map((piece) => skipRows(piece, set * count)), decode, blocks: null },
  }));
}

function skipRows(piece: Piece, rows: number): Piece {
  return { ...piece, offsetBytes: piece.offsetBytes + rows * piece.rowBytes };
}

function countSets(
  { temporal, depth }: LanguageModelConfig,
  stem: string,
  [rows = 0]: readonly number[],
): number {
  const transformer = stem.startsWith('depformer.') ? depth?.transformer : temporal;
  if (transformer === undefined) return 1;
  const width = stem.endsWith('in_proj') ? projectionWidth(transformer) : transformer.dimension;
  return Math.max(1, Math.floor(rows / width));
}

function plainPacking(stored: StoredTensor): Packing {
  return {
    pieces: [rowPiece(stored)],
    decode: ([bytes = Buffer.alloc(0)]) => readFloats(bytes, stored.type),
    blocks: null,
  };
}

function replaced(path: string, tensor: PresentedTensor, table: StoredTensor): PresentedTensor {
  if (table.shape.join() !== tensor.shape.join()) {
    throw new CheckpointError(
      `${path}: tensor ${table.name} has shape [${table.shape.join(', ')}], ` +
        `that of the model [${tensor.shape.join(', ')}].`,
    );
  }
  const { pieces, decode } = plainPacking(table);
  const packing = { pieces: pieces.map((piece) => ({ ...piece, path })), decode, blocks: null };
  return { ...tensor, stored: table, packing };
}

function adapted(
  path: string,
  tensor: PresentedTensor,
  { down, up }: Adapter,
  scaling: number,
): PresentedTensor {
  const [rows = 0, columns = 0] = tensor.shape;
  const [rank = 0] = down.shape;
  if (tensor.shape.length !== 2 || up.shape[0] !== rows || down.shape[1] !== columns) {
    throw new CheckpointError(
      `${path}: tensors ${up.name} [${up.shape.join(', ')}] and ${down.name} [${down.shape.join(', ')}] ` +
        `do not fit the model's ${tensor.name} [${tensor.shape.join(', ')}].`,
    );
  }
  const base = tensor.packing ?? plainPacking(tensor.stored);
  const upPiece = { ...rowPiece(up), path };
  const downPiece = {
    offsetBytes: down.offsetBytes,
    rowBytes: 0,
    wholeBytes: down.lengthBytes,
    path,
  };
  const decode: Packing['decode'] = (pieces, count) => {
    const weights = base.decode(pieces.slice(0, base.pieces.length), count);
    const [upBytes = Buffer.alloc(0), downBytes = Buffer.alloc(0)] = pieces.slice(-2);
    const factors = readFloats(upBytes, up.type);
    addProduct(weights, factors, readFloats(downBytes, down.type), { rank, columns, scaling });
    return weights;
  };
  return {
    ...tensor,
    packing: { pieces: [...base.pieces, upPiece, downPiece], decode, blocks: null },
  };
}

/** weights [M, columns] += scaling · up [M, rank] · down [rank, columns]. */
function addProduct(
  weights: Float32Array,
  up: Float32Array,
  down: Float32Array,
  { rank, columns, scaling }: { rank: number; columns: number; scaling: number },
): void {
  const sums = new Float64Array(columns);
  for (let row = 0; row * columns < weights.length; row += 1) {
    sums.fill(0);
    // Four at a time read and write the sums a quarter as often; beyond the rank, factors are 0.
    for (let k = 0; k < rank; k += 4) {
      const factor = (index: number): number =>
        index < rank ? (up[row * rank + index] ?? NaN) : 0;
      const [a, b, c, d] = [factor(k), factor(k + 1), factor(k + 2), factor(k + 3)];
      const first = k * columns;
      const [second, third, fourth] = [first + columns, first + 2 * columns, first + 3 * columns];
      for (let column = 0; column < columns; column += 1) {
        sums[column] =
          (sums[column] ?? 0) +
          a * (down[first + column] ?? 0) +
          b * (down[second + column] ?? 0) +
          c * (down[third + column] ?? 0) +
          d * (down[fourth + column] ?? 0);
      }
    }
    const start = row * columns;
    for (let column = 0; column < columns; column += 1) {
      weights[start + column] = (weights[start + column] ?? 0) + scaling * (sums[column] ?? 0);
    }
  }
}
