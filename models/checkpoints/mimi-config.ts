/**
 * Configuration of the Mimi codec: `mimi_config_name` of config.json, or Kyutai's built-in one.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/loaders.py (`_mimi_config`, `get_mimi`),
 * moshi/moshi/modules/seanet.py and moshi/moshi/quantization/vq.py for the defaults.
 */
import { z } from 'zod';
import { checkJson, readJson } from './json-file.ts';
import {
  gatedWidth,
  gatingName,
  headsProblem,
  normName,
  positionName,
  type TransformerConfig,
} from './transformer-config.ts';

const count = z.number().int().positive();
/** Far beyond any codec; more would exhaust the memory before it is noticed. Latents. */
const MAX_CONTEXT = 1_000_000;

/** The engine, the resampler and the protocol speak frames of 80 ms at 24 kHz. */
const SAMPLE_RATE = 24000;
const FRAME_RATE = 12.5;

function only<const T extends string | number | boolean | null>(
  value: T,
): z.ZodDefault<z.ZodLiteral<T>> {
  const schema = z.literal(value, {
    error: ({ input }) =>
      `must be ${JSON.stringify(value)}; ${JSON.stringify(input)} is not implemented`,
  });
  return schema.default(value as never);
}

const seanet = z.strictObject({
  channels: only(1),
  dimension: count.default(128),
  causal: only(true),
  n_filters: count.default(32),
  n_residual_layers: z.number().int().nonnegative().default(3),
  activation: only('ELU'),
  activation_params: z.strictObject({ alpha: z.number().positive() }).default({ alpha: 1 }),
  compress: count.default(2),
  dilation_base: count.default(2),
  disable_norm_outer_blocks: z.number().int().nonnegative().default(0),
  kernel_size: count.default(7),
  residual_kernel_size: count.default(3),
  last_kernel_size: count.default(7),
  norm: only('none'),
  norm_params: z.strictObject({}).default({}),
  pad_mode: z.enum(['constant', 'replicate']).default('constant'),
  ratios: z.array(count).min(1),
  true_skip: z.boolean().default(true),
  final_activation: only(null),
  trim_right_ratio: only(1),
});

const transformer = z
  .strictObject({
    d_model: count,
    num_heads: count,
    num_layers: count,
    causal: only(true),
    layer_scale: z.number().nullable().default(null),
    context: count.max(MAX_CONTEXT),
    conv_layout: only(true),
    max_period: z.number().positive().default(10000),
    gating: gatingName.default('none'),
    norm: normName.default('layer_norm'),
    positional_embedding: positionName.default('sin'),
    dim_feedforward: count.default(2048),
    kv_repeat: count.default(1),
    input_dimension: count,
    output_dimensions: z.array(count).length(1),
  })
  .superRefine((config, context) => {
    const message = headsProblem(
      config.d_model,
      config.num_heads,
      config.kv_repeat,
      config.positional_embedding,
    );
    if (message !== null) context.addIssue({ code: 'custom', path: ['num_heads'], message });
  });

const schema = z
  .strictObject({
    sample_rate: only(SAMPLE_RATE),
    channels: only(1),
    frame_rate: only(FRAME_RATE),
    seanet,
    quantizer: z.strictObject({
      dimension: count,
      n_q: count,
      bins: count,
      input_dimension: count,
      output_dimension: count,
    }),
    transformer,
  })
  .superRefine((config, context) => {
    const complain = (path: string[], message: string): void => {
      context.addIssue({ code: 'custom', path, message });
    };
    const { seanet: convolutions, transformer: attention, quantizer } = config;
    const hopSamples = convolutions.ratios.reduce((product, ratio) => product * ratio, 1);
    const frameSamples = SAMPLE_RATE / FRAME_RATE;
    if (frameSamples % hopSamples !== 0) {
      complain(
        ['seanet', 'ratios'],
        `must have a product that divides ${frameSamples} samples, found ${hopSamples}`,
      );
    } else if (frameSamples / hopSamples > attention.context) {
      complain(
        ['transformer', 'context'],
        `must hold a frame of ${frameSamples / hopSamples} latents, found ${attention.context}`,
      );
    }
    const widths = {
      'transformer.input_dimension': attention.input_dimension,
      'transformer.output_dimensions': attention.output_dimensions[0],
      'quantizer.input_dimension': quantizer.input_dimension,
      'quantizer.output_dimension': quantizer.output_dimension,
    };
    for (const [field, width] of Object.entries(widths)) {
      if (width !== convolutions.dimension) {
        complain(
          field.split('.'),
          `must equal seanet.dimension ${convolutions.dimension}, found ${String(width)}`,
        );
      }
    }
    if (convolutions.n_filters % convolutions.compress !== 0) {
      complain(['seanet', 'compress'], `must divide n_filters ${convolutions.n_filters}`);
    }
    if (convolutions.kernel_size < 1) complain(['seanet', 'kernel_size'], 'must be positive');
  });

export type SeanetConfig = Readonly<Omit<z.infer<typeof seanet>, 'channels' | 'causal'>>;

export type MimiConfig = {
  readonly frameSamples: number;
  readonly seanet: SeanetConfig;
  /** Latents of the convolutions for each column of codes. */
  readonly latentsPerFrame: number;
  readonly transformer: TransformerConfig;
  readonly quantizer: {
    readonly dimension: number;
    readonly latentDimension: number;
    readonly codebooks: number;
    readonly bins: number;
  };
};

/** The codec of all published Moshi models (loaders.py, `_seanet_kwargs` and its neighbours). */
const BUILT_IN_CONFIG = {
  sample_rate: SAMPLE_RATE,
  channels: 1,
  frame_rate: FRAME_RATE,
  seanet: {
    channels: 1,
    dimension: 512,
    causal: true,
    n_filters: 64,
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
  quantizer: { dimension: 256, n_q: 32, bins: 2048, input_dimension: 512, output_dimension: 512 },
  transformer: {
    d_model: 512,
    num_heads: 8,
    num_layers: 8,
    causal: true,
    layer_scale: 0.01,
    context: 250,
    conv_layout: true,
    max_period: 10000,
    gating: 'none',
    norm: 'layer_norm',
    positional_embedding: 'rope',
    dim_feedforward: 2048,
    input_dimension: 512,
    output_dimensions: [512],
  },
};

/**
 * @param path - The configuration file; null means Kyutai's built-in configuration.
 * @throws CheckpointError naming every field that is wrong or not implemented.
 */
export async function readMimiConfig(path: string | null): Promise<MimiConfig> {
  return path === null
    ? parseMimiConfig(BUILT_IN_CONFIG, 'built-in Mimi configuration')
    : parseMimiConfig(await readJson(path), path);
}

/** @param path - Where `json` was read, for messages. */
export function parseMimiConfig(json: unknown, path: string): MimiConfig {
  const config = checkJson(schema, json, path);
  const { transformer: attention, quantizer } = config;
  const frameSamples = SAMPLE_RATE / FRAME_RATE;
  const hopSamples = config.seanet.ratios.reduce((product, ratio) => product * ratio, 1);
  return {
    frameSamples,
    seanet: config.seanet,
    latentsPerFrame: frameSamples / hopSamples,
    transformer: {
      dimension: attention.d_model,
      heads: attention.num_heads,
      headsPerKey: attention.kv_repeat,
      layers: attention.num_layers,
      hidden:
        attention.gating === 'none'
          ? attention.dim_feedforward
          : gatedWidth(attention.d_model, attention.dim_feedforward),
      norm: attention.norm,
      gating: attention.gating,
      position: attention.positional_embedding,
      maxPeriod: attention.max_period,
      context: attention.context,
      layerScale: attention.layer_scale !== null,
    },
    quantizer: {
      dimension: quantizer.dimension,
      latentDimension: config.seanet.dimension,
      codebooks: quantizer.n_q,
      bins: quantizer.bins,
    },
  };
}
