/**
 * One pre-norm transformer layer, and a whole streaming transformer.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/transformer.py (StreamingTransformerLayer).
 */
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import type {
  AttentionWeights,
  FeedForwardWeights,
  LayerWeights,
} from '../checkpoints/transformer-weights.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, multiply, reshape } from '../onnx/tensor-operations.ts';
import { attentionFrame, cachedAttention } from './cached-attention.ts';
import { feedForward } from './feed-forward.ts';
import { linear } from './linear.ts';
import { normalize } from './norm.ts';

/** The weights that one step uses of a layer. */
export type LayerSet = Omit<LayerWeights, 'attention' | 'feedForward'> & {
  readonly attention: AttentionWeights;
  readonly feedForward: FeedForwardWeights;
};

/** Weight set `set` of a layer; a layer whose steps share their weights has one set for all. */
export function layerSet(layer: LayerWeights, set: number): LayerSet {
  const attention = layer.attention[set] ?? layer.attention[0];
  const feedForwardWeights = layer.feedForward[set] ?? layer.feedForward[0];
  if (attention === undefined || feedForwardWeights === undefined) {
    throw new RangeError(`a layer has no weight set ${set}`);
  }
  return { ...layer, attention, feedForward: feedForwardWeights };
}

/**
 * x [M, D] → [M, D].
 * @param attend - Fused projection [M, (H + 2G)·hd] → attended values [M, H·hd].
 */
export function transformerLayer(
  graph: GraphBuilder,
  config: TransformerConfig,
  layer: LayerSet,
  x: Value,
  attend: (projection: Value) => Value,
): Value {
  const projection = linear(graph, normalize(graph, x, layer.attentionNorm), layer.attention.input);
  const attended = linear(graph, attend(projection), layer.attention.output);
  const afterAttention = add(graph, x, scaled(graph, attended, layer.attentionScale));
  const fed = feedForward(
    graph,
    normalize(graph, afterAttention, layer.feedForwardNorm),
    layer.feedForward,
    config.gating,
    config.hidden,
  );
  return add(graph, afterAttention, scaled(graph, fed, layer.feedForwardScale));
}

function scaled(graph: GraphBuilder, x: Value, scale: TensorView | null): Value {
  return scale === null ? x : multiply(graph, x, graph.weight(scale));
}

/**
 * A transformer that takes `length` positions of a stream a frame: x [B·R·T, D] → [B·R·T, D].
 * @param frames - [B] int64, frames of this stream before this one.
 * @param branches - R: how often every row is computed; see `cachedAttention`.
 */
export function streamingTransformer(
  graph: GraphBuilder,
  config: TransformerConfig,
  layers: readonly LayerWeights[],
  x: Value,
  frames: Value,
  length: number,
  branches = 1,
): Value {
  const frame = graph.scope('positions', () =>
    attentionFrame(graph, config, frames, length, branches),
  );
  const { sinusoids } = frame;
  const shape = [graph.batch * length, branches, config.dimension];
  let hidden =
    sinusoids === null
      ? x
      : reshape(
          graph,
          add(
            graph,
            reshape(graph, x, shape),
            reshape(graph, sinusoids, [graph.batch * length, 1, config.dimension]),
          ),
          [graph.batch * branches * length, config.dimension],
        );
  layers.forEach((layer, index) => {
    hidden = graph.scope(`layer${index}`, () =>
      transformerLayer(graph, config, layerSet(layer, 0), hidden, (projection) =>
        cachedAttention(graph, config, frame, projection),
      ),
    );
  });
  return hidden;
}
