/**
 * Attention over keys and values of 8 bits, by the processor's products of whole numbers.
 *
 * Every vector of a head is kept as whole numbers from -127 to 127 and one float32: what they count in.
 * Nothing is widened: queries and weights become whole numbers as well, of so many digits that only
 * the rounding of keys and values is felt. A digit is one more column of a product that reads every
 * key, or value, once. A key's scale is applied to its scores, a value's to its weight.
 *
 * With digits to base 128 no sum of two products leaves 16 bits, where older x86 processors saturate
 * silently: 2 · 255 · 64 for scores, 2 · 127 · 127 for values. Sums of whole numbers are exact, so a
 * row's bits depend neither on the batch nor on how much of a ring is read.
 *
 * Letters: B rows, G key heads, r queries of a key head, C slots, hd head width, d digits.
 */
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import {
  add,
  concatenate,
  multiply,
  reshape,
  subtract,
  toFloat,
  transpose,
} from '../onnx/tensor-operations.ts';

/** Largest number of 8 bits whose negative is one as well. */
const LARGEST = 127;
/** Keys are stored so much higher: the fast products take their first operand without a sign. */
const KEY_ZERO = 128;
const BASE = 128;
/** What the digits 64 and -64 make, so that a query has two digits of at most 64: 14 bits. */
const LARGEST_QUERY = 64 * BASE - 64;
/** 21 bits: thousands of weights that are each far below the largest must keep their sum. */
const WEIGHT_DIGITS = 3;
/** In place of 0, by which nothing can be divided. */
const TINY = 1e-30;

/** Vectors as whole numbers [B, G, T, hd] of any type, and what they count in, [B, G, T, 1] float32. */
export type Rounded = { readonly numbers: Value; readonly scales: Value };

/** @param keys - [B, G, T, hd] float32. @returns numbers to be kept as uint8. */
export function roundKeys(graph: GraphBuilder, keys: Value): Rounded {
  const { numbers, scales } = rounded(graph, keys, LARGEST);
  return { numbers: add(graph, numbers, graph.floats([KEY_ZERO])), scales };
}

/** @param values - [B, G, T, hd] float32. @returns numbers to be kept as int8. */
export function roundValues(graph: GraphBuilder, values: Value): Rounded {
  return rounded(graph, values, LARGEST);
}

/** Divides each vector of the last axis so that its largest number is `largest`; both are float32. */
function rounded(graph: GraphBuilder, vectors: Value, largest: number): Rounded {
  const peak = graph.op('ReduceMax', [graph.op('Abs', [vectors]), graph.integers([-1])], {
    keepdims: 1,
  });
  const some = add(graph, peak, graph.floats([TINY]));
  const factor = graph.op('Div', [graph.floats([largest]), some]);
  return {
    numbers: graph.op('Round', [multiply(graph, vectors, factor)]),
    scales: multiply(graph, some, graph.floats([1 / largest])),
  };
}

/**
 * Queries [B, G·r, 1, hd] over rings of rounded keys and values → [B, G·r, 1, hd].
 *
 * @param mask - [B, 1, 1, C] to add to the scores.
 */
export function roundedAttention(
  graph: GraphBuilder,
  queries: Value,
  keys: Rounded,
  values: Rounded,
  mask: Value,
  shape: { heads: number; keyHeads: number; headWidth: number },
): Value {
  const { heads, keyHeads, headWidth } = shape;
  const shared = heads / keyHeads;
  const grouped = reshape(graph, queries, [graph.batch, keyHeads, shared, headWidth]);
  const scores = multiply(
    graph,
    keyProducts(graph, grouped, keys.numbers, { keyHeads, shared, headWidth }),
    upright(graph, keys.scales, keyHeads),
  );
  const weights = graph.op('Softmax', [add(graph, scores, mask)], { axis: -1 });
  const scaled = multiply(graph, weights, upright(graph, values.scales, keyHeads));
  const attended = weightedSum(graph, scaled, values.numbers, shared);
  return reshape(graph, attended, [graph.batch, heads, 1, headWidth]);
}

/** [B, G, C, 1] → [B, G, 1, C]. */
function upright(graph: GraphBuilder, scales: Value, keyHeads: number): Value {
  return reshape(graph, scales, [graph.batch, keyHeads, 1, -1]);
}

/**
 * Products of queries [B, G, r, hd] with keys, by the root of the head width: [B, G, r, C], still to be
 * multiplied by the scales of the keys.
 */
function keyProducts(
  graph: GraphBuilder,
  queries: Value,
  keys: Value,
  { keyHeads, shared, headWidth }: { keyHeads: number; shared: number; headWidth: number },
): Value {
  const { numbers, scales } = rounded(graph, queries, LARGEST_QUERY);
  const upper = graph.op('Round', [multiply(graph, numbers, graph.floats([1 / BASE]))]);
  const lower = subtract(graph, numbers, multiply(graph, upper, graph.floats([BASE])));
  const digits = graph.cast(concatenate(graph, [lower, upper], 2), 'int8'); // [B, G, d·r, hd]
  const columns = transpose(graph, digits, [0, 1, 3, 2]);
  const products = graph.op('MatMulInteger', [keys, columns, graph.byte(KEY_ZERO)]); // [B, G, C, d·r]
  const places = graph.floats(placeValues(2, shared), [2 * shared, shared]);
  const sums = graph.op('MatMul', [toFloat(graph, products), places]); // [B, G, C, r]
  const lying =
    shared === 1
      ? reshape(graph, sums, [graph.batch, keyHeads, 1, -1])
      : transpose(graph, sums, [0, 1, 3, 2]);
  return multiply(graph, lying, multiply(graph, scales, graph.floats([1 / Math.sqrt(headWidth)])));
}

/** Weights [B, G, r, C], not negative, times values → [B, G, r, hd]. */
function weightedSum(graph: GraphBuilder, weights: Value, values: Value, shared: number): Value {
  const { numbers, scales } = rounded(graph, weights, BASE ** WEIGHT_DIGITS - 1);
  const digits: Value[] = [];
  let rest = numbers;
  while (digits.length < WEIGHT_DIGITS - 1) {
    const upper = graph.op('Floor', [multiply(graph, rest, graph.floats([1 / BASE]))]);
    digits.push(subtract(graph, rest, multiply(graph, upper, graph.floats([BASE]))));
    rest = upper;
  }
  digits.push(rest);
  const rows = graph.cast(concatenate(graph, digits, 2), 'uint8');
  const products = graph.op('MatMulInteger', [rows, values]); // [B, G, d·r, hd]
  const places = transposed(placeValues(WEIGHT_DIGITS, shared), shared);
  const sums = graph.op('MatMul', [
    graph.floats(places, [shared, WEIGHT_DIGITS * shared]),
    toFloat(graph, products),
  ]);
  return multiply(graph, sums, scales);
}

/**
 * The matrix [d·r, r] that puts r numbers together from their digits, lowest first. Its products are
 * exact: powers of two.
 */
function placeValues(digits: number, shared: number): number[] {
  return Array.from({ length: digits * shared * shared }, (_, index) => {
    const row = Math.floor(index / shared);
    return row % shared === index % shared ? BASE ** Math.floor(row / shared) : 0;
  });
}

function transposed(matrix: readonly number[], columns: number): number[] {
  const rows = matrix.length / columns;
  return matrix.map((_, index) => matrix[(index % rows) * columns + Math.floor(index / rows)] ?? 0);
}
