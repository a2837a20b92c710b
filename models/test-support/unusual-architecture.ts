/**
 * An architecture whose every size and option differs from the published ones: shows that the graphs
 * follow the configuration.
 */
import type { Architecture, LanguageModelConfigFile } from '../generate/architectures.ts';

const LANGUAGE_MODEL: LanguageModelConfigFile = {
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
const TRANSCRIPTION: LanguageModelConfigFile = {
  ...LANGUAGE_MODEL,
  model_type: 'stt',
  dep_q: 0,
  n_q: 4,
  delays: [0, 0, 0, 0, 0],
  depformer_multi_linear: false,
  extra_heads_num_heads: 3,
  extra_heads_dim: 5,
  stt_config: { audio_delay_seconds: 0.33, audio_silence_prefix_seconds: 0.1 },
};

/** What a model that translates has beside it, two conditions in place of one. */
const TRANSLATION: LanguageModelConfigFile = {
  ...LANGUAGE_MODEL,
  model_type: 'hibiki',
  conditioners: {
    description: {
      type: 'lut',
      lut: {
        n_bins: 9,
        dim: 7,
        tokenizer: 'noop',
        possible_values: ['very_bad', 'bad', 'neutral', 'very_good'],
      },
    },
    pace: {
      type: 'lut',
      lut: { n_bins: 2, dim: 3, tokenizer: 'noop', possible_values: ['very_good', 'very_bad'] },
    },
  },
  fuser: { sum: ['pace', 'description'], cross: [], prepend: [] },
  lm_gen_config: { cfg_coef: 2.5 },
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

export const UNUSUAL_ARCHITECTURE: Architecture = { config: LANGUAGE_MODEL, mimi: MIMI };

export const UNUSUAL_TRANSCRIPTION: Architecture = { config: TRANSCRIPTION, mimi: MIMI };

export const UNUSUAL_TRANSLATION: Architecture = { config: TRANSLATION, mimi: MIMI };
