/**
 * The options of `StreamingTransformer` (kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/transformer.py)
 * as our layers understand them; the schemas of the language model and of the codec end in it.
 */
import { z } from 'zod';

export const normName = z.enum(['layer_norm', 'layer_norm_f32', 'rms_norm', 'rms_norm_f32']);
export type NormName = z.infer<typeof normName>;

export const positionName = z.enum(['none', 'sin', 'sin_rope', 'rope', 'rope_concat']);
export type PositionName = z.infer<typeof positionName>;

/** `none` is two linears with a GELU between; every other name is the activation of a gate. */
export const gatingName = z.enum(['none', 'silu', 'gelu', 'relu', 'sigmoid', 'tanh', 'identity']);
export type GatingName = z.infer<typeof gatingName>;

export type TransformerConfig = {
  readonly dimension: number;
  readonly heads: number;
  /** Query heads that share one key and value head. */
  readonly headsPerKey: number;
  readonly layers: number;
  /** Width inside the feed-forward block, after the gate. */
  readonly hidden: number;
  readonly norm: NormName;
  readonly gating: GatingName;
  readonly position: PositionName;
  readonly maxPeriod: number;
  /** Keys that a query sees, itself included. */
  readonly context: number;
  /** Of these keys, so many are the first of the stream, for ever; none if missing. */
  readonly sinks?: number;
  readonly layerScale: boolean;
  /**
   * Of keys and values that are kept between frames; float32 if absent. `int8` is for frames of one
   * position.
   */
  readonly keyValueType?: 'float32' | 'float16' | 'int8';
};

/** Width inside a gated block for a given `dim_feedforward` (modules/gating.py, ActivationGating). */
export function gatedWidth(dimension: number, feedForward: number): number {
  return feedForward === 4 * dimension
    ? Math.floor((21 * dimension) / 8)
    : Math.floor((2 * feedForward) / 3);
}

/** What the heads demand of the width; the text continues the sentence "field …", or is null. */
export function headsProblem(
  dimension: number,
  heads: number,
  headsPerKey: number,
  position: PositionName,
): string | null {
  if (dimension % heads !== 0) {
    return `must divide the width ${dimension}, found ${heads}`;
  }
  if (heads % headsPerKey !== 0) {
    return `must be a multiple of kv_repeat ${headsPerKey}, found ${heads}`;
  }
  if (position.includes('rope') && (dimension / heads) % 2 !== 0) {
    return `must leave an even head width for rope, found ${dimension / heads}`;
  }
  return null;
}
