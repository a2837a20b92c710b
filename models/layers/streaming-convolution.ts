/**
 * Causal convolutions that continue where the last frame ended.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/conv.py (StreamingConv1d,
 * StreamingConvTranspose1d). Letters: B rows, C channels, T columns of this frame, k kernel, s stride.
 */
import assert from 'node:assert/strict';
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, concatenate, slice, where } from '../onnx/tensor-operations.ts';
import { advanceState, type StreamRows } from './stream-rows.ts';

export type Convolution = {
  /** [out, in / groups, k]. */
  readonly weight: TensorView;
  readonly bias: TensorView | null;
  readonly stride: number;
  readonly dilation: number;
  /** What lies before the stream: zeros, or copies of its first column. */
  readonly padding: 'constant' | 'replicate';
};

/**
 * x [B, in, T] → [B, out, T / s]. The state is the last (k - 1)·dilation + 1 - s input columns.
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
  const { weight, bias, stride, dilation } = convolution;
  const [, channels = 0, kernel = 0] = weight.shape;
  const past = (kernel - 1) * dilation + 1 - stride;
  assert(past >= 0 && columns % stride === 0, `${weight.name}: stride ${stride} does not fit`);
  const inputs = [x, graph.weight(weight)];
  if (bias !== null) inputs.push(graph.weight(bias));
  const attributes = { strides: [stride], dilations: [dilation], kernel_shape: [kernel] };
  if (past === 0) return graph.op('Conv', inputs, attributes);
  const state = graph.state('past', 'float32', [channels, past]);
  const before =
    convolution.padding === 'replicate'
      ? where(graph, rows.isFirst, slice(graph, x, 2, 0, 1), state)
      : state;
  const joined = concatenate(graph, [before, x], 2); // [B, in, past + T]
  advanceState(graph, rows, state, slice(graph, joined, 2, columns, columns + past));
  return graph.op('Conv', [joined, ...inputs.slice(1)], attributes);
}

export type TransposedConvolution = {
  /** [in, out / groups, k]. */
  readonly weight: TensorView;
  readonly bias: TensorView | null;
  readonly stride: number;
  readonly groups: number;
};

/**
 * x [B, in, T] → [B, out, T·s]. The last k - s columns are not complete before the next frame: they
 * are the state. The bias is added at the end, so that it never counts twice where frames overlap.
 * @param columns - T.
 */
export function streamingTransposedConvolution(
  graph: GraphBuilder,
  rows: StreamRows,
  convolution: TransposedConvolution,
  x: Value,
  columns: number,
): Value {
  const { weight, bias, stride, groups } = convolution;
  const [, outputsPerGroup = 0, kernel = 0] = weight.shape;
  const channels = outputsPerGroup * groups;
  const overlap = kernel - stride;
  const finished = columns * stride;
  assert(overlap >= 0 && overlap <= finished, `${weight.name}: stride ${stride} does not fit`);
  const spread = graph.op('ConvTranspose', [x, graph.weight(weight)], {
    strides: [stride],
    group: groups,
    kernel_shape: [kernel],
  }); // [B, out, T·s + overlap]
  let y = spread;
  if (overlap > 0) {
    const state = graph.state('partial', 'float32', [channels, overlap]);
    const begun = add(graph, slice(graph, spread, 2, 0, overlap), state);
    const rest = slice(graph, spread, 2, overlap, finished + overlap);
    const joined = concatenate(graph, [begun, rest], 2);
    y = slice(graph, joined, 2, 0, finished);
    advanceState(graph, rows, state, slice(graph, joined, 2, finished, finished + overlap));
  }
  return bias === null ? y : add(graph, y, graph.weight(bias, [channels, 1]));
}
