/**
 * What every streaming layer needs to know about the rows of a run: how far each has come, whether
 * it starts now, and whether its state moves.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/streaming.py (`exec_mask`, `offset`).
 */
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, reshape, subtract, where } from '../onnx/tensor-operations.ts';
import { lowest } from './device-kernels.ts';

export type StreamRows = {
  /** [B] int64, never negative: frames that this stream has taken since it started. */
  readonly position: Value;
  /** [B, 1, 1] bool: this frame is the first. */
  readonly isFirst: Value;
  /** [B, 1, 1] bool: the state moves. */
  readonly advances: Value;
};

/** @param position - [B] int64, not negative. @param advances - [B] bool. */
export function streamRows(graph: GraphBuilder, position: Value, advances: Value): StreamRows {
  const column = [graph.batch, 1, 1];
  return {
    position,
    isFirst: reshape(graph, graph.op('Equal', [position, graph.integers([0])]), column),
    advances: reshape(graph, advances, column),
  };
}

/**
 * Rows of a stream that starts `start` steps after its conversation.
 * @param offset - [B] int64, steps of the conversation. @param executes - [B] bool.
 * @returns also `started` [B] bool.
 */
export function laterStreamRows(
  graph: GraphBuilder,
  offset: Value,
  executes: Value,
  start: number,
): { rows: StreamRows; started: Value } {
  const zero = graph.integers([0]);
  const position = subtract(graph, offset, graph.integers([start]));
  const started = graph.op('GreaterOrEqual', [position, zero]);
  const advances = graph.op('And', [executes, started]);
  return { rows: streamRows(graph, graph.op('Max', [position, zero]), advances), started };
}

/**
 * The same for a stream that waits in steps whose codes are all forced, and so counts its own frames.
 * @param inputs - `forced` [B, codebooks] int64: codes, negative where the stream goes on; `counter`: name of
 *   the state that counts.
 */
export function unforcedStreamRows(
  graph: GraphBuilder,
  inputs: {
    offset: Value;
    executes: Value;
    start: number;
    forced: Value;
    codebooks: number;
    counter: string;
  },
): { rows: StreamRows; started: Value } {
  const { batch } = graph;
  const one = graph.integers([1]);
  const zero = graph.integers([0]);
  const count = graph.state(inputs.counter, 'int64', [1]);
  // A value of its own: a mere change of shape would share the state's buffer, which is overwritten.
  const before = graph.op('Max', [count, zero]); // [B, 1]
  const least = reshape(graph, lowest(graph, inputs.forced, inputs.codebooks), [batch]);
  const later = laterStreamRows(graph, inputs.offset, inputs.executes, inputs.start);
  const started = graph.op('And', [later.started, graph.op('Less', [least, zero])]);
  const advances = graph.op('And', [inputs.executes, started]);
  const next = where(graph, reshape(graph, advances, [batch, 1]), add(graph, before, one), count);
  graph.setState(count, next);
  return { rows: streamRows(graph, reshape(graph, before, [batch]), advances), started };
}

/**
 * Moves a state [B, ., .] in the rows that advance. Where reads the old state element by element
 * and `next` depends on every other reader, so both may share a buffer. A product with the mask
 * would spread a NaN of an idle row.
 */
export function advanceState(
  graph: GraphBuilder,
  rows: StreamRows,
  state: Value,
  next: Value,
): void {
  graph.setState(state, where(graph, rows.advances, next, state));
}
