/**
 * Operations that a device may lack a kernel for, each in terms of those it has: what it lacks would
 * run on the CPU, and what it reads and writes would travel.
 *
 * ONNX Runtime's WebGPU provider (1.30) has neither TensorScatter, Attention, Sum nor GatherElements.
 * The CUDA provider's kernels of Reshape, Cast, Transpose and TopK end at opset 23, those of Elu, Sin
 * and Cos at 21, so graphs for both are of an opset before RMSNormalization, RotaryEmbedding, Attention
 * and TensorScatter (microsoft/onnxruntime@001d12d docs/OperatorKernels.md).
 *
 * Its kernels of ReduceMin and ArgMax call cuDNN, 900 MB of libraries that nothing else needs.
 *
 * Letters: B rows, H query heads, G key heads, T positions, C slots, hd head width.
 */
import type { DataType } from '../onnx/data-types.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import {
  add,
  concatenate,
  modulo,
  multiply,
  reshape,
  split,
  transpose,
} from '../onnx/tensor-operations.ts';

/** What hides a slot or a candidate. Shaders may take infinities for impossible. */
export function hidden(graph: GraphBuilder): number {
  return graph.device === 'webgpu' ? -1e30 : -Infinity;
}

/**
 * What attention's scores, and the mask that is added to them, are computed in. Kernels for 16 bits
 * take sums of their exponentials in 32, but WebGPU's: there thousands of them would lose each other.
 */
export function scoreType(graph: GraphBuilder, keyValueType: DataType): DataType {
  return graph.device === 'webgpu' || keyValueType === 'int8' ? 'float32' : keyValueType;
}

/** Writes T new vectors of any type into slots of a ring, in the ring's. */
export type RingWriter = (ring: Value, next: Value) => Value;

/**
 * @param slot - [B] int64: where the first new vector goes.
 * @returns (ring [B, G, C, hd], next [B, G, T, hd]) → the ring with them, in place.
 */
export function ringWriter(
  graph: GraphBuilder,
  slot: Value,
  shape: { keyHeads: number; length: number; context: number },
): RingWriter {
  if (graph.device === 'cpu') {
    return (ring, next) =>
      graph.op('TensorScatter', [ring, graph.cast(next, graph.typeOf(ring)), slot], {
        mode: 'circular',
      });
  }
  const { length, context } = shape;
  const slots = modulo(
    graph,
    add(graph, reshape(graph, slot, [graph.batch, 1]), graph.integers(range(length))),
    context,
  );
  const indices = slotIndices(graph, slots, shape);
  return (ring, next) =>
    graph.op('ScatterND', [ring, indices, graph.cast(next, graph.typeOf(ring))]);
}

/** Slots [B, T] of rings, the same for all G heads → what ScatterND takes for them, [B, G, T, 3]. */
export function slotIndices(
  graph: GraphBuilder,
  slots: Value,
  { keyHeads, length }: { keyHeads: number; length: number },
): Value {
  const { batch } = graph;
  const size = [batch, keyHeads, length, 1];
  const everywhere = (of: (row: number, head: number) => number): Value =>
    graph.integers(
      range(batch).flatMap((row) =>
        range(keyHeads).flatMap((head) => range(length).map(() => of(row, head))),
      ),
      size,
    );
  return concatenate(
    graph,
    [
      everywhere((row) => row),
      everywhere((_, head) => head),
      graph.op('Expand', [reshape(graph, slots, [batch, 1, length, 1]), graph.integers(size)]),
    ],
    3,
  );
}

/**
 * Queries [B, H, T, hd] of any type over keys and values [B, G, C, hd] of one → [B, H, T, hd] of that.
 * @param mask - [B, 1, T, C] of `scoreType` to add to the scores, or null.
 */
export function attention(
  graph: GraphBuilder,
  queries: Value,
  keys: Value,
  values: Value,
  mask: Value | null,
  shape: AttentionShape,
): Value {
  const type = graph.typeOf(keys);
  if (graph.device === 'cpu') {
    const narrow = graph.cast(queries, type);
    return graph.op('Attention', [narrow, keys, values, ...(mask === null ? [] : [mask])]);
  }
  const { rows, heads, keyHeads, length, slots, headWidth } = shape;
  const shared = heads / keyHeads;
  const scaled = graph.cast(
    multiply(graph, queries, graph.floats([1 / Math.sqrt(headWidth)])),
    type,
  );
  // The ring is the larger operand and stays as it is: queries are turned, and scores back.
  const columns =
    shared * length === 1
      ? reshape(graph, scaled, [rows, keyHeads, headWidth, 1])
      : transpose(
          graph,
          reshape(graph, scaled, [rows, keyHeads, shared * length, headWidth]),
          [0, 1, 3, 2],
        );
  const upright = graph.cast(graph.op('MatMul', [keys, columns]), scoreType(graph, type)); // [B, G, C, r·T]
  const scores = reshape(
    graph,
    shared * length === 1 ? upright : transpose(graph, upright, [0, 1, 3, 2]),
    [rows, heads, length, slots],
  );
  const weights = graph.op('Softmax', [mask === null ? scores : add(graph, scores, mask)], {
    axis: -1,
  });
  const attended = graph.op('MatMul', [
    reshape(graph, graph.cast(weights, type), [rows, keyHeads, shared * length, slots]),
    values,
  ]);
  return reshape(graph, attended, [rows, heads, length, headWidth]);
}

export type AttentionShape = {
  readonly rows: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly length: number;
  readonly slots: number;
  readonly headWidth: number;
};

/** x / √(mean of squares + epsilon) · scale. */
export function rootMeanSquareNorm(
  graph: GraphBuilder,
  x: Value,
  scale: Value,
  epsilon: number,
): Value {
  const type = graph.device === 'cpu' ? 'RMSNormalization' : 'SimplifiedLayerNormalization';
  return graph.op(type, [x, scale], { axis: -1, epsilon: { float: epsilon } });
}

/**
 * Rotates heads [B, H, T, hd].
 * @param cosine - [B, T, hd / 2], as `sine`.
 */
export function rotaryEmbedding(
  graph: GraphBuilder,
  heads: Value,
  by: { cosine: Value; sine: Value; interleaved: boolean },
  shape: { rows: number; length: number; headWidth: number },
): Value {
  const interleaved = by.interleaved ? 1 : 0;
  if (graph.device === 'cpu') {
    return graph.op('RotaryEmbedding', [heads, by.cosine, by.sine], { interleaved });
  }
  const { rows, length, headWidth } = shape;
  const table = (values: Value): Value => reshape(graph, values, [rows * length, headWidth / 2]);
  const lines = graph.integers(range(rows * length), [rows, length]);
  return graph.contributedOp('RotaryEmbedding', [heads, lines, table(by.cosine), table(by.sine)], {
    interleaved,
  });
}

export function sum(graph: GraphBuilder, values: readonly Value[]): Value {
  return graph.device === 'webgpu'
    ? values.reduce((a, b) => add(graph, a, b))
    : graph.op('Sum', values);
}

/** The lowest of each row of ids [B, n] int64: [B, 1]. */
export function lowest(graph: GraphBuilder, ids: Value, n: number): Value {
  if (graph.device !== 'cuda') {
    return graph.op('ReduceMin', [ids, graph.integers([1])], { keepdims: 1 });
  }
  const columns = n === 1 ? [ids] : split(graph, ids, 1, Array<number>(n).fill(1));
  return graph.op('Min', columns);
}

/** Of ids [B, n] int64 those at `places` [B, 1] → [B, 1]. */
export function pickIds(graph: GraphBuilder, ids: Value, places: Value, n: number): Value {
  if (graph.device !== 'webgpu') return graph.op('GatherElements', [ids, places], { axis: 1 });
  const { batch } = graph;
  const all = reshape(graph, graph.cast(ids, 'int32'), [batch * n]);
  const starts = graph.integers(
    range(batch).map((row) => row * n),
    [batch, 1],
  );
  const picked = graph.op('Gather', [all, add(graph, places, starts)], { axis: 0 });
  return graph.cast(picked, 'int64');
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
