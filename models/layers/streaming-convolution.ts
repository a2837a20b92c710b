/**
 * Causal convolutions that continue where the last frame ended.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/conv.py (StreamingConv1d,
 * StreamingConvTranspose1d). Letters: B rows, C channels, T columns of this frame, k kernel, s stride.
 *
 * Signals are [B, T, C], and every convolution is one product with a matrix: frames have few columns
 * where matrices are large, and a product reads each weight once whereas onnxruntime's Conv and
 * ConvTranspose, made for images, took up to twice as long.
 */
import assert from 'node:assert/strict';
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import {
  add,
  concatenate,
  multiply,
  reshape,
  slice,
  split,
  transpose,
  where,
} from '../onnx/tensor-operations.ts';
import { advanceState, type StreamRows } from './stream-rows.ts';

export type Convolution = {
  /** [out, in, k]. */
  readonly weight: TensorView;
  readonly bias: TensorView | null;
  readonly stride: number;
  readonly dilation: number;
  /** What lies before the stream: zeros, or copies of its first column. */
  readonly padding: 'constant' | 'replicate';
};

/**
 * x [B, T, in] → [B, T / s, out]. The state is the last (k - 1)·dilation + 1 - s input columns.
 * Its only readers are the join and the Where that writes it, and the latter waits for the former.
 * @param columns - T.
 */
export function streamingConvolution(
  graph: GraphBuilder,
  rows: StreamRows,
  convolution: Convolution,
  x: Value,
  columns: number,
): Value {
  const { batch } = graph;
  const { weight, bias, stride, dilation } = convolution;
  const [outputs = 0, channels = 0, kernel = 0] = weight.shape;
  const past = (kernel - 1) * dilation + 1 - stride;
  assert(past >= 0 && columns % stride === 0, `${weight.name}: stride ${stride} does not fit`);
  let joined = x; // [B, past + T, in]
  if (past > 0) {
    const state = graph.state('past', 'float32', [past, channels]);
    const before =
      convolution.padding === 'replicate'
        ? where(graph, rows.isFirst, slice(graph, x, 1, 0, 1), state)
        : state;
    joined = concatenate(graph, [before, x], 1);
    advanceState(graph, rows, state, slice(graph, joined, 1, columns, columns + past));
  }
  const finished = columns / stride;
  const seen = windows(graph, joined, { kernel, stride, dilation, finished, channels }); // [B, T / s, k·in]
  const taps = [batch * finished, kernel, channels];
  let matrix: Value; // [out, taps]
  let inputs: Value;
  if (kernel === 1 || channels === 1) {
    matrix = graph.weight(weight, [outputs, kernel * channels]);
    inputs = reshape(graph, seen, [batch * finished, kernel * channels]);
  } else if (outputs > batch * finished) {
    // The weights stay as they are in the file: their order is given to the smaller operand.
    matrix = graph.weight(weight, [outputs, channels * kernel]);
    inputs = reshape(graph, transpose(graph, reshape(graph, seen, taps), [0, 2, 1]), [
      batch * finished,
      channels * kernel,
    ]);
  } else {
    matrix = reshape(graph, transpose(graph, graph.weight(weight), [0, 2, 1]), [
      outputs,
      kernel * channels,
    ]);
    inputs = reshape(graph, seen, [batch * finished, kernel * channels]);
  }
  const product = graph.op(
    'Gemm',
    bias === null ? [inputs, matrix] : [inputs, matrix, graph.weight(bias)],
    { transB: 1 },
  );
  return reshape(graph, product, [batch, finished, outputs]);
}

type Windows = {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly finished: number;
  readonly channels: number;
};

/** What each of the `finished` outputs sees: [B, past + T, in] → [B, finished, k·in]. */
function windows(
  graph: GraphBuilder,
  joined: Value,
  { kernel, stride, dilation, finished, channels }: Windows,
): Value {
  if (kernel === 1 && stride === 1) return joined;
  if (dilation === 1 && kernel === 2 * stride) {
    const blocks = reshape(graph, joined, [graph.batch, finished + 1, stride * channels]);
    return concatenate(
      graph,
      [slice(graph, blocks, 1, 0, finished), slice(graph, blocks, 1, 1, finished + 1)],
      2,
    );
  }
  const taps = Array.from({ length: kernel }, (_, tap) => {
    const start = tap * dilation;
    const end = start + (finished - 1) * stride + 1;
    return graph.op('Slice', [
      joined,
      graph.integers([start]),
      graph.integers([end]),
      graph.integers([1]),
      graph.integers([stride]),
    ]);
  });
  return concatenate(graph, taps, 2);
}

export type TransposedConvolution = {
  /** [in, out / groups, k] with k = 2·s. */
  readonly weight: TensorView;
  readonly bias: TensorView | null;
  readonly stride: number;
  /** 1, or one for each channel. */
  readonly groups: number;
};

/**
 * x [B, T, in] → [B, T·s, out]. Each column contributes to 2·s outputs: the first s are complete with
 * the last s of the column before, which are the state. The bias is part of the first s alone, so
 * that it never counts twice.
 * @param columns - T.
 */
export function streamingTransposedConvolution(
  graph: GraphBuilder,
  rows: StreamRows,
  convolution: TransposedConvolution,
  x: Value,
  columns: number,
): Value {
  const { batch } = graph;
  const { weight, stride, groups } = convolution;
  const [inputs = 0, outputsPerGroup = 0, kernel = 0] = weight.shape;
  const channels = outputsPerGroup * groups;
  assert(kernel === 2 * stride, `${weight.name}: stride ${stride} does not fit`);
  assert(groups === 1 || groups === inputs, `${weight.name}: ${groups} groups are not implemented`);
  const spread =
    groups === 1
      ? spreadByMatrix(graph, convolution, x, batch * columns)
      : spreadByChannel(graph, convolution, x, batch * columns); // [B·T, 2·s·out]
  const halves = reshape(graph, spread, [batch, columns, 2 * stride * channels]);
  const [now, later] = split(graph, halves, 2, [stride * channels, stride * channels]) as [
    Value,
    Value,
  ];
  const state = graph.state('partial', 'float32', [1, stride * channels]);
  const begun = concatenate(graph, [state, later], 1); // [B, 1 + T, s·out]
  advanceState(graph, rows, state, slice(graph, begun, 1, columns, columns + 1));
  const y = add(graph, now, slice(graph, begun, 1, 0, columns));
  return reshape(graph, y, [batch, columns * stride, channels]);
}

/** x of `count` columns → [count, 2·s, out], every channel to every channel. */
function spreadByMatrix(
  graph: GraphBuilder,
  { weight, bias, stride }: TransposedConvolution,
  x: Value,
  count: number,
): Value {
  const [inputs = 0, outputs = 0, kernel = 0] = weight.shape;
  const flat = reshape(graph, x, [count, inputs]);
  const ones = Array.from({ length: kernel }, (_, tap) => (tap < stride ? 1 : 0));
  // As in convolutions: the file's order, unless there are more columns than weights to reorder.
  const keepsOrder = inputs > count;
  const weights = graph.weight(weight);
  const matrix = reshape(graph, keepsOrder ? weights : transpose(graph, weights, [0, 2, 1]), [
    inputs,
    outputs * kernel,
  ]);
  const operands = [flat, matrix];
  if (bias !== null) {
    const once = multiply(
      graph,
      graph.weight(bias, keepsOrder ? [outputs, 1] : [1, outputs]),
      graph.floats(ones, keepsOrder ? [1, kernel] : [kernel, 1]),
    );
    operands.push(reshape(graph, once, [outputs * kernel]));
  }
  const product = graph.op('Gemm', operands);
  return keepsOrder
    ? transpose(graph, reshape(graph, product, [count, outputs, kernel]), [0, 2, 1])
    : product;
}

/** x of `count` columns → [count, 2·s, out], each channel to itself. */
function spreadByChannel(
  graph: GraphBuilder,
  { weight, bias }: TransposedConvolution,
  x: Value,
  count: number,
): Value {
  const [channels = 0, , kernel = 0] = weight.shape;
  assert(bias === null, `${weight.name}: a bias by channel is not implemented`);
  const taps = transpose(graph, graph.weight(weight, [channels, kernel]), [1, 0]); // [k, C]
  return multiply(graph, reshape(graph, x, [count, 1, channels]), taps);
}
