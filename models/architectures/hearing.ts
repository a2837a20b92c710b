/**
 * From the microphone to codes: how every model of the family hears.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/server.py (`handle_chat`): the codec is reset after the
 * first frame, whose codes the model never reads. Here the encoder's state does not move in step 0, and
 * step 1 is its first frame; nor does it move in steps whose heard codes are all forced, which nobody
 * encodes there either (moshi/moshi/run_inference.py, the frame that ends a stream). Letters: B rows, U heard codebooks.
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import { forceToken } from '../layers/sampling.ts';
import { laterStreamRows, streamRows, type StreamRows } from '../layers/stream-rows.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, reshape, where } from '../onnx/tensor-operations.ts';
import { mimiEncoder } from './mimi.ts';

/**
 * @param pcm - [B, 1, frame samples].
 * @param offset - [B] int64, steps of the conversation before this one.
 * @param executes - [B] bool.
 * @param forcedHeard - [B, U] int64: codes in place of those of `pcm`, or negative.
 * @returns codes [B, U] int64.
 */
export function hear(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  inputs: { pcm: Value; offset: Value; executes: Value; forcedHeard: Value },
): Value {
  const { codebooks, generatedCodebooks } = checkpoint.languageModel;
  const rows = listeningRows(graph, inputs);
  const encoded = mimiEncoder(graph, checkpoint, rows, inputs.pcm, codebooks - generatedCodebooks);
  return forceToken(graph, inputs.forcedHeard, encoded);
}

/** Rows of the encoder, which has its own count of frames, as it waits while codes take its place. */
function listeningRows(
  graph: GraphBuilder,
  { offset, executes, forcedHeard }: { offset: Value; executes: Value; forcedHeard: Value },
): StreamRows {
  const { batch } = graph;
  const one = graph.integers([1]);
  const zero = graph.integers([0]);
  const count = graph.state('heard_frames', 'int64', [1]);
  // A value of its own: a mere change of shape would share the state's buffer, which is overwritten.
  const before = graph.op('Max', [count, zero]); // [B, 1]
  const lowest = graph.op('ReduceMin', [forcedHeard, one], { keepdims: 0 }); // [B]
  const listens = graph.op('Less', [lowest, zero]);
  const { started } = laterStreamRows(graph, offset, executes, 1);
  const advances = graph.op('And', [graph.op('And', [executes, started]), listens]);
  const next = where(graph, reshape(graph, advances, [batch, 1]), add(graph, before, one), count);
  graph.setState(count, next);
  return streamRows(graph, reshape(graph, before, [batch]), advances);
}
