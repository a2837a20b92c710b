/**
 * Normalisation of the last axis.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/transformer.py (`_rms_norm`,
 * `create_norm_fn`). Everything runs in float32, so the `_f32` forms differ by their epsilon only.
 */
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { NormName } from '../checkpoints/transformer-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { rootMeanSquareNorm } from './device-kernels.ts';

export type NormWeights = {
  readonly norm: NormName;
  readonly dimension: number;
  readonly scale: TensorView;
  /** Layer norms only. */
  readonly bias: TensorView | null;
};

const EPSILON: Readonly<Record<NormName, number>> = {
  layer_norm: 1e-5,
  layer_norm_f32: 1e-8,
  rms_norm: 1e-5,
  rms_norm_f32: 1e-8,
};

/** x [M, D] → [M, D]. The epsilon is added to the mean of squares, inside the root. */
export function normalize(graph: GraphBuilder, x: Value, weights: NormWeights): Value {
  const shape = [weights.dimension];
  const epsilon = EPSILON[weights.norm];
  const scale = graph.weight(weights.scale, shape);
  if (weights.bias === null) return rootMeanSquareNorm(graph, x, scale, epsilon);
  return graph.op('LayerNormalization', [x, scale, graph.weight(weights.bias, shape)], {
    axis: -1,
    epsilon: { float: epsilon },
  });
}
