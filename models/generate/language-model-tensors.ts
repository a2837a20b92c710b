/**
 * Tensors of a language model in Kyutai's PyTorch layout.
 *
 * Names and shapes: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (LMModel),
 * moshi/moshi/conditioners/text.py (LUTConditioner); attention packed as in the published files.
 */
import { gatedWidth } from '../checkpoints/transformer-config.ts';
import { TensorList, type GeneratedTensor, type Spelling } from './tensor-list.ts';

/** The part of config.json that the tensors follow from. */
export type LanguageModelShape = {
  readonly dim: number;
  readonly num_layers: number;
  readonly hidden_scale: number;
  readonly norm: string;
  readonly gating: string;
  readonly kv_repeat?: number;
  readonly bias_proj?: boolean;
  readonly card: number;
  readonly text_card: number;
  readonly n_q: number;
  readonly dep_q: number;
  /** The depth transformer; absent where the model does not speak. */
  readonly depformer_dim?: number;
  readonly depformer_multi_linear?: boolean;
  readonly depformer_dim_feedforward?: number;
  readonly depformer_num_layers?: number;
  readonly depformer_kv_repeat?: number;
  readonly depformer_gating?: string;
  readonly depformer_norm?: string;
  readonly depformer_weights_per_step_schedule?: readonly number[];
  readonly depformer_low_rank_embeddings?: number;
  readonly extra_heads_num_heads?: number;
  readonly extra_heads_dim?: number;
  readonly conditioners?: Readonly<Record<string, LookupConditioner>>;
};

export type LookupConditioner = {
  readonly type: 'lut';
  readonly lut: {
    readonly n_bins: number;
    readonly dim: number;
    readonly tokenizer: 'noop';
    readonly possible_values: readonly string[];
  };
};

/** Sharp enough that attention is not an average and the likeliest token not a matter of rounding. */
const GAIN = 1.5;
const EMBEDDING = { mean: 0, deviation: 0.5 };

export function languageModelTensors(
  config: LanguageModelShape,
  spelling: Spelling = 'packed',
): GeneratedTensor[] {
  const list = new TensorList(spelling);
  const { dim, card, text_card: textCard } = config;
  list.add('text_emb.weight', [textCard + 1, dim], EMBEDDING);
  for (let n = 0; n < config.n_q; n += 1) list.add(`emb.${n}.weight`, [card + 1, dim], EMBEDDING);
  const feedForward = Math.floor(config.hidden_scale * dim);
  addTransformer(list, 'transformer', {
    width: dim,
    layers: config.num_layers,
    norm: config.norm,
    gating: config.gating,
    headsPerKey: config.kv_repeat ?? 1,
    feedForward,
    sets: null,
  });
  list.addNorm('out_norm', config.norm, dim);
  list.addLinear('text_linear.weight', [textCard, dim], GAIN);
  if (config.bias_proj === true) list.addBias('text_linear.bias', textCard);
  for (let head = 0; head < (config.extra_heads_num_heads ?? 0); head += 1) {
    list.addLinear(`extra_heads.${head}.weight`, [config.extra_heads_dim ?? 6, dim], GAIN);
  }
  for (const [name, { lut }] of Object.entries(config.conditioners ?? {})) {
    const prefix = `condition_provider.conditioners.${name}`;
    list.add(`${prefix}.embed.weight`, [lut.n_bins + 1, lut.dim], { mean: 0, deviation: 1 });
    list.addLinear(`${prefix}.output_proj.weight`, [dim, lut.dim], 1);
    list.add(`${prefix}.learnt_padding`, [1, 1, dim], { mean: 0, deviation: 1 });
  }
  if (config.dep_q > 0) addDepth(list, config);
  // What the reference keeps of a depth transformer that it does not have.
  else if (config.depformer_multi_linear === false) {
    list.addLinear('depformer_in.0.weight', [config.depformer_dim ?? 256, dim], GAIN);
  }
  return list.tensors;
}

/** Every step has weights of its own, or those of the set that the schedule names. */
function addDepth(list: TensorList, config: LanguageModelShape): void {
  const { dim, card, text_card: textCard, dep_q: steps } = config;
  const width = config.depformer_dim ?? 256;
  const schedule = config.depformer_weights_per_step_schedule;
  const sets = schedule === undefined ? steps : Math.max(...schedule) + 1;
  for (let set = 0; set < sets; set += 1) {
    list.addLinear(`depformer_in.${set}.weight`, [width, dim], GAIN);
  }
  const rank = config.depformer_low_rank_embeddings;
  const addTable = (name: string, rows: number): void => {
    list.add(`${name}.weight`, [rows, rank ?? width], EMBEDDING);
    if (rank !== undefined) list.addLinear(`${name}.low_rank.weight`, [width, rank], GAIN);
  };
  addTable('depformer_text_emb', textCard + 1);
  for (let step = 0; step < steps - 1; step += 1) addTable(`depformer_emb.${step}`, card + 1);
  addTransformer(list, 'depformer', {
    width,
    layers: config.depformer_num_layers ?? config.num_layers,
    norm: config.norm,
    gating: config.depformer_gating ?? config.gating,
    headsPerKey: config.depformer_kv_repeat ?? config.kv_repeat ?? 1,
    feedForward: config.depformer_dim_feedforward ?? Math.floor(config.hidden_scale * width),
    sets,
  });
  for (let step = 0; step < steps; step += 1) {
    if (config.depformer_norm !== undefined) {
      list.addNorm(`depformer_norms.${step}`, config.depformer_norm, width);
    }
    list.addLinear(`linears.${step}.weight`, [card, width], GAIN);
    if (config.bias_proj === true) list.addBias(`linears.${step}.bias`, card);
  }
}

function addTransformer(
  list: TensorList,
  prefix: string,
  options: {
    width: number;
    layers: number;
    norm: string;
    gating: string;
    headsPerKey: number;
    feedForward: number;
    /** Sets of weights, or null where names carry no set. */
    sets: number | null;
  },
): void {
  const { width, norm, sets, feedForward } = options;
  const rows = width + (2 * width) / options.headsPerKey;
  for (let index = 0; index < options.layers; index += 1) {
    const layer = `${prefix}.layers.${index}`;
    list.addAttention(`${layer}.self_attn`, { rows, width, sets: sets ?? 1, gain: GAIN });
    list.addNorm(`${layer}.norm1`, norm, width);
    list.addNorm(`${layer}.norm2`, norm, width);
    if (options.gating === 'none') {
      list.addLinear(`${layer}.linear1.weight`, [feedForward, width], GAIN);
      list.addLinear(`${layer}.linear2.weight`, [width, feedForward], GAIN);
      continue;
    }
    const hidden = gatedWidth(width, feedForward);
    const gates =
      sets === null
        ? [`${layer}.gating`]
        : Array.from({ length: sets }, (_, set) => `${layer}.gating.${set}`);
    for (const gate of gates) {
      list.addLinear(`${gate}.linear_in.weight`, [2 * hidden, width], GAIN);
      list.addLinear(`${gate}.linear_out.weight`, [width, hidden], GAIN);
    }
  }
}
