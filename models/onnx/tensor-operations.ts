/**
 * Short names for the ONNX operators that layers use most. Shapes follow numpy's broadcasting.
 */
import type { GraphBuilder, Value } from './graph-builder.ts';

export function add(graph: GraphBuilder, a: Value, b: Value): Value {
  return graph.op('Add', [a, b]);
}

export function subtract(graph: GraphBuilder, a: Value, b: Value): Value {
  return graph.op('Sub', [a, b]);
}

export function multiply(graph: GraphBuilder, a: Value, b: Value): Value {
  return graph.op('Mul', [a, b]);
}

/** Element by element: `condition` ? `a` : `b`. */
export function where(graph: GraphBuilder, condition: Value, a: Value, b: Value): Value {
  return graph.op('Where', [condition, a, b]);
}

/** Integer remainder with the sign of the divisor, so that it can index a ring. */
export function modulo(graph: GraphBuilder, a: Value, divisor: number): Value {
  return graph.op('Mod', [a, graph.integers([divisor])]);
}

export function reshape(graph: GraphBuilder, value: Value, shape: readonly number[]): Value {
  return graph.op('Reshape', [value, graph.integers(shape)]);
}

export function transpose(graph: GraphBuilder, value: Value, order: readonly number[]): Value {
  return graph.op('Transpose', [value], { perm: order });
}

/** Joins along `axis`; a single value is returned as it is. */
export function concatenate(graph: GraphBuilder, values: readonly Value[], axis: number): Value {
  const [first] = values;
  return values.length === 1 && first !== undefined ? first : graph.op('Concat', values, { axis });
}

/** Elements `start` up to, not including, `end` of `axis`. */
export function slice(
  graph: GraphBuilder,
  value: Value,
  axis: number,
  start: number,
  end: number,
): Value {
  return graph.op('Slice', [
    value,
    graph.integers([start]),
    graph.integers([end]),
    graph.integers([axis]),
  ]);
}

/** Cuts `axis` into pieces of the given sizes. */
export function split(
  graph: GraphBuilder,
  value: Value,
  axis: number,
  sizes: readonly number[],
): Value[] {
  return graph.ops('Split', [value, graph.integers(sizes)], sizes.length, { axis });
}

export function toFloat(graph: GraphBuilder, value: Value): Value {
  return graph.cast(value, 'float32');
}
