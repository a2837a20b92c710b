/**
 * Architectures that random checkpoints are made of: the published ones, one for comparisons with
 * other programs, and tiny ones whose outputs the tests know.
 *
 * Sizes: the config.json of the models' repositories on Hugging Face, kyutai-labs/moshi@e6a55d2
 * configs/*.json and moshi/moshi/models/loaders.py; NVIDIA/personaplex@3428dfd
 * moshi/moshi/models/loaders.py.
 */
import type { LanguageModelShape } from './language-model-tensors.ts';

/** A whole config.json. */
export type LanguageModelConfigFile = LanguageModelShape & {
  readonly moshi_name: string;
  readonly mimi_name: string;
  readonly tokenizer_name: string;
  readonly mimi_config_name?: string;
  readonly [field: string]: unknown;
};

export type Architecture = {
  readonly config: LanguageModelConfigFile;
  /** The file that `mimi_config_name` names; null for the codec of all published models. */
  readonly mimi: Readonly<Record<string, unknown>> | null;
};

/** Text 0, the first codebook of each voice 0, the others `acoustic`. */
function delays(agentCodebooks: number, userCodebooks: number, acoustic: number): number[] {
  const voice = (codebooks: number): number[] =>
    Array.from({ length: codebooks }, (_, index) => (index === 0 ? 0 : acoustic));
  return [0, ...voice(agentCodebooks), ...voice(userCodebooks)];
}

const PUBLISHED_FILES = {
  moshi_name: 'model.safetensors',
  mimi_name: 'tokenizer-e351c8d8-checkpoint125.safetensors',
};

const TEMPORAL = {
  hidden_scale: 4.125,
  causal: true,
  layer_scale: null,
  gating: 'silu',
  norm: 'rms_norm_f32',
  positional_embedding: 'rope',
  existing_text_padding_id: 3,
} as const;

const DEPTH = {
  depformer_dim: 1024,
  depformer_dim_feedforward: 4224,
  depformer_num_heads: 16,
  depformer_num_layers: 6,
  depformer_causal: true,
  depformer_layer_scale: null,
  depformer_multi_linear: true,
  depformer_context: 8,
  depformer_max_period: 10000,
  depformer_gating: 'silu',
  depformer_pos_emb: 'none',
  depformer_weights_per_step: true,
} as const;

const MOSHI_7B: LanguageModelConfigFile = {
  ...TEMPORAL,
  card: 2048,
  dim: 4096,
  text_card: 32000,
  n_q: 16,
  dep_q: 8,
  num_heads: 32,
  num_layers: 32,
  context: 3000,
  max_period: 10000,
  delays: delays(8, 8, 1),
  ...DEPTH,
  model_type: 'moshi',
  ...PUBLISHED_FILES,
  tokenizer_name: 'tokenizer_spm_32k_3.model',
};

const STT_1B: LanguageModelConfigFile = {
  ...TEMPORAL,
  card: 2048,
  dim: 2048,
  text_card: 8000,
  n_q: 32,
  dep_q: 0,
  num_heads: 16,
  num_layers: 16,
  context: 750,
  max_period: 100000,
  delays: Array.from({ length: 33 }, () => 0),
  depformer_multi_linear: true,
  extra_heads_num_heads: 4,
  extra_heads_dim: 6,
  model_type: 'stt',
  ...PUBLISHED_FILES,
  mimi_name: 'mimi-pytorch-e351c8d8@125.safetensors',
  tokenizer_name: 'tokenizer_en_fr_audio_8000.model',
  stt_config: { audio_delay_seconds: 0.5, audio_silence_prefix_seconds: 0 },
  lm_gen_config: { temp: 0, temp_text: 0, top_k: 50, top_k_text: 50 },
};

const HIBIKI_1B: LanguageModelConfigFile = {
  ...MOSHI_7B,
  dim: 2048,
  text_card: 48000,
  num_heads: 16,
  num_layers: 16,
  context: 500,
  max_period: 100000,
  delays: delays(8, 8, 2),
  conditioners: {
    description: {
      type: 'lut',
      lut: {
        n_bins: 31,
        dim: 16,
        tokenizer: 'noop',
        possible_values: ['very_bad', 'bad', 'neutral', 'good', 'very_good'],
      },
    },
  },
  fuser: { sum: ['description'] },
  model_type: 'hibiki',
  mimi_name: 'mimi-dbaa9758@125.safetensors',
  tokenizer_name: 'tokenizer_spm_48k_multi6_2.model',
  lm_gen_config: { cfg_coef: 3 },
};

const TINY_FILES = {
  moshi_name: 'model.safetensors',
  mimi_name: 'mimi.safetensors',
  mimi_config_name: 'mimi_config.json',
  tokenizer_name: 'tokenizer.model',
};

/** Every row of a matrix is whole groups of 32, as quantised layouts need. */
const TINY: LanguageModelConfigFile = {
  ...MOSHI_7B,
  card: 64,
  dim: 128,
  text_card: 512,
  num_heads: 4,
  num_layers: 3,
  context: 12,
  depformer_dim: 64,
  depformer_dim_feedforward: 288,
  depformer_num_heads: 4,
  depformer_num_layers: 2,
  ...TINY_FILES,
};

function tinyMimi(codebooks: number, bins: number): Readonly<Record<string, unknown>> {
  return {
    sample_rate: 24000,
    channels: 1,
    frame_rate: 12.5,
    seanet: {
      channels: 1,
      dimension: 32,
      causal: true,
      n_filters: 4,
      n_residual_layers: 1,
      activation: 'ELU',
      compress: 2,
      dilation_base: 2,
      disable_norm_outer_blocks: 0,
      kernel_size: 7,
      residual_kernel_size: 3,
      last_kernel_size: 3,
      norm: 'none',
      pad_mode: 'constant',
      ratios: [8, 6, 5, 4],
      true_skip: true,
    },
    quantizer: {
      dimension: 16,
      n_q: codebooks,
      bins,
      input_dimension: 32,
      output_dimension: 32,
    },
    transformer: {
      d_model: 32,
      num_heads: 4,
      num_layers: 2,
      causal: true,
      layer_scale: 0.01,
      context: 10,
      conv_layout: true,
      max_period: 10000,
      gating: 'none',
      norm: 'layer_norm',
      positional_embedding: 'rope',
      dim_feedforward: 64,
      input_dimension: 32,
      output_dimensions: [32],
    },
  };
}

const ARCHITECTURES = {
  'moshi-7b': { config: MOSHI_7B, mimi: null },
  'personaplex-7b': { config: { ...MOSHI_7B, dep_q: 16, model_type: 'personaplex' }, mimi: null },
  'hibiki-1b': { config: HIBIKI_1B, mimi: null },
  'hibiki-2b': {
    config: {
      ...HIBIKI_1B,
      dim: 2560,
      num_heads: 20,
      num_layers: 24,
      n_q: 32,
      dep_q: 16,
      delays: delays(16, 16, 2),
      depformer_context: 16,
      depformer_weights_per_step_schedule: [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8],
      mimi_name: 'mimi-pytorch-e351c8d8@125.safetensors',
    },
    mimi: null,
  },
  'stt-1b': { config: STT_1B, mimi: null },
  'stt-2.6b': {
    config: {
      ...STT_1B,
      text_card: 4000,
      num_heads: 32,
      num_layers: 48,
      context: 375,
      extra_heads_num_heads: 0,
      tokenizer_name: 'tokenizer_en_audio_4000.model',
      stt_config: { audio_delay_seconds: 2.5, audio_silence_prefix_seconds: 1 },
    },
    mimi: null,
  },
  /** Nobody's model: a size at which other programs were measured on a CPU. */
  'moshi-300m': {
    config: {
      ...MOSHI_7B,
      dim: 1024,
      num_heads: 16,
      num_layers: 16,
      depformer_dim: 512,
      depformer_dim_feedforward: 2112,
      depformer_num_heads: 8,
      depformer_num_layers: 4,
    },
    mimi: null,
  },
  tiny: { config: TINY, mimi: tinyMimi(16, 64) },
  'tiny-stt': {
    config: {
      ...STT_1B,
      card: 64,
      dim: 48,
      text_card: 512,
      n_q: 16,
      num_heads: 3,
      num_layers: 3,
      context: 14,
      delays: Array.from({ length: 17 }, () => 0),
      ...TINY_FILES,
    },
    mimi: tinyMimi(16, 64),
  },
  'tiny-hibiki': {
    config: {
      ...HIBIKI_1B,
      card: 64,
      dim: 64,
      text_card: 512,
      num_heads: 4,
      num_layers: 2,
      context: 16,
      depformer_dim: 32,
      depformer_dim_feedforward: 132,
      depformer_num_heads: 2,
      depformer_num_layers: 2,
      depformer_weights_per_step_schedule: [0, 1, 2, 3, 4, 4, 4, 4],
      ...TINY_FILES,
    },
    mimi: tinyMimi(16, 64),
  },
  /** Its codec has as many entries as the published one: the silence that it is prompted with is fixed. */
  'tiny-personaplex': {
    config: {
      ...TINY,
      card: 2048,
      dim: 32,
      dep_q: 16,
      num_heads: 2,
      num_layers: 2,
      context: 400,
      depformer_dim: 16,
      depformer_dim_feedforward: 66,
      depformer_num_heads: 2,
      model_type: 'personaplex',
    },
    mimi: tinyMimi(8, 2048),
  },
} satisfies Record<string, Architecture>;

export type ArchitectureName = keyof typeof ARCHITECTURES;

export const ARCHITECTURE_NAMES = Object.keys(ARCHITECTURES) as readonly ArchitectureName[];

export function architecture(name: ArchitectureName): Architecture {
  return ARCHITECTURES[name];
}
