/**
 * Attention sinks: the first n positions of a stream stay visible for ever, in a ring whose other slots
 * go on. Models whose heads rest on the first positions, as most do, stay themselves when those
 * would be forgotten.
 *
 * Source: Xiao et al., Efficient Streaming Language Models with Attention Sinks (arXiv 2309.17453,
 * section 3.2): what counts is the position within the cache, not in the text. So once the window has
 * left the sinks behind, they move with it, always just before its oldest position: no query is ever
 * further from a key than C - 1. Until then every bit is that of a ring without sinks.
 *
 * The ring's slots 0 to n - 1 hold the sinks, all others the window. The keys of sinks are kept aside
 * as they were written, rotated anew for where they are now, and written in the same operation as the
 * new key: the ring is still changed in place, and no error grows.
 *
 * Letters: B rows, G key heads of all branches, C context, W = C - n, hd head width.
 */
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import {
  add,
  concatenate,
  modulo,
  reshape,
  slice,
  subtract,
  where,
} from '../onnx/tensor-operations.ts';
import { ringWriter, slotIndices, type RingWriter } from './device-kernels.ts';
import { rotate, rotation } from './positions.ts';

/** @param position - [B] int64. @returns [B] int64: the slot of that position's key and value. */
export function slotWithSinks(
  graph: GraphBuilder,
  { context, sinks = 0 }: TransformerConfig,
  position: Value,
): Value {
  const count = graph.integers([sinks]);
  const moving = modulo(graph, subtract(graph, position, count), context - sinks);
  const isSink = graph.op('Less', [position, count]);
  return where(graph, isSink, position, add(graph, moving, count));
}

/** @returns [B, 1, 1, n] bool: which sinks exist for queries at `position` [B] int64. */
export function visibleSinks(graph: GraphBuilder, count: number, position: Value): Value {
  const query = reshape(graph, position, [graph.batch, 1, 1, 1]);
  return graph.op('GreaterOrEqual', [query, graph.integers(range(count))]);
}

/** How keys come into a ring whose sinks move on. */
export type SinkKeys = {
  /** A new key [B, G, 1, hd] → what is to be written with it: sinks where they are now, [B, G, n + 1, hd]. */
  readonly toWrite: (key: Value) => Value;
  /** Writes that, or as many numbers that go with them, into a ring. */
  readonly write: RingWriter;
};

/**
 * @param position - [B] int64 of the new key. @param slot - [B] int64, as `slotWithSinks`.
 * @param keyHeads - G.
 */
export function sinkKeys(
  graph: GraphBuilder,
  config: TransformerConfig,
  { position, slot, keyHeads }: { position: Value; slot: Value; keyHeads: number },
): SinkKeys {
  const { context, sinks: count = 0 } = config;
  const column = [graph.batch, 1];
  const headWidth = config.dimension / config.heads;
  // The last of these slots takes every key that is no sink, and nobody reads it.
  const keepAside = ringWriter(graph, graph.op('Min', [position, graph.integers([count])]), {
    keyHeads,
    length: 1,
    context: count + 1,
  });
  const behind = subtract(graph, position, graph.integers([context - 1]));
  const moved = reshape(graph, graph.op('Max', [behind, graph.integers([0])]), column);
  const turn = rotation(graph, config, add(graph, moved, graph.integers(range(count, () => 0)))); // [B, n]
  const slots = concatenate(
    graph,
    [
      graph.integers(
        range(graph.batch).flatMap(() => range(count)),
        [graph.batch, count],
      ),
      reshape(graph, slot, column),
    ],
    1,
  );
  const indices = slotIndices(graph, slots, { keyHeads, length: count + 1 });
  const toWrite = (key: Value): Value => {
    const state = graph.state('sink_keys', 'float32', [keyHeads, count + 1, headWidth]);
    const aside = keepAside(state, key);
    graph.setState(state, aside);
    const still = slice(graph, aside, 2, 0, count);
    const shape = { rows: graph.batch, length: count, headWidth };
    const now = turn === null ? still : rotate(graph, still, turn, shape);
    return concatenate(graph, [now, key], 2);
  };
  return {
    toWrite,
    write: (ring, next) =>
      graph.op('ScatterND', [ring, indices, graph.cast(next, graph.typeOf(ring))]),
  };
}

function range(length: number, of = (index: number): number => index): number[] {
  return Array.from({ length }, (_, index) => of(index));
}
