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
import { linear } from './linear.ts';
import { advanceState, type StreamRows } from './stream-rows.ts';

/**
 * Channels for each column of a frame up to which copying columns takes longer than reading weights. The
 * batch does not count: in each the sums are the same.
 */
const FEW_CHANNELS = 4;

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
  const { weight, stride, dilation } = convolution;
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
  const hasManyColumns = outputs <= FEW_CHANNELS * finished;
  const product =
    hasManyColumns && isMadeOfTaps(convolution)
      ? sumOfTaps(graph, convolution, joined, finished)
      : productOfWindows(graph, convolution, joined, finished);
  return reshape(graph, product, [batch, finished, outputs]);
}

/** Several taps of single columns, or two of as many as a stride, and more to see than the taps themselves. */
function isMadeOfTaps({ weight, stride, dilation }: Convolution): boolean {
  const [, channels = 0, kernel = 0] = weight.shape;
  return channels > 1 && kernel > 1 && (stride === 1 || (dilation === 1 && kernel === 2 * stride));
}

/** For large matrices: what each output sees is copied; the weights stay as they are in the file. */
function productOfWindows(
  graph: GraphBuilder,
  convolution: Convolution,
  joined: Value,
  finished: number,
): Value {
  const { weight, bias } = convolution;
  const [outputs = 0, channels = 0, kernel = 0] = weight.shape;
  const count = graph.batch * finished;
  const seen = windows(graph, convolution, joined, finished); // [B, finished, k·in]
  const byChannel =
    kernel === 1 || channels === 1
      ? seen
      : transpose(graph, reshape(graph, seen, [count, kernel, channels]), [0, 2, 1]);
  const inputs = reshape(graph, byChannel, [count, channels * kernel]);
  return linear(graph, inputs, { ...weight, shape: [outputs, channels * kernel] }, bias);
}

/**
 * For many columns: each is multiplied with the weights of all taps at once, and results are copied and
 * added, which are smaller than what the outputs see.
 */
function sumOfTaps(
  graph: GraphBuilder,
  { weight, bias, stride, dilation }: Convolution,
  joined: Value,
  finished: number,
): Value {
  const { batch } = graph;
  const [outputs = 0, channels = 0, kernel = 0] = weight.shape;
  const taps = kernel / stride;
  const tapColumns = (taps - 1) * dilation + finished;
  const inputs = reshape(graph, joined, [batch * tapColumns, stride * channels]);
  const byTap = graph.weight(weight, [outputs, channels, taps, stride]);
  const matrix = reshape(graph, transpose(graph, byTap, [2, 0, 3, 1]), [
    taps * outputs,
    stride * channels,
  ]);
  const operands = [inputs, matrix];
  // Of one tap alone, so that it does not count again with the others.
  if (bias !== null) operands.push(biasOfTaps(graph, bias, firstOnly(taps, 1)));
  const product = graph.op('Gemm', operands, { transB: 1 });
  const byColumn = reshape(graph, product, [batch, tapColumns, taps * outputs]);
  return Array.from({ length: taps }, (_, tap) =>
    graph.op('Slice', [
      byColumn,
      graph.integers([tap * dilation, tap * outputs]),
      graph.integers([tap * dilation + finished, (tap + 1) * outputs]),
      graph.integers([1, 2]),
    ]),
  ).reduce((sum, part) => add(graph, sum, part));
}

/** Ones, as many as `first`, then zeros. */
function firstOnly(length: number, first: number): number[] {
  return Array.from({ length }, (_, index) => (index < first ? 1 : 0));
}

/** [taps · out]: the bias as often as `counts` says, tap by tap. */
function biasOfTaps(graph: GraphBuilder, bias: TensorView, counts: readonly number[]): Value {
  const [outputs = 0] = bias.shape;
  const repeated = multiply(
    graph,
    graph.weight(bias, [1, outputs]),
    graph.floats(counts, [counts.length, 1]),
  );
  return reshape(graph, repeated, [counts.length * outputs]);
}

/** What each of the `finished` outputs sees: [B, past + T, in] → [B, finished, k·in]. */
function windows(
  graph: GraphBuilder,
  { weight, stride, dilation }: Convolution,
  joined: Value,
  finished: number,
): Value {
  const [, channels = 0, kernel = 0] = weight.shape;
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
 * x [B, T, in] → [B, T·s, out]. Each column contributes to 2·s outputs, of which the first s are complete
 * with the last s of the column before. The state is the last column.
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
  const state = graph.state('past', 'float32', [1, inputs]);
  const joined = concatenate(graph, [state, x], 1); // [B, 1 + T, in]
  advanceState(graph, rows, state, slice(graph, joined, 1, columns, columns + 1));
  const hasManyColumns = inputs <= FEW_CHANNELS * columns;
  const y =
    hasManyColumns && groups === 1
      ? productOfPairs(graph, convolution, x, slice(graph, joined, 1, 0, columns))
      : sumOfHalves(graph, convolution, joined, columns);
  return reshape(graph, y, [batch, columns * stride, channels]);
}

/** For many columns: x [B, T, in] and the columns before → [B·T, s·out] by one product. */
function productOfPairs(
  graph: GraphBuilder,
  { weight, bias, stride }: TransposedConvolution,
  x: Value,
  before: Value,
): Value {
  const [inputs = 0, outputs = 0] = weight.shape;
  const pairs = reshape(graph, concatenate(graph, [x, before], 2), [-1, 2 * inputs]);
  const byHalf = graph.weight(weight, [inputs, outputs, 2, stride]);
  const matrix = reshape(graph, transpose(graph, byHalf, [2, 0, 3, 1]), [
    2 * inputs,
    stride * outputs,
  ]);
  const operands = [pairs, matrix];
  if (bias !== null) operands.push(biasOfTaps(graph, bias, Array<number>(stride).fill(1)));
  return graph.op('Gemm', operands);
}

/** For large matrices, and for channels by themselves: all outputs of each column, then halves are added. */
function sumOfHalves(
  graph: GraphBuilder,
  convolution: TransposedConvolution,
  joined: Value,
  columns: number,
): Value {
  const { weight, stride, groups } = convolution;
  const count = graph.batch * (columns + 1);
  const spread =
    groups === 1
      ? spreadByMatrix(graph, convolution, joined, count)
      : spreadByChannel(graph, convolution, joined, count);
  const [, outputsPerGroup = 0] = weight.shape;
  const half = stride * outputsPerGroup * groups;
  const spreads = reshape(graph, spread, [graph.batch, columns + 1, 2 * half]);
  const [now, later] = split(graph, spreads, 2, [half, half]) as [Value, Value];
  return add(graph, slice(graph, now, 1, 1, columns + 1), slice(graph, later, 1, 0, columns));
}

/** x of `count` columns → [count, 2·s, out], every channel to every channel. */
function spreadByMatrix(
  graph: GraphBuilder,
  { weight, bias, stride }: TransposedConvolution,
  x: Value,
  count: number,
): Value {
  const [inputs = 0, outputs = 0, kernel = 0] = weight.shape;
  // The weights stay as they are in the file; their order is given to the product.
  const operands = [
    reshape(graph, x, [count, inputs]),
    graph.weight(weight, [inputs, outputs * kernel]),
  ];
  if (bias !== null) {
    // Of the first half alone, so that it counts once.
    const counts = firstOnly(kernel, stride);
    const once = multiply(
      graph,
      graph.weight(bias, [outputs, 1]),
      graph.floats(counts, [1, kernel]),
    );
    operands.push(reshape(graph, once, [outputs * kernel]));
  }
  const product = graph.op('Gemm', operands);
  return transpose(graph, reshape(graph, product, [count, outputs, kernel]), [0, 2, 1]);
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
