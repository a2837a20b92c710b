/**
 * Positions of queries: rotary angles and additive sinusoids.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/rope.py (`apply_rope`) and
 * moshi/moshi/modules/transformer.py (`create_sin_embedding`). Angles are float32 as there, made
 * from the absolute position, which keeps growing past the length of the cache.
 *
 * A product in float32 is off by half a radian after a month of frames, and positions beyond 2^24
 * have no float32 of their own. So only the position within a block is multiplied as in the
 * reference, whose bits these are in the first block; the turns of whole blocks are counted in integers.
 */
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, modulo, multiply, toFloat } from '../onnx/tensor-operations.ts';
import { rotaryEmbedding } from './device-kernels.ts';

export type Rotation = {
  /** [B, T, hd / 2] each. */
  readonly cosine: Value;
  readonly sine: Value;
  /** Whether the pairs are neighbours (2i, 2i+1) or halves (i, i + hd/2). */
  readonly interleaved: boolean;
};

/** Positions whose angles are the reference's own, a power of two: its rounding error grows with them. */
const BLOCK_POSITIONS = 1024;
/** Parts of a full turn; products with a block's number stay within int64 for 2^33 positions, 21 years. */
const TURN_PARTS = 2 ** 40;

/**
 * Angles [B, T, n] of positions [B, T] (int64, not negative) at n frequencies, up to whole turns: to
 * 1e-4 wherever they are.
 *
 * @param frequencies - Radians per position, positive.
 * @param within - Angles of positions within a block, [B, T, 1] float32, as the reference computes them.
 */
function exactAngles(
  graph: GraphBuilder,
  positions: Value,
  frequencies: readonly number[],
  within: (positions: Value) => Value,
): Value {
  const column = graph.op('Unsqueeze', [positions, graph.integers([2])]); // [B, T, 1]
  const block = graph.op('Div', [column, graph.integers([BLOCK_POSITIONS])]);
  const partsPerBlock = frequencies.map((frequency) => {
    const turns = (frequency * BLOCK_POSITIONS) / (2 * Math.PI);
    return Math.round((turns - Math.floor(turns)) * TURN_PARTS) % TURN_PARTS;
  });
  const parts = modulo(graph, multiply(graph, block, graph.integers(partsPerBlock)), TURN_PARTS);
  const before = multiply(graph, toFloat(graph, parts), graph.floats([(2 * Math.PI) / TURN_PARTS])); // [B, T, n]
  return add(graph, within(toFloat(graph, modulo(graph, column, BLOCK_POSITIONS))), before);
}

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
  const angles = exactAngles(graph, positions, [...frequencies], (within) =>
    multiply(graph, within, graph.floats(frequencies)),
  ); // [B, T, hd / 2]
  return {
    cosine: graph.op('Cos', [angles]),
    sine: graph.op('Sin', [angles]),
    interleaved: config.position !== 'rope_concat',
  };
}

/** Rotates heads [B, H, T, hd]. */
export function rotate(
  graph: GraphBuilder,
  heads: Value,
  by: Rotation,
  shape: { rows: number; length: number; headWidth: number },
): Value {
  return rotaryEmbedding(graph, heads, by, shape);
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
  const frequencies = Array.from(periods, (period) => 1 / period);
  const phases = exactAngles(graph, positions, frequencies, (within) =>
    graph.op('Div', [within, graph.floats(periods)]),
  ); // [B, T, D / 2]
  return graph.op('Concat', [graph.op('Cos', [phases]), graph.op('Sin', [phases])], { axis: 2 });
}
