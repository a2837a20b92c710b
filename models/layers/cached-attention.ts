/**
 * Causal self-attention of a stream over a ring of the last C keys and values.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/transformer.py (RingKVCache,
 * StreamingMultiheadAttention). The T new keys are written at (position mod C) before attending,
 * so with T > 1 the first query of a full ring sees one key less than C, as in the reference.
 *
 * Letters: B rows, R branches of a row, T positions of this frame, H query heads, G key heads, C context, hd head width.
 *
 * Slots fill from the first on, and the CPU's Attention computes masked slots like others. So there, as long
 * as not more than half a long ring is filled, attention sees a copy of its filled part, rounded up
 * to whole blocks: a call's frames cost little at first. The masked rest of a block adds exact zeros.
 *
 * Keys and values may be kept in 16 bits: the CPU's Attention widens them piece by piece as it reads, so
 * that a frame takes no longer and memory holds half. Or in 8, see rounded-attention.ts.
 *
 * The ring is written in place: TensorScatter is the only reader of the old ring, attention reads
 * its output. Rows whose position does not move get their current slots overwritten, which is
 * harmless: the same slots are written again before anything reads them.
 */
import assert from 'node:assert/strict';
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import type { TensorType } from '../manifest.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import {
  concatenate,
  modulo,
  multiply,
  reshape,
  split,
  subtract,
  transpose,
  where,
  add,
} from '../onnx/tensor-operations.ts';
import { sinkKeys, slotWithSinks, visibleSinks } from './attention-sinks.ts';
import {
  attention,
  hidden,
  ringWriter,
  scoreType,
  type AttentionShape,
  type RingWriter,
} from './device-kernels.ts';
import { rotate, rotation, sinusoids, type Rotation } from './positions.ts';
import { roundedAttention, roundKeys, roundValues } from './rounded-attention.ts';

/**
 * Slots that are added to the filled part at once. A multiple of what vector code sums at once, so
 * that a row's bits do not depend on how far other rows of the batch are.
 */
const BLOCK_SLOTS = 128;

/** Rings up to this length are not worth a choice. */
const SHORT_RING_SLOTS = 256;

/** What all layers of one transformer share in one frame. */
export type AttentionFrame = {
  /** R: how often every row of the batch is computed, with its own keys and values. */
  readonly branches: number;
  /** T: positions in this frame. */
  readonly length: number;
  readonly rotation: Rotation | null;
  /** [B, T, D] to add to the transformer's input, or null. */
  readonly sinusoids: Value | null;
  /** New keys → all keys that this frame writes. */
  readonly keysToWrite: (keys: Value) => Value;
  readonly writeKeys: RingWriter;
  readonly writeValues: RingWriter;
  /** [B, 1, T, C] in the type of the scores: 0 where the slot is visible to the query, else minus infinity. */
  readonly mask: Value;
  /** The part of a long ring that is filled; null for short rings. */
  readonly filled: {
    /** Bool: at most half of the ring is filled. */
    readonly isSmall: Value;
    /** [1] int64: slots up to the last filled block. */
    readonly end: Value;
    /** [B, 1, T, end] of `mask`; valid where `isSmall`. */
    readonly mask: Value;
  } | null;
};

/**
 * @param frames - [B] int64, frames of this stream before this one.
 * @param length - T: transformer positions per frame.
 * @param branches - R: 1, or for a frame of one position how often every row is computed.
 */
export function attentionFrame(
  graph: GraphBuilder,
  config: TransformerConfig,
  frames: Value,
  length: number,
  branches = 1,
): AttentionFrame {
  const { context, sinks = 0, keyValueType = 'float32' } = config;
  assert(branches === 1 || length === 1, 'branches are of frames of one position');
  assert(sinks === 0 || length === 1, 'sinks are of frames of one position');
  const first = multiply(graph, frames, graph.integers([length])); // [B]
  const queries = add(
    graph,
    reshape(graph, first, [graph.batch, 1]),
    graph.integers(range(length)),
  ); // [B, T]
  const visible =
    sinks === 0
      ? visibility(graph, context, first, queries, length)
      : visibilityWithSinks(graph, context, sinks, first);
  const mask = graph.cast(visible, scoreType(graph, keyValueType));
  const slot = sinks === 0 ? modulo(graph, first, context) : slotWithSinks(graph, config, first);
  const keyHeads = (branches * config.heads) / config.headsPerKey;
  const writeRing = ringWriter(graph, slot, { keyHeads, length, context });
  const sinkRing =
    sinks === 0 ? null : sinkKeys(graph, config, { position: first, slot, keyHeads });
  return {
    branches,
    length,
    rotation: rotation(graph, config, queries),
    sinusoids: sinusoids(graph, config, queries),
    keysToWrite: sinkRing?.toWrite ?? ((keys) => keys),
    writeKeys: sinkRing?.write ?? writeRing,
    writeValues: writeRing,
    mask,
    filled:
      context <= SHORT_RING_SLOTS || graph.device !== 'cpu'
        ? null
        : filledPart(graph, context, first, length, mask),
  };
}

/** Of all rows together: the ring's slots up to the block of the furthest row's newest key. */
function filledPart(
  graph: GraphBuilder,
  context: number,
  first: Value,
  length: number,
  mask: Value,
): NonNullable<AttentionFrame['filled']> {
  const furthest = graph.op('ReduceMax', [first], { keepdims: 1 }); // [1]
  const lastBlock = graph.op('Div', [
    add(graph, furthest, graph.integers([length - 1])),
    graph.integers([BLOCK_SLOTS]),
  ]);
  const blocks = add(graph, lastBlock, graph.integers([1]));
  const end = multiply(graph, blocks, graph.integers([BLOCK_SLOTS]));
  const small = graph.op('LessOrEqual', [end, graph.integers([Math.floor(context / 2)])]);
  return {
    isSmall: reshape(graph, small, []),
    end,
    mask: firstSlots(graph, mask, end, 3),
  };
}

/** Slots of `axis` up to `end`, at most all. */
function firstSlots(graph: GraphBuilder, value: Value, end: Value, axis: number): Value {
  return graph.op('Slice', [value, graph.integers([0]), end, graph.integers([axis])]);
}

/**
 * Slot j holds position `last - ((last - j) mod C)` after the write, where `last` is the newest
 * position; a query sees it when it exists, is not in its future, and lies within C.
 */
function visibility(
  graph: GraphBuilder,
  context: number,
  first: Value,
  queries: Value,
  length: number,
): Value {
  const last = add(graph, reshape(graph, first, [graph.batch, 1]), graph.integers([length - 1])); // [B, 1]
  const age = modulo(graph, subtract(graph, last, graph.integers(range(context))), context);
  const held = reshape(graph, subtract(graph, last, age), [graph.batch, 1, 1, context]);
  const query = reshape(graph, queries, [graph.batch, 1, length, 1]);
  const distance = subtract(graph, query, held); // [B, 1, T, C]
  const zero = graph.integers([0]);
  const conditions = [
    graph.op('GreaterOrEqual', [held, zero]),
    graph.op('GreaterOrEqual', [distance, zero]),
    graph.op('Less', [distance, graph.integers([context])]),
  ];
  const visible = conditions.reduce((a, b) => graph.op('And', [a, b]));
  return where(graph, visible, graph.floats([0], []), graph.floats([hidden(graph)], []));
}

/** The same where the first slots are sinks: the others are a ring of their own, which begins later. */
function visibilityWithSinks(
  graph: GraphBuilder,
  context: number,
  sinks: number,
  position: Value,
): Value {
  const moving = subtract(graph, position, graph.integers([sinks]));
  const row = reshape(graph, moving, [graph.batch, 1]);
  const window = visibility(graph, context - sinks, moving, row, 1);
  const first = where(
    graph,
    visibleSinks(graph, sinks, position),
    graph.floats([0], []),
    graph.floats([hidden(graph)], []),
  );
  return concatenate(graph, [first, window], 3);
}

/**
 * Fused queries, keys and values [B·R·T, (H + 2G)·hd] → attended values [B·R·T, H·hd] in the type of
 * keys and values.
 *
 * The branches of a row are so many more heads of its one ring [B, R·G, C, hd]: they share positions
 * and mask, and whoever starts or moves a row moves all of them.
 */
export function cachedAttention(
  graph: GraphBuilder,
  config: TransformerConfig,
  frame: AttentionFrame,
  projection: Value,
): Value {
  const { batch } = graph;
  const { length, branches } = frame;
  const { context, heads } = config;
  const keyHeads = heads / config.headsPerKey;
  const headWidth = config.dimension / heads;
  const allHeads = heads + 2 * keyHeads;
  // [B, H + 2G, T, hd]; with one position the transposition is only a change of shape.
  const separated =
    length === 1
      ? reshape(graph, projection, [batch * branches, allHeads, 1, headWidth])
      : transpose(
          graph,
          reshape(graph, projection, [batch, length, allHeads, headWidth]),
          [0, 2, 1, 3],
        );
  const [queries, keys, values] = splitHeads(graph, config, separated, frame);
  const attended = graph.scope('attention', () =>
    attend(
      graph,
      config,
      frame,
      { queries, keys, values },
      {
        rows: batch,
        heads: branches * heads,
        keyHeads: branches * keyHeads,
        length,
        slots: context,
        headWidth,
      },
    ),
  );
  const ordered = length === 1 ? attended : transpose(graph, attended, [0, 2, 1, 3]);
  return reshape(graph, ordered, [batch * branches * length, heads * headWidth]);
}

/** Writes new keys and values [B, R·G, T, hd] and attends with queries [B, R·H, T, hd] → [B, R·H, T, hd]. */
function attend(
  graph: GraphBuilder,
  config: TransformerConfig,
  frame: AttentionFrame,
  { queries, keys, values }: { queries: Value; keys: Value; values: Value },
  shape: AttentionShape,
): Value {
  const { keyHeads, slots, headWidth } = shape;
  const { keyValueType = 'float32' } = config;
  const ring = (
    name: string,
    [type, width]: readonly [TensorType, number],
    write: RingWriter,
    next: Value,
  ): Value => {
    const state = graph.state(name, type, [keyHeads, slots, width], frame.length);
    const written = write(state, next);
    graph.setState(state, written);
    return written;
  };
  const { writeKeys, writeValues } = frame;
  const newKeys = frame.keysToWrite(keys);
  if (keyValueType === 'int8') {
    assert(frame.length === 1, 'keys and values of 8 bits are of frames of one position');
    const key = roundKeys(graph, newKeys);
    const value = roundValues(graph, values);
    const keyRing = ring('keys', ['uint8', headWidth], writeKeys, key.numbers);
    const keyScales = ring('key_scales', ['float32', 1], writeKeys, key.scales);
    const valueRing = ring('values', ['int8', headWidth], writeValues, value.numbers);
    const valueScales = ring('value_scales', ['float32', 1], writeValues, value.scales);
    return overFilled(graph, frame, (filled, mask) =>
      roundedAttention(
        graph,
        queries,
        { numbers: filled(keyRing), scales: filled(keyScales) },
        { numbers: filled(valueRing), scales: filled(valueScales) },
        mask,
        shape,
      ),
    );
  }
  const keyRing = ring('keys', [keyValueType, headWidth], writeKeys, newKeys);
  const valueRing = ring('values', [keyValueType, headWidth], writeValues, values);
  // Not once more in each branch.
  const narrow = frame.filled === null ? queries : graph.cast(queries, keyValueType);
  return overFilled(graph, frame, (filled, mask) =>
    attention(graph, narrow, filled(keyRing), filled(valueRing), mask, shape),
  );
}

/**
 * @param attendTo - Composes the attention over rings, slots on axis 2, each of which must go through
 *   `filled`: what of it is to be read. `mask` is that of these slots.
 */
function overFilled(
  graph: GraphBuilder,
  { filled: part, mask }: AttentionFrame,
  attendTo: (filled: (ring: Value) => Value, mask: Value) => Value,
): Value {
  const whole = (): Value => attendTo((ring) => ring, mask);
  if (part === null) return whole();
  return graph.choose(
    part.isSmall,
    () => attendTo((ring) => firstSlots(graph, ring, part.end, 2), part.mask),
    whole,
  );
}

/**
 * [B·R, H + 2G, T, hd] → rotated queries [B, R·H, T, hd], rotated keys and values [B, R·G, T, hd]; one
 * rotation serves both.
 */
function splitHeads(
  graph: GraphBuilder,
  { dimension, heads, headsPerKey }: TransformerConfig,
  separated: Value,
  { rotation: by, branches, length }: AttentionFrame,
): [Value, Value, Value] {
  const keyHeads = heads / headsPerKey;
  const join = (x: Value, count: number): Value =>
    branches === 1
      ? x
      : reshape(graph, x, [graph.batch, branches * count, length, dimension / heads]);
  if (by === null) {
    const [queries, keys, values] = split(graph, separated, 1, [heads, keyHeads, keyHeads]) as [
      Value,
      Value,
      Value,
    ];
    return [join(queries, heads), join(keys, keyHeads), join(values, keyHeads)];
  }
  const [turning, values] = split(graph, separated, 1, [heads + keyHeads, keyHeads]) as [
    Value,
    Value,
  ];
  const turned = rotate(graph, join(turning, heads + keyHeads), by, {
    rows: graph.batch,
    length,
    headWidth: dimension / heads,
  });
  const apart =
    branches === 1
      ? turned
      : reshape(graph, turned, [
          graph.batch * branches,
          heads + keyHeads,
          length,
          dimension / heads,
        ]);
  const [queries, keys] = split(graph, apart, 1, [heads, keyHeads]) as [Value, Value];
  return [join(queries, heads), join(keys, keyHeads), join(values, keyHeads)];
}

/** Attention of one new position over the `keys` and `values` of all positions so far. */
export function growingAttention(
  graph: GraphBuilder,
  query: Value,
  keys: readonly Value[],
  values: readonly Value[],
  shape: Pick<AttentionShape, 'rows' | 'heads' | 'keyHeads' | 'headWidth'>,
): Value {
  const allKeys = concatenate(graph, keys, 2);
  const allValues = concatenate(graph, values, 2);
  const sizes = { ...shape, length: 1, slots: keys.length };
  return attention(graph, query, allKeys, allValues, null, sizes);
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
