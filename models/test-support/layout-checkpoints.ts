/**
 * Writes a checkpoint of the PyTorch layout again in one of the other published layouts, beside the
 * same numbers as plain float32 in the PyTorch layout.
 *
 * Names: kyutai-labs/moshi@e6a55d2 scripts/import_mlx.py and scripts/import_rust.py.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeGguf, type GgufTensor } from './write-gguf.ts';
import { writeSafetensors, type WrittenTensor } from './write-safetensors.ts';

export const LAYOUTS = [
  'mlx-bf16',
  'mlx-q8',
  'mlx-q4',
  'candle-bf16',
  'candle-q8',
  'pytorch-q8',
] as const;
export type Layout = (typeof LAYOUTS)[number];

type Matrix = { readonly shape: readonly number[]; readonly data: Float32Array };
type Matrices = Record<string, Matrix>;
type Config = {
  readonly dep_q: number;
  readonly depformer_num_layers: number;
  readonly depformer_weights_per_step_schedule?: readonly number[];
};

/** What a quantiser makes of a matrix: pieces to store, and the numbers they stand for. */
type Quantized = { readonly pieces: Record<string, WrittenTensor>; readonly values: Float32Array };

/**
 * Rewrites checkpoint `from` into the folders `stored` (in `layout`) and `plain` (float32).
 * @returns the tensors' names and the file of `stored`, for tests that damage it.
 */
export function writeLayout(
  from: string,
  { layout, stored, plain }: { layout: Layout; stored: string; plain: string },
): { path: string; written: Record<string, WrittenTensor> } {
  const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')) as Config;
  const source = readMatrices(join(from, 'model.safetensors'));
  const exact: Record<string, WrittenTensor> = {};
  const quantize = (name: string, matrix: Matrix): Quantized | null => {
    const isMatrix = matrix.shape.length === 2;
    if (!isMatrix || layout.endsWith('bf16')) return null;
    if (layout === 'pytorch-q8') {
      return /^(emb|text_emb|depformer_emb|depformer_text_emb)\./.test(name) ? null : int8(matrix);
    }
    return layout === 'candle-q8'
      ? q8Blocks(matrix)
      : mlxGroups(matrix, layout === 'mlx-q4' ? 4 : 8);
  };
  const written: Record<string, WrittenTensor> = {};
  for (const [name, matrix] of Object.entries(source)) {
    const quantized = quantize(name, matrix);
    const values = quantized?.values ?? matrix.data;
    exact[name] = { shape: matrix.shape, data: values };
    if (layout === 'pytorch-q8') store(written, name, matrix, quantized);
  }
  if (layout !== 'pytorch-q8') {
    const renamed = layout.startsWith('mlx')
      ? mlxNames(source, config)
      : candleNames(source, config);
    for (const [name, matrix] of Object.entries(renamed)) {
      store(written, name, matrix, quantize(name, matrix));
    }
  }
  const file = layout === 'candle-q8' ? 'model.q8.gguf' : `model.${layout}.safetensors`;
  writeFolder(from, plain, config, { moshi_name: 'plain.safetensors' });
  writeSafetensors(join(plain, 'plain.safetensors'), exact);
  const quantizeFlag = layout === 'pytorch-q8' ? { quantize: true } : {};
  writeFolder(from, stored, config, { moshi_name: file, ...quantizeFlag });
  const path = join(stored, file);
  if (layout === 'candle-q8') writeGguf(path, toGguf(written));
  else writeSafetensors(path, written);
  return { path, written };
}

function writeFolder(from: string, to: string, config: Config, changes: object): void {
  mkdirSync(to, { recursive: true });
  for (const name of ['mimi.safetensors', 'mimi_config.json', 'tokenizer.model']) {
    copyFileSync(join(from, name), join(to, name));
  }
  writeFileSync(join(to, 'config.json'), JSON.stringify({ ...config, ...changes }));
}

function store(
  written: Record<string, WrittenTensor>,
  name: string,
  matrix: Matrix,
  quantized: Quantized | null,
): void {
  if (quantized === null) {
    written[name] = { ...matrix, type: 'BF16' };
    return;
  }
  for (const [piece, tensor] of Object.entries(quantized.pieces)) {
    // `weight` and its like replace the last part of the name; suffixes begin with an underscore.
    const target = piece.startsWith('_') ? `${name}${piece}` : name.replace(/weight$/, piece);
    written[piece === '' ? name : target] = tensor;
  }
}

/** MLX's affine quantisation in groups of 32, with bfloat16 scales and biases. */
function mlxGroups({ shape, data }: Matrix, bits: number): Quantized {
  const group = 32;
  const groups = data.length / group;
  const [rows = 0, columns = 0] = shape;
  const scales = new Float32Array(groups);
  const biases = new Float32Array(groups);
  const values = new Float32Array(data.length);
  const words = new Uint32Array((data.length * bits) / 32);
  for (let g = 0; g < groups; g += 1) {
    const part = data.subarray(g * group, (g + 1) * group);
    const low = Math.min(...part);
    const scale = toBfloat16((Math.max(...part) - low) / (2 ** bits - 1)) || 1;
    const bias = toBfloat16(low);
    scales[g] = scale;
    biases[g] = bias;
    part.forEach((weight, i) => {
      const q = Math.min(2 ** bits - 1, Math.max(0, Math.round((weight - bias) / scale)));
      const index = g * group + i;
      values[index] = scale * q + bias;
      const word = Math.floor((index * bits) / 32);
      words[word] = ((words[word] ?? 0) | (q << ((index * bits) % 32))) >>> 0;
    });
  }
  const grouped = [rows, columns / group];
  return {
    values,
    pieces: {
      weight: { shape: [rows, (columns * bits) / 32], data: words, type: 'U32' },
      scales: { shape: grouped, data: scales, type: 'BF16' },
      biases: { shape: grouped, data: biases, type: 'BF16' },
    },
  };
}

function int8({ shape, data }: Matrix): Quantized {
  const [rows = 0, columns = 0] = shape;
  const largest = Float32Array.from({ length: rows }, (_, row) =>
    Math.max(...data.subarray(row * columns, (row + 1) * columns).map(Math.abs)),
  );
  const numbers = Int8Array.from(data, (weight, i) =>
    Math.round((weight * 127) / (largest[Math.floor(i / columns)] ?? NaN)),
  );
  const values = Float32Array.from(
    numbers,
    (q, i) => (q * (largest[Math.floor(i / columns)] ?? NaN)) / 127,
  );
  return {
    values,
    pieces: {
      '': { shape, data: numbers, type: 'I8' },
      _scb: { shape: [rows], data: largest },
    },
  };
}

/** ggml's Q8_0; the bytes of the blocks stand in `data`. */
function q8Blocks({ shape, data }: Matrix): Quantized | null {
  if ((shape[1] ?? 1) % 32 !== 0) return null;
  const values = new Float32Array(data.length);
  const bytes = Buffer.alloc((data.length / 32) * 34);
  for (let block = 0; block < data.length / 32; block += 1) {
    const part = data.subarray(block * 32, (block + 1) * 32);
    const half = toHalf(Math.max(...part.map(Math.abs)) / 127);
    bytes.writeUInt16LE(half.bits, block * 34);
    part.forEach((weight, i) => {
      const q =
        half.value === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(weight / half.value)));
      bytes.writeInt8(q, block * 34 + 2 + i);
      values[block * 32 + i] = half.value * q;
    });
  }
  return { values, pieces: { '': { shape, data: Int8Array.from(bytes), type: 'I8' } } };
}

function toGguf(tensors: Readonly<Record<string, WrittenTensor>>): Record<string, GgufTensor> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, data, type }]) => {
      const bytes =
        type === 'I8'
          ? Buffer.from(Int8Array.from(data).buffer)
          : Buffer.from(Float32Array.from(data).buffer);
      return [name, { shape, bytes, type: type === 'I8' ? 8 : 0 }];
    }),
  );
}

function mlxNames(source: Matrices, config: Config): Matrices {
  const flat = (name: string, matrix: Matrix): [string, Matrix] =>
    name.endsWith('.alpha')
      ? [name.replace(/alpha$/, 'weight'), { ...matrix, shape: matrix.shape.slice(-1) }]
      : [name, matrix];
  const slices = depthSlices(source, config).map(([step, name, matrix]) =>
    flat(`depformer.slices.${step}.${name.replace('in_proj_weight', 'in_proj.weight')}`, matrix),
  );
  const others = temporalPart(source).map(([name, matrix]) =>
    flat(name.replace(/^emb\./, 'audio_embs.').replace('in_proj_weight', 'in_proj.weight'), matrix),
  );
  return Object.fromEntries([...others, ...slices]);
}

function candleNames(source: Matrices, config: Config): Matrices {
  const slices = depthSlices(source, config).map(([step, name, matrix]): [string, Matrix] => [
    `depformer.${step}.${name}`,
    matrix,
  ]);
  return Object.fromEntries([...temporalPart(source), ...slices]);
}

function temporalPart(source: Matrices): [string, Matrix][] {
  return Object.entries(source).filter(([name]) => !/^(depformer|linears)/.test(name));
}

/** Everything of the depth transformer as [step, name within the step, tensor]. */
function depthSlices(source: Matrices, config: Config): [number, string, Matrix][] {
  const steps = Array.from({ length: config.dep_q }, (_, step) => step);
  const schedule = config.depformer_weights_per_step_schedule ?? steps;
  const sets = Math.max(...schedule) + 1;
  return steps.flatMap((step) => {
    const set = schedule[step] ?? NaN;
    const table = step === 0 ? 'depformer_text_emb' : `depformer_emb.${step - 1}`;
    const found: [number, string, Matrix][] = [];
    const take = (name: string, as: string, rowsOfSet = false): void => {
      const matrix = source[name];
      if (matrix === undefined) return;
      const [rows = 0, columns = 0] = matrix.shape;
      const size = matrix.data.length / sets;
      const block = matrix.data.subarray(set * size, (set + 1) * size);
      found.push([step, as, rowsOfSet ? { shape: [rows / sets, columns], data: block } : matrix]);
    };
    take(`depformer_in.${set}.weight`, 'linear_in.weight');
    take(`${table}.weight`, 'emb.weight');
    take(`${table}.low_rank.weight`, 'emb.low_rank.weight');
    take(`linears.${step}.weight`, 'linear_out.weight');
    take(`linears.${step}.bias`, 'linear_out.bias');
    for (let layer = 0; layer < config.depformer_num_layers; layer += 1) {
      const from = `depformer.layers.${layer}`;
      const to = `transformer.layers.${layer}`;
      take(`${from}.self_attn.in_proj_weight`, `${to}.self_attn.in_proj_weight`, true);
      take(`${from}.self_attn.out_proj.weight`, `${to}.self_attn.out_proj.weight`, true);
      take(`${from}.gating.${set}.linear_in.weight`, `${to}.gating.linear_in.weight`);
      take(`${from}.gating.${set}.linear_out.weight`, `${to}.gating.linear_out.weight`);
      take(`${from}.norm1.alpha`, `${to}.norm1.alpha`);
      take(`${from}.norm2.alpha`, `${to}.norm2.alpha`);
    }
    return found;
  });
}

/** All tensors of a bfloat16 safetensors file. */
export function readMatrices(path: string): Matrices {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype?: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.fromEntries(
    Object.entries(header)
      .filter(([, { dtype }]) => dtype === 'BF16')
      .map(([name, { shape, data_offsets: offsets }]) => {
        const [start, end] = offsets.map((offset) => 8 + headerBytes + offset) as [number, number];
        const { buffer } = Uint8Array.from(bytes.subarray(start, end));
        const words = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
        const data = new Float32Array(words.buffer);
        return [name, { shape, data }];
      }),
  );
}

/** Truncated, as the writer of these files does. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  return new Float32Array(bits.map((word) => word & 0xffff0000).buffer)[0] ?? NaN;
}

/** The half-precision number next to a positive normal value. */
function toHalf(value: number): { bits: number; value: number } {
  if (value < 2 ** -14) return { bits: 0, value: 0 };
  const exponent = Math.floor(Math.log2(value));
  const steps = Math.round((value / 2 ** exponent) * 1024);
  return { bits: ((exponent + 15) << 10) + steps - 1024, value: steps * 2 ** (exponent - 10) };
}
