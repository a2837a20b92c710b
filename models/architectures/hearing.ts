/**
 * From the microphone to codes: how every model of the family hears.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/server.py (`handle_chat`): the codec is reset after the
 * first frame, whose codes the model never reads. Here the encoder's state does not move in step 0, and
 * step 1 is its first frame; nor does it move in steps whose heard codes are all forced, which nobody
 * encodes there either (moshi/moshi/run_inference.py, the frame that ends a stream). Letters: B rows,
 * U heard codebooks.
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import { forceToken } from '../layers/sampling.ts';
import { unforcedStreamRows } from '../layers/stream-rows.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
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
  const { offset, executes, forcedHeard: forced } = inputs;
  const start = { offset, executes, start: 1 };
  const heardCodebooks = codebooks - generatedCodebooks;
  const { rows } = unforcedStreamRows(graph, {
    ...start,
    forced,
    codebooks: heardCodebooks,
    counter: 'heard_frames',
  });
  const encoded = mimiEncoder(graph, checkpoint, rows, inputs.pcm, heardCodebooks);
  return forceToken(graph, inputs.forcedHeard, encoded);
}
