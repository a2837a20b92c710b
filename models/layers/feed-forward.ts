/**
 * The feed-forward block of a transformer layer.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/gating.py (ActivationGating: the first half
 * of the rows is the gate, the second the values) and modules/transformer.py (`_ff_block`: erf GELU).
 */
import type { GatingName } from '../checkpoints/transformer-config.ts';
import type { FeedForwardWeights } from '../checkpoints/transformer-weights.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { multiply, split } from '../onnx/tensor-operations.ts';
import { linear } from './linear.ts';

/** x [M, D] → [M, D]; `hidden` is the width between the two linears. */
export function feedForward(
  graph: GraphBuilder,
  x: Value,
  weights: FeedForwardWeights,
  gating: GatingName,
  hidden: number,
): Value {
  const inner = linear(graph, x, weights.input);
  if (gating === 'none') return linear(graph, graph.op('Gelu', [inner]), weights.output);
  const [gate, values] = split(graph, inner, 1, [hidden, hidden]) as [Value, Value];
  return linear(graph, multiply(graph, activate(graph, gate, gating), values), weights.output);
}

function activate(graph: GraphBuilder, x: Value, name: Exclude<GatingName, 'none'>): Value {
  switch (name) {
    case 'silu':
      return multiply(graph, x, graph.op('Sigmoid', [x]));
    case 'gelu':
      return graph.op('Gelu', [x]);
    case 'relu':
      return graph.op('Relu', [x]);
    case 'sigmoid':
      return graph.op('Sigmoid', [x]);
    case 'tanh':
      return graph.op('Tanh', [x]);
    case 'identity':
      return x;
  }
}
