/**
 * A checkpoint of random weights in Kyutai's PyTorch layout whose every size differs from the
 * published ones: shows that the graphs follow the configuration.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomFloats, uniform } from './random.ts';
import { writeSafetensors, type WrittenTensor } from './write-safetensors.ts';

const LANGUAGE_MODEL = {
  model_type: 'moshi',
  dim: 24,
  num_heads: 6,
  kv_repeat: 3,
  num_layers: 2,
  hidden_scale: 4.125,
  norm: 'rms_norm',
  gating: 'silu',
  causal: true,
  layer_scale: null,
  context: 5,
  max_period: 500,
  positional_embedding: 'rope_concat',
  bias_proj: true,
  card: 20,
  text_card: 31,
  n_q: 7,
  dep_q: 4,
  delays: [1, 0, 2, 3, 2, 0, 3, 1],
  depformer_dim: 12,
  depformer_dim_feedforward: 48,
  depformer_num_heads: 3,
  depformer_num_layers: 2,
  depformer_kv_repeat: 1,
  depformer_multi_linear: true,
  depformer_weights_per_step: true,
  depformer_weights_per_step_schedule: [0, 1, 2, 1],
  depformer_low_rank_embeddings: 5,
  depformer_pos_emb: 'none',
  depformer_norm: 'layer_norm',
  depformer_gating: 'gelu',
  moshi_name: 'model.safetensors',
  mimi_name: 'mimi.safetensors',
  mimi_config_name: 'mimi_config.json',
  tokenizer_name: 'tokenizer.model',
  lm_gen_config: { temp: 0.6, top_k: 1000 },
};

/** What a model that only listens has in place of the depth transformer. */
const TRANSCRIPTION = {
  model_type: 'stt',
  dep_q: 0,
  n_q: 4,
  delays: [0, 0, 0, 0, 0],
  extra_heads_num_heads: 3,
  extra_heads_dim: 5,
  stt_config: { audio_delay_seconds: 0.33, audio_silence_prefix_seconds: 0.1 },
};

const MIMI = {
  sample_rate: 24000,
  channels: 1,
  frame_rate: 12.5,
  seanet: {
    channels: 1,
    dimension: 12,
    causal: true,
    n_filters: 4,
    n_residual_layers: 2,
    activation: 'ELU',
    compress: 2,
    dilation_base: 3,
    kernel_size: 5,
    residual_kernel_size: 5,
    last_kernel_size: 2,
    norm: 'none',
    pad_mode: 'replicate',
    ratios: [5, 4, 24],
    true_skip: false,
  },
  quantizer: { dimension: 6, n_q: 5, bins: 20, input_dimension: 12, output_dimension: 12 },
  transformer: {
    d_model: 16,
    num_heads: 2,
    num_layers: 1,
    causal: true,
    layer_scale: null,
    context: 9,
    conv_layout: true,
    max_period: 300,
    gating: 'silu',
    norm: 'layer_norm',
    positional_embedding: 'sin_rope',
    dim_feedforward: 40,
    input_dimension: 12,
    output_dimensions: [12],
  },
};

/** Names that files of different ages use for the same weights. */
export type Spelling = 'packed' | 'separate';

/**
 * Writes the checkpoint into `folder`, with the tokenizer of `tokenizerPath`.
 */
export function writeRandomCheckpoint(
  folder: string,
  { tokenizerPath, spelling }: { tokenizerPath: string; spelling: Spelling },
): void {
  writeFolder(folder, { tokenizerPath, spelling }, LANGUAGE_MODEL);
  const { tensors, add } = collector(21, 'BF16');
  addTemporalTensors(add, tensors, LANGUAGE_MODEL, spelling);
  addDepthTensors(add, tensors, spelling);
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/**
 * Writes a checkpoint of a model that only listens.
 * @param changes - To its config.json; tensors follow `extra_heads_num_heads`.
 */
export function writeRandomTranscriptionCheckpoint(
  folder: string,
  tokenizerPath: string,
  changes: Partial<typeof TRANSCRIPTION> = {},
): void {
  const config = { ...LANGUAGE_MODEL, ...TRANSCRIPTION, ...changes };
  writeFolder(folder, { tokenizerPath, spelling: 'packed' }, config);
  const { tensors, add } = collector(23, 'BF16');
  addTemporalTensors(add, tensors, config, 'packed');
  for (let head = 0; head < config.extra_heads_num_heads; head += 1) {
    add(`extra_heads.${head}.weight`, [config.extra_heads_dim, config.dim]);
  }
  // What the reference keeps of the depth transformer where `depformer_multi_linear` is off.
  add('depformer_in.0.weight', [config.depformer_dim, config.dim]);
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/** All files but the language model's weights. */
function writeFolder(
  folder: string,
  { tokenizerPath, spelling }: { tokenizerPath: string; spelling: Spelling },
  config: object,
): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'mimi_config.json'), JSON.stringify(MIMI));
  copyFileSync(tokenizerPath, join(folder, 'tokenizer.model'));
  writeSafetensors(join(folder, 'mimi.safetensors'), mimiTensors(spelling));
}

type Tensors = Record<string, WrittenTensor>;
/** Adds a tensor of random values about as large as a layer's output should be. */
type Add = (name: string, shape: number[]) => void;

function collector(seed: number, type: 'F32' | 'BF16'): { tensors: Tensors; add: Add } {
  const random = uniform(seed);
  const tensors: Tensors = {};
  const add: Add = (name, shape) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
    const scale = /alpha$|norm.*weight$/.test(name) ? 0.2 : 1.5 / Math.sqrt(fanIn);
    const shift = /alpha$|norm.*weight$|cluster/.test(name) ? 1 : 0;
    const data = randomFloats(random, count, scale).map((value) => value + shift);
    tensors[name] = { shape, data, type };
  };
  return { tensors, add };
}

/** `sets` weight matrices [rows, columns], in one tensor or in several. */
function addSets(
  add: Add,
  tensors: Tensors,
  names: { packed: string; separate: (set: number) => string },
  [rows, columns, sets]: [number, number, number],
  spelling: Spelling,
): void {
  add(names.packed, [sets * rows, columns]);
  if (spelling === 'packed') return;
  const { [names.packed]: packed } = tensors;
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
  delete tensors[names.packed];
  if (packed === undefined) return;
  for (let set = 0; set < sets; set += 1) {
    const size = rows * columns;
    const data = Array.from(packed.data).slice(set * size, (set + 1) * size);
    tensors[names.separate(set)] = { ...packed, shape: [rows, columns], data };
  }
}

function addAttention(
  add: Add,
  tensors: Tensors,
  prefix: string,
  [rows, dimension, sets]: [number, number, number],
  spelling: Spelling,
): void {
  const input = {
    packed: `${prefix}.in_proj_weight`,
    separate: (set: number) => `${prefix}.in_projs.${set}.weight`,
  };
  const output = {
    packed: `${prefix}.out_proj.weight`,
    separate: (set: number) => `${prefix}.out_projs.${set}.weight`,
  };
  addSets(add, tensors, input, [rows, dimension, sets], spelling);
  addSets(add, tensors, output, [dimension, dimension, sets], spelling);
}

function addTemporalTensors(
  add: Add,
  tensors: Tensors,
  config: typeof LANGUAGE_MODEL,
  spelling: Spelling,
): void {
  const { dim, card, text_card: textCard } = config;
  add('text_emb.weight', [textCard + 1, dim]);
  for (let n = 0; n < config.n_q; n += 1) add(`emb.${n}.weight`, [card + 1, dim]);
  const hidden = Math.floor((2 * Math.floor(config.hidden_scale * dim)) / 3);
  for (let layer = 0; layer < config.num_layers; layer += 1) {
    const prefix = `transformer.layers.${layer}`;
    const rows = dim + (2 * dim) / config.kv_repeat;
    addAttention(add, tensors, `${prefix}.self_attn`, [rows, dim, 1], spelling);
    add(`${prefix}.norm1.alpha`, [1, 1, dim]);
    add(`${prefix}.norm2.alpha`, [1, 1, dim]);
    add(`${prefix}.gating.linear_in.weight`, [2 * hidden, dim]);
    add(`${prefix}.gating.linear_out.weight`, [dim, hidden]);
  }
  add('out_norm.alpha', [1, 1, dim]);
  add('text_linear.weight', [textCard, dim]);
  add('text_linear.bias', [textCard]);
}

function addDepthTensors(add: Add, tensors: Tensors, spelling: Spelling): void {
  const config = LANGUAGE_MODEL;
  const { dim, card, text_card: textCard, depformer_dim: depth } = config;
  const rank = config.depformer_low_rank_embeddings;
  const sets = Math.max(...config.depformer_weights_per_step_schedule) + 1;
  for (let set = 0; set < sets; set += 1) add(`depformer_in.${set}.weight`, [depth, dim]);
  const tables = [
    { name: 'depformer_text_emb', rows: textCard + 1 },
    ...Array.from({ length: config.dep_q - 1 }, (_, k) => ({
      name: `depformer_emb.${k}`,
      rows: card + 1,
    })),
  ];
  for (const { name, rows } of tables) {
    add(`${name}.weight`, [rows, rank]);
    add(`${name}.low_rank.weight`, [depth, rank]);
  }
  // dim_feedforward = 4 · dim has its own rule for the width inside the gate.
  const depthHidden = Math.floor((21 * depth) / 8);
  for (let layer = 0; layer < config.depformer_num_layers; layer += 1) {
    const prefix = `depformer.layers.${layer}`;
    addAttention(add, tensors, `${prefix}.self_attn`, [3 * depth, depth, sets], spelling);
    add(`${prefix}.norm1.alpha`, [1, 1, depth]);
    add(`${prefix}.norm2.alpha`, [1, 1, depth]);
    for (let set = 0; set < sets; set += 1) {
      add(`${prefix}.gating.${set}.linear_in.weight`, [2 * depthHidden, depth]);
      add(`${prefix}.gating.${set}.linear_out.weight`, [depth, depthHidden]);
    }
  }
  for (let step = 0; step < config.dep_q; step += 1) {
    add(`depformer_norms.${step}.weight`, [depth]);
    add(`depformer_norms.${step}.bias`, [depth]);
    add(`linears.${step}.weight`, [card, depth]);
    add(`linears.${step}.bias`, [card]);
  }
}

function mimiTensors(spelling: Spelling): Tensors {
  const { tensors, add } = collector(22, 'F32');
  const { seanet, quantizer, transformer } = MIMI;
  const addConvolution = (name: string, shape: number[]): void => {
    add(`${name}.conv.conv.weight`, shape);
    add(`${name}.conv.conv.bias`, shape.slice(0, 1));
  };
  const addBlock = (name: string, channels: number): void => {
    const hidden = channels / seanet.compress;
    addConvolution(`${name}.block.1`, [hidden, channels, seanet.residual_kernel_size]);
    addConvolution(`${name}.block.3`, [channels, hidden, 1]);
    addConvolution(`${name}.shortcut`, [channels, channels, 1]);
  };
  // Each ratio takes its residual blocks, an activation, and a convolution.
  const modulesPerRatio = seanet.n_residual_layers + 2;
  let channels = seanet.n_filters;
  addConvolution('encoder.model.0', [channels, 1, seanet.kernel_size]);
  [...seanet.ratios].reverse().forEach((ratio, index) => {
    const first = 1 + index * modulesPerRatio;
    for (let j = 0; j < seanet.n_residual_layers; j += 1) {
      addBlock(`encoder.model.${first + j}`, channels);
    }
    const name = `encoder.model.${first + modulesPerRatio - 1}`;
    addConvolution(name, [2 * channels, channels, 2 * ratio]);
    channels *= 2;
  });
  const last = 2 + seanet.ratios.length * modulesPerRatio;
  addConvolution(`encoder.model.${last}`, [seanet.dimension, channels, seanet.last_kernel_size]);

  addConvolution('decoder.model.0', [channels, seanet.dimension, seanet.kernel_size]);
  seanet.ratios.forEach((ratio, index) => {
    const name = `decoder.model.${2 + index * modulesPerRatio}.convtr.convtr`;
    add(`${name}.weight`, [channels, channels / 2, 2 * ratio]);
    add(`${name}.bias`, [channels / 2]);
    channels /= 2;
    for (let j = 0; j < seanet.n_residual_layers; j += 1) {
      addBlock(`decoder.model.${3 + index * modulesPerRatio + j}`, channels);
    }
  });
  addConvolution(`decoder.model.${last}`, [1, channels, seanet.last_kernel_size]);

  const hop = seanet.ratios.reduce((product, ratio) => product * ratio, 1);
  const stride = 1920 / hop;
  const { dimension } = seanet;
  add('downsample.conv.conv.conv.weight', [dimension, dimension, 2 * stride]);
  add('upsample.convtr.convtr.convtr.weight', [dimension, 1, 2 * stride]);
  const { d_model: width } = transformer;
  const hidden = Math.floor((2 * transformer.dim_feedforward) / 3);
  for (const side of ['encoder', 'decoder']) {
    add(`${side}_transformer.input_proj.weight`, [width, dimension]);
    add(`${side}_transformer.output_projs.0.weight`, [dimension, width]);
    const prefix = `${side}_transformer.transformer.layers.0`;
    addAttention(add, tensors, `${prefix}.self_attn`, [3 * width, width, 1], spelling);
    for (const norm of ['norm1', 'norm2']) {
      add(`${prefix}.${norm}.weight`, [width]);
      add(`${prefix}.${norm}.bias`, [width]);
    }
    add(`${prefix}.gating.linear_in.weight`, [2 * hidden, width]);
    add(`${prefix}.gating.linear_out.weight`, [width, hidden]);
  }
  const [sum, usage] =
    spelling === 'packed' ? ['embedding_sum', 'cluster_usage'] : ['embed_avg', 'cluster_size'];
  const chains = { rvq_first: 1, rvq_rest: quantizer.n_q - 1 };
  for (const [chain, count] of Object.entries(chains)) {
    const prefix = `quantizer.${chain}`;
    add(`${prefix}.input_proj.weight`, [quantizer.dimension, dimension, 1]);
    add(`${prefix}.output_proj.weight`, [dimension, quantizer.dimension, 1]);
    for (let index = 0; index < count; index += 1) {
      const codebook = `${prefix}.vq.layers.${index}._codebook`;
      add(`${codebook}.${sum}`, [quantizer.bins, quantizer.dimension]);
      add(`${codebook}.${usage}`, [quantizer.bins]);
    }
  }
  return tensors;
}
