/**
 * `config.json` of a checkpoint in Kyutai's PyTorch layout: file names, and the arguments of LMModel.
 *
 * Defaults are those of kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (LMModel) and
 * moshi/moshi/models/loaders.py (CheckpointInfo, the built-in 7B configuration). Whatever changes
 * the arithmetic and is not implemented here is refused by name; nothing is skipped.
 */
import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { VOICES_ARCHIVE, VOICES_FOLDER } from '../hub/checkpoint-files.ts';
import type { ModelKind } from '../manifest.ts';
import {
  conditioners,
  describeConditions,
  fuser,
  fuserProblem,
  type ConditionConfig,
} from './conditioning-config.ts';
import { checkJson, readJson } from './json-file.ts';
import { weightsFileName } from './weights-file-name.ts';
import {
  BLOCK_LAYOUT_MARKER,
  BLOCK_PRECISIONS,
  BLOCKS,
  type BlockPrecision,
} from './linear-weight.ts';
import { isOff, notImplemented } from './not-implemented.ts';
import { completePersonaPlex, isPersonaPlex } from './personaplex-config.ts';
import {
  gatedWidth,
  gatingName,
  headsProblem,
  normName,
  positionName,
  type NormName,
  type TransformerConfig,
} from './transformer-config.ts';

const count = z.number().int().positive();

/** Far beyond any model; more would exhaust the memory before it is noticed. Steps of 80 ms. */
const MAX_CONTEXT = 1_000_000;
const MAX_DELAY = 1_000;
const MAX_SILENCE_SECONDS = 60;

/** moshi/moshi/models/loaders.py (`get_moshi_lm`). */
export const DEFAULT_ADAPTER_SCALING = 2;

/** Strength of classifier-free guidance; 1 is none. */
const guidanceFactor = z.number().min(0).max(100);

/** Hibiki's end of a text; moshi/moshi/models/loaders.py (`get_moshi`) has it read as padding. */
const END_OF_STREAM_TOKEN = 2;

const generation = z
  .strictObject({
    temp: z.number().min(0).max(10),
    temp_text: z.number().min(0).max(10),
    top_k: count,
    top_k_text: count,
    use_sampling: z.boolean(),
    cfg_coef: guidanceFactor,
    cfg_is_no_text: notImplemented('guidance of the voice alone'),
    cfg_is_masked_until: notImplemented('guidance towards a prompt'),
    check: z.boolean(),
  })
  .partial();
export type GenerationConfig = z.infer<typeof generation>;

/** How a model that transcribes lags what it hears, and what it wants before it (run_inference.py). */
const transcription = z
  .strictObject({
    audio_delay_seconds: z.number().min(0).max(MAX_SILENCE_SECONDS),
    audio_silence_prefix_seconds: z.number().min(0).max(MAX_SILENCE_SECONDS),
  })
  .partial();

/** The marker of the layout in layouts/blocks.ts; other programs have others, which are refused. */
const blockQuantization = z
  .strictObject({
    format: z.literal(BLOCK_LAYOUT_MARKER, {
      error: ({ input }) =>
        `must be "${BLOCK_LAYOUT_MARKER}", the one that models quantize writes; found ` +
        (input === undefined ? 'none' : JSON.stringify(input)),
    }),
    bits: z.literal([4, 8]),
    group_size: z.number().int().default(BLOCKS.q4.size),
  })
  .transform(({ bits, group_size: size }, context): BlockPrecision => {
    const found = BLOCK_PRECISIONS.find(
      (one) => BLOCKS[one].bits === bits && BLOCKS[one].size === size,
    );
    if (found !== undefined) return found;
    const sizes = BLOCK_PRECISIONS.map((one) => BLOCKS[one]).filter((one) => one.bits === bits);
    context.addIssue({
      code: 'custom',
      path: ['group_size'],
      message: `must be ${sizes.map((one) => one.size).join(' or ')} with ${bits} bits, found ${size}`,
    });
    return z.NEVER;
  });

const schema = z
  .strictObject({
    model_type: z
      .enum(['moshi', 'personaplex', 'hibiki', 'stt'], {
        error: ({ input }) =>
          `must be "moshi", "personaplex", "hibiki" or "stt"; ${JSON.stringify(input)} is another ` +
          `kind of model, not implemented`,
      })
      .default('moshi'),
    moshi_name: z.string().min(1).default('model.safetensors'),
    mimi_name: z.string().min(1).default('tokenizer-e351c8d8-checkpoint125.safetensors'),
    mimi_config_name: z.string().min(1).nullable().default(null),
    tokenizer_name: z.string().min(1).default('tokenizer_spm_32k_3.model'),
    lm_gen_config: generation.default({}),
    /** Informative, or about how the reference runs: they do not change what is computed. */
    model_id: z.unknown().optional(),
    depformer_causal: z.unknown().optional(),
    depformer_context: z.unknown().optional(),
    emb_lr: z.unknown().optional(),

    n_q: count.default(8),
    dep_q: z.number().int().nonnegative().default(8),
    card: count.default(1024),
    text_card: count.default(32000),
    text_card_out: count.nullable().default(null),
    dim: count.default(128),
    num_heads: count.default(8),
    num_layers: count,
    hidden_scale: z.number().positive().default(4),
    norm: normName.default('layer_norm'),
    bias_proj: z.boolean().default(false),
    causal: z.literal(true, { error: 'must be true: a stream has no future' }).default(true),
    layer_scale: z.number().nullable().default(null),
    context: z
      .number({ error: 'must be given: it is the length of the key and value cache' })
      .int()
      .positive()
      .max(MAX_CONTEXT, `must be at most ${MAX_CONTEXT}`),
    max_period: z.number().positive().default(10000),
    gating: gatingName.default('none'),
    positional_embedding: positionName.default('sin'),
    kv_repeat: count.default(1),
    existing_text_padding_id: z.number().int().nonnegative().default(3),
    existing_text_end_padding_id: z.number().int().nonnegative().default(0),
    delays: z.array(z.number().int().nonnegative().max(MAX_DELAY)),

    depformer_dim: count.default(256),
    depformer_dim_feedforward: count.nullable().default(null),
    depformer_num_heads: count.optional(),
    depformer_num_layers: count.optional(),
    depformer_multi_linear: z.boolean().default(false),
    depformer_weights_per_step: z.boolean().default(false),
    depformer_weights_per_step_schedule: z
      .array(z.number().int().nonnegative())
      .nullable()
      .default(null),
    depformer_low_rank_embeddings: count.nullable().default(null),
    depformer_pos_emb: positionName.default('sin'),
    depformer_norm: normName.nullable().default(null),
    depformer_max_period: z.number().positive().optional(),
    depformer_gating: gatingName.optional(),
    depformer_kv_repeat: count.optional(),
    depformer_layer_scale: z.number().nullable().optional(),

    quantize: z.boolean().default(false),
    quantization: blockQuantization.nullable().default(null),
    lora: z.boolean().default(false),
    lora_name: z.string().min(1).nullable().default(null),
    lora_rank: count.nullable().default(null),
    lora_scaling: z.number().min(-100).max(100).default(DEFAULT_ADAPTER_SCALING),
    conditioners: conditioners.nullable().default(null),
    fuser: fuser.nullable().default(null),
    cross_attention: notImplemented('cross-attention'),
    norm_emb: notImplemented('normalised embeddings'),
    demux_second_stream: notImplemented('a second text stream'),
    demux_second_text_stream: notImplemented('a second text stream'),
    extra_heads_num_heads: z.number().int().min(0).max(64).nullable().default(null),
    extra_heads_dim: count.max(4096).default(6),
    tts_config: notImplemented('speech synthesis'),
    stt_config: transcription.nullable().default(null),
  })
  .superRefine((config, context) => {
    const complain = (field: string, message: string): void => {
      context.addIssue({ code: 'custom', path: [field], message });
    };
    const streams = 1 + config.n_q;
    if (config.delays.length !== streams) {
      complain('delays', `must have ${streams} entries (1 + n_q), found ${config.delays.length}`);
    }
    if (config.dep_q > config.n_q) {
      complain('dep_q', `must not exceed n_q ${config.n_q}, found ${config.dep_q}`);
    }
    if (config.lora_name !== null && !config.lora) complain('lora_name', 'needs lora to be true');
    const given = config.conditioners ?? {};
    const fusing = fuserProblem(given, config.fuser?.sum ?? []);
    if (fusing !== null) complain('fuser', fusing);
    const conditioned = Object.keys(given).length > 0;
    if (conditioned && config.model_type !== 'hibiki') {
      complain('conditioners', 'are implemented for model_type "hibiki" alone');
    }
    if (!conditioned && (config.lm_gen_config.cfg_coef ?? 1) !== 1) {
      complain('lm_gen_config.cfg_coef', 'needs conditioners to guide by');
    }
    if (config.model_type === 'personaplex' && config.dep_q !== config.n_q) {
      complain('dep_q', `must be n_q ${config.n_q} for PersonaPlex, found ${config.dep_q}`);
    }
    if (config.model_type === 'personaplex' && config.n_q % 2 !== 0) {
      complain('n_q', `must be even for PersonaPlex: half for each voice; found ${config.n_q}`);
    }
    if (config.model_type === 'personaplex' && config.context < 2) {
      complain('context', `must be at least 2 for PersonaPlex, found ${config.context}`);
    }
    const heads = headsProblem(
      config.dim,
      config.num_heads,
      config.kv_repeat,
      config.positional_embedding,
    );
    if (heads !== null) complain('num_heads', heads);
    if (config.model_type === 'stt') {
      if (config.dep_q !== 0) {
        complain('dep_q', `must be 0 in a model that only listens ("stt"), found ${config.dep_q}`);
      }
      return; // There is no depth transformer: what is said about it means nothing.
    }
    for (const field of ['extra_heads_num_heads', 'stt_config'] as const) {
      if (isOff(config[field])) continue;
      complain(field, `is not implemented for "${config.model_type}", only for "stt"`);
    }
    if (config.dep_q === 0) complain('dep_q', 'must be at least 1 in a model that speaks, found 0');
    const depthHeads =
      config.depformer_num_heads === undefined
        ? 'must be given in a model that speaks'
        : headsProblem(
            config.depformer_dim,
            config.depformer_num_heads,
            config.depformer_kv_repeat ?? config.kv_repeat,
            config.depformer_pos_emb,
          );
    if (depthHeads !== null) complain('depformer_num_heads', depthHeads);
    const schedule = config.depformer_weights_per_step_schedule;
    if (schedule !== null && schedule.length !== config.dep_q) {
      complain(
        'depformer_weights_per_step_schedule',
        `must have ${config.dep_q} entries (dep_q), found ${schedule.length}`,
      );
    }
    if (schedule !== null && !config.depformer_weights_per_step) {
      complain(
        'depformer_weights_per_step_schedule',
        'needs depformer_weights_per_step to be true',
      );
    }
    if (
      config.depformer_weights_per_step &&
      (config.depformer_gating ?? config.gating) === 'none'
    ) {
      complain('depformer_weights_per_step', 'needs a gated feed-forward block (depformer_gating)');
    }
  });

/** The transformer that speaks: over the codebooks of one frame. */
export type DepthConfig = {
  readonly transformer: TransformerConfig;
  /** Whether every weight set has its own projection of the temporal state. */
  readonly inputPerSet: boolean;
  /** Weight set of each of the D steps. */
  readonly schedule: readonly number[];
  /** Sets that the steps use. */
  readonly weightSets: number;
  /** Sets that packed tensors hold: PersonaPlex has those of steps that are not run. */
  readonly packedSets: number;
  readonly weightsPerStep: boolean;
  readonly embeddingRank: number | null;
  readonly outputNorm: NormName | null;
};

/** What a model that writes down what it hears says about itself. */
export type TranscriptionConfig = {
  readonly delaySeconds: number;
  /** Silence that it wants before the first sound. */
  readonly silencePrefixSeconds: number;
  /** Heads that judge whether the speaker has paused; null is as many as there are weights. */
  readonly pauseHeads: number | null;
  /** Classes of each. */
  readonly pauseClasses: number;
};

/** What the graphs need to know about the language model. */
export type LanguageModelConfig = {
  readonly kind: ModelKind;
  /** Keys of a config.json that describes no architecture, which nobody here knows. */
  readonly ignoredSettings: readonly string[];
  readonly files: {
    readonly model: string;
    readonly mimi: string;
    readonly mimiConfig: string | null;
    readonly tokenizer: string;
  };
  /** N: audio codebooks of both voices. */
  readonly codebooks: number;
  /** D: codebooks the model generates. */
  readonly generatedCodebooks: number;
  readonly audioCard: number;
  readonly textCard: number;
  /** Width of the text head. */
  readonly textCardOut: number;
  readonly paddingToken: number;
  readonly endOfPaddingToken: number;
  /** Text token that ends a stream whose input has ended, or null for models that never end. */
  readonly endOfStreamToken: number | null;
  /** In the order in which they are added to the input. */
  readonly conditions: readonly ConditionConfig[];
  /** Default strength of classifier-free guidance, for which every row is computed twice; or null. */
  readonly guidance: number | null;
  /** Steps by which each stream is late: text, then the N codebooks. */
  readonly delays: readonly number[];
  readonly maxDelay: number;
  readonly headBias: boolean;
  /** Low-rank adapters to merge into the matrices, or null; their file may be named elsewhere. */
  readonly adapters: {
    readonly file: string | null;
    readonly scaling: number;
    readonly rank: number | null;
  } | null;
  /** Whether linears must be stored as 8-bit numbers with row scales. */
  readonly quantized: boolean;
  /** Precision of the blocks that the matrices are stored in, or null where they are not. */
  readonly blockPrecision: BlockPrecision | null;
  readonly temporal: TransformerConfig;
  /** Null for models that do not speak. */
  readonly depth: DepthConfig | null;
  /** Null for models that converse. */
  readonly transcription: TranscriptionConfig | null;
  readonly generation: GenerationConfig;
};

/**
 * Moshi 7B of September 2024, for repositories without config.json
 * (moshi/moshi/models/loaders.py, `_lm_kwargs`).
 */
const BUILT_IN_CONFIG = {
  dim: 4096,
  text_card: 32000,
  existing_text_padding_id: 3,
  n_q: 16,
  dep_q: 8,
  card: 2048,
  num_heads: 32,
  num_layers: 32,
  hidden_scale: 4.125,
  causal: true,
  layer_scale: null,
  context: 3000,
  max_period: 10000,
  gating: 'silu',
  norm: 'rms_norm_f32',
  positional_embedding: 'rope',
  depformer_dim: 1024,
  depformer_dim_feedforward: 4224,
  depformer_num_heads: 16,
  depformer_num_layers: 6,
  depformer_layer_scale: null,
  depformer_multi_linear: true,
  depformer_max_period: 10000,
  depformer_gating: 'silu',
  depformer_pos_emb: 'none',
  depformer_weights_per_step: true,
  delays: [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
};

/** @throws CheckpointError naming every field that is wrong or not implemented. */
export async function readLanguageModelConfig(directory: string): Promise<LanguageModelConfig> {
  const path = join(directory, 'config.json');
  const hasVoices = [VOICES_FOLDER, VOICES_ARCHIVE].some((name) =>
    existsSync(join(directory, name)),
  );
  return parseLanguageModelConfig(await readConfigFile(directory), path, hasVoices);
}

/** The content of config.json, or what the reference takes in its place. */
export async function readConfigFile(directory: string): Promise<unknown> {
  const path = join(directory, 'config.json');
  const present = await access(path).then(
    () => true,
    () => false,
  );
  const json = present ? await readJson(path) : BUILT_IN_CONFIG;
  const isObject = typeof json === 'object' && json !== null && !Array.isArray(json);
  if (!isObject) return json;
  return { moshi_name: weightsFileName((name) => existsSync(join(directory, name))), ...json };
}

/**
 * @param path - Where `json` was read, for messages.
 * @param hasVoices - Whether PersonaPlex's voices lie beside it.
 */
export function parseLanguageModelConfig(
  json: unknown,
  path: string,
  hasVoices = false,
): LanguageModelConfig {
  const { complete, ignored } = isPersonaPlex(json, hasVoices)
    ? completePersonaPlex(json, BUILT_IN_CONFIG, new Set(Object.keys(schema.shape)))
    : { complete: json, ignored: [] };
  const config = checkJson(schema, complete, path);
  const kind = config.model_type;
  const feedForward = Math.floor(config.hidden_scale * config.dim);
  const { cfg_coef: guidance = 1 } = config.lm_gen_config;
  return {
    kind,
    ignoredSettings: ignored,
    files: {
      model: config.moshi_name,
      mimi: config.mimi_name,
      mimiConfig: config.mimi_config_name,
      tokenizer: config.tokenizer_name,
    },
    codebooks: config.n_q,
    generatedCodebooks: generatedCodebooks(config),
    audioCard: config.card,
    textCard: config.text_card,
    textCardOut: config.text_card_out ?? config.text_card,
    paddingToken: config.existing_text_padding_id,
    endOfPaddingToken: config.existing_text_end_padding_id,
    endOfStreamToken: config.model_type === 'hibiki' ? END_OF_STREAM_TOKEN : null,
    conditions: describeConditions(config.conditioners ?? {}, config.fuser?.sum ?? []),
    guidance: guidance === 1 ? null : guidance,
    delays: config.delays,
    maxDelay: Math.max(...config.delays),
    headBias: config.bias_proj,
    adapters: config.lora
      ? { file: config.lora_name, scaling: config.lora_scaling, rank: config.lora_rank }
      : null,
    quantized: config.quantize,
    blockPrecision: config.quantization,
    temporal: {
      dimension: config.dim,
      heads: config.num_heads,
      headsPerKey: config.kv_repeat,
      layers: config.num_layers,
      hidden: config.gating === 'none' ? feedForward : gatedWidth(config.dim, feedForward),
      norm: config.norm,
      gating: config.gating,
      position: config.positional_embedding,
      maxPeriod: config.max_period,
      // PersonaPlex's ring takes the oldest of its keys for a future one: it sees one less, always.
      context: kind === 'personaplex' ? config.context - 1 : config.context,
      layerScale: config.layer_scale !== null,
    },
    depth: depthConfig(config),
    transcription: transcriptionConfig(config),
    generation: config.lm_gen_config,
  };
}

function generatedCodebooks({ model_type: kind, n_q, dep_q }: z.infer<typeof schema>): number {
  return kind === 'personaplex' ? n_q / 2 : dep_q;
}

function depthConfig(config: z.infer<typeof schema>): DepthConfig | null {
  const {
    depformer_num_heads: heads,
    depformer_weights_per_step: weightsPerStep,
    depformer_layer_scale: layerScale,
  } = config;
  const steps = generatedCodebooks(config);
  if (steps === 0 || heads === undefined) return null;
  const allSteps =
    config.depformer_weights_per_step_schedule ??
    Array.from({ length: config.dep_q }, (_, step) => step);
  const schedule = allSteps.slice(0, steps);
  const gating = config.depformer_gating ?? config.gating;
  const feedForward =
    config.depformer_dim_feedforward ?? Math.floor(config.hidden_scale * config.depformer_dim);
  return {
    transformer: {
      dimension: config.depformer_dim,
      heads,
      headsPerKey: config.depformer_kv_repeat ?? config.kv_repeat,
      layers: config.depformer_num_layers ?? config.num_layers,
      hidden: gating === 'none' ? feedForward : gatedWidth(config.depformer_dim, feedForward),
      norm: config.norm,
      gating,
      position: config.depformer_pos_emb,
      maxPeriod: config.depformer_max_period ?? config.max_period,
      context: steps,
      layerScale: (layerScale === undefined ? config.layer_scale : layerScale) !== null,
    },
    inputPerSet: config.depformer_multi_linear,
    schedule,
    weightSets: Math.max(...schedule) + 1,
    packedSets: Math.max(...allSteps) + 1,
    weightsPerStep,
    embeddingRank: config.depformer_low_rank_embeddings,
    outputNorm: config.depformer_norm,
  };
}

function transcriptionConfig(config: z.infer<typeof schema>): TranscriptionConfig | null {
  if (config.model_type !== 'stt') return null;
  const { audio_delay_seconds: delay, audio_silence_prefix_seconds: prefix } =
    config.stt_config ?? {};
  return {
    delaySeconds: delay ?? 0,
    silencePrefixSeconds: prefix ?? 0,
    pauseHeads: config.extra_heads_num_heads,
    pauseClasses: config.extra_heads_dim,
  };
}
