/**
 * How many numbers a model has and how much memory it takes, from its configuration alone: before
 * anything is fetched, opened or built.
 */
import { BLOCKS } from './checkpoints/linear-weight.ts';
import type { LanguageModelConfig } from './checkpoints/language-model-config.ts';
import type { MimiConfig } from './checkpoints/mimi-config.ts';
import type { TransformerConfig } from './checkpoints/transformer-config.ts';
import type { Precision } from './manifest.ts';
import { parameterCount } from './generate/generate-checkpoint.ts';
import { mimiTensors } from './generate/mimi-tensors.ts';

const FLOAT32_BYTES = 4;
const HALF_BYTES = 2;

/** What keys and values are kept in unless asked otherwise, by what the matrices are computed in. */
export const KEY_VALUE_TYPES: Readonly<Record<Precision, 'f32' | 'f16'>> = {
  f32: 'f32',
  bf16: 'f16',
  f16: 'f16',
  q8: 'f16',
  q4: 'f16',
  'q4-128': 'f16',
};
const KEY_VALUE_BYTES = { f32: FLOAT32_BYTES, f16: HALF_BYTES } as const;

/** Numbers of a language model, by part. */
export type ParameterCounts = {
  /** The transformer over time. */
  readonly temporal: number;
  readonly textHead: number;
  /** Embeddings: of them a few rows are read in each step. */
  readonly tables: number;
  /** The transformer over the codebooks of a frame, with what leads into and out of it. */
  readonly depth: number;
};

export function parameterCounts(config: LanguageModelConfig): ParameterCounts {
  const { temporal, depth, textCard, audioCard, codebooks, generatedCodebooks } = config;
  const width = temporal.dimension;
  const inputTables = (textCard + 1 + codebooks * (audioCard + 1)) * width;
  const headBias = config.headBias ? config.textCardOut : 0;
  const counts = {
    temporal: transformer(temporal, 1) + norm(temporal),
    textHead: config.textCardOut * width + headBias,
    tables: inputTables,
    depth: 0,
  };
  if (depth === null) return counts;
  const depthWidth = depth.transformer.dimension;
  const rank = depth.embeddingRank;
  const rows = textCard + 1 + (generatedCodebooks - 1) * (audioCard + 1);
  const projections = rank === null ? 0 : generatedCodebooks * rank * depthWidth;
  return {
    ...counts,
    tables: inputTables + rows * (rank ?? depthWidth) + projections,
    depth:
      transformer(depth.transformer, depth.weightsPerStep ? depth.weightSets : 1) +
      (depth.inputPerSet ? depth.weightSets : 1) * depthWidth * width +
      generatedCodebooks * audioCard * depthWidth,
  };
}

/** @param sets - Of the matrices: the depth transformer may have some for each of its steps. */
function transformer(config: TransformerConfig, sets: number): number {
  const { dimension, headsPerKey, layers, hidden, gating, layerScale } = config;
  const attention = dimension * (dimension + (2 * dimension) / headsPerKey) + dimension ** 2;
  const feedForward = (gating === 'none' ? 2 : 3) * dimension * hidden;
  const scales = layerScale ? 2 * dimension : 0;
  return layers * (sets * (attention + feedForward) + 2 * norm(config) + scales);
}

function norm({ norm: name, dimension }: TransformerConfig): number {
  return name.startsWith('rms_norm') ? dimension : 2 * dimension;
}

export function codecParameterCount(mimi: MimiConfig): number {
  return parameterCount(mimiTensors(mimi));
}

/** Keys and values of a conversation of any length: rings in all transformers, the codec's float32. */
export function bytesPerConversation(
  config: LanguageModelConfig,
  mimi: MimiConfig,
  precision: Precision,
): number {
  const rows = config.guidance === null ? 1 : 2;
  // A model that only listens has no decoder.
  const codecTransformers = config.depth === null ? 1 : 2;
  return (
    rows * ringBytes(config.temporal, KEY_VALUE_BYTES[KEY_VALUE_TYPES[precision]]) +
    codecTransformers * ringBytes(mimi.transformer, FLOAT32_BYTES)
  );
}

function ringBytes(
  { layers, dimension, headsPerKey, context }: TransformerConfig,
  bytesPerNumber: number,
): number {
  return 2 * layers * (dimension / headsPerKey) * context * bytesPerNumber;
}

/**
 * Memory that weights and conversations take on the device that runs them; ONNX Runtime itself comes
 * on top. Tables stay as they are published (16 bits), the codec is float32.
 */
export function memoryBytes(
  config: LanguageModelConfig,
  mimi: MimiConfig,
  precision: Precision,
  conversations: number,
): number {
  const { temporal, textHead, tables, depth } = parameterCounts(config);
  // Where all else is computed in 16 bits, heads are float32 (checkpoints/half-weights.ts).
  const audioHeads =
    (config.depth?.transformer.dimension ?? 0) * config.generatedCodebooks * config.audioCard;
  const widened =
    precision === 'bf16' || precision === 'f16'
      ? (textHead + audioHeads) * (FLOAT32_BYTES - HALF_BYTES)
      : 0;
  return Math.round(
    (temporal + textHead + depth) * bytesPerNumber(precision) +
      widened +
      tables * HALF_BYTES +
      codecParameterCount(mimi) * FLOAT32_BYTES +
      conversations * bytesPerConversation(config, mimi, precision),
  );
}

function bytesPerNumber(precision: Precision): number {
  if (precision === 'f32') return FLOAT32_BYTES;
  if (precision === 'bf16' || precision === 'f16') return HALF_BYTES;
  const { bits, size } = BLOCKS[precision];
  return bits / 8 + (FLOAT32_BYTES + bits / 8) / size;
}
