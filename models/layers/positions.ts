/**
 * Positions of queries: rotary angles and additive sinusoids.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/rope.py (`apply_rope`) and
 * moshi/moshi/modules/transformer.py (`create_sin_embedding`). Angles are float32 as there, made
 * from the absolute position, which keeps growing past the length of the cache.
 */
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { multiply, toFloat } from '../onnx/tensor-operations.ts';

export type Rotation = {
  /** [B, T, hd / 2] each. */
  readonly cosine: Value;
  readonly sine: Value;
  /** Whether the pairs are neighbours (2i, 2i+1) or halves (i, i + hd/2). */
  readonly interleaved: boolean;
};

/** Rotation for positions [B, T] (int64), or null when the transformer has none. */
export function rotation(
  graph: GraphBuilder,
  config: TransformerConfig,
  positions: Value,
): Rotation | null {
  if (!config.position.includes('rope')) return null;
  const headWidth = config.dimension / config.heads;
  const step = Math.fround((-Math.log(config.maxPeriod) * 2) / headWidth);
  const frequencies = Float32Array.from({ length: headWidth / 2 }, (_, i) =>
    Math.exp(Math.fround(i * step)),
  );
  const angles = multiply(
    graph,
    graph.op('Unsqueeze', [toFloat(graph, positions), graph.integers([2])]),
    graph.floats(frequencies),
  ); // [B, T, hd / 2]
  return {
    cosine: graph.op('Cos', [angles]),
    sine: graph.op('Sin', [angles]),
    interleaved: config.position !== 'rope_concat',
  };
}

/** Rotates heads [B, H, T, hd]. */
export function rotate(graph: GraphBuilder, heads: Value, by: Rotation): Value {
  return graph.op('RotaryEmbedding', [heads, by.cosine, by.sine], {
    interleaved: by.interleaved ? 1 : 0,
  });
}

/** cos ‖ sin of positions [B, T], to be added to the input: [B, T, D]; null when there is none. */
export function sinusoids(
  graph: GraphBuilder,
  config: TransformerConfig,
  positions: Value,
): Value | null {
  if (config.position !== 'sin' && config.position !== 'sin_rope') return null;
  const half = Math.floor(config.dimension / 2);
  const periods = Float32Array.from({ length: half }, (_, i) =>
    Math.pow(config.maxPeriod, Math.fround(i / (half - 1))),
  );
  const phases = graph.op('Div', [
    graph.op('Unsqueeze', [toFloat(graph, positions), graph.integers([2])]),
    graph.floats(periods),
  ]); // [B, T, D / 2]
  return graph.op('Concat', [graph.op('Cos', [phases]), graph.op('Sin', [phases])], { axis: 2 });
}
