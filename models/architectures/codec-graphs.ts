/**
 * The codec alone: Mimi as a plain stream, without the restart that the frame graph makes after the
 * first frame. K is the number of codebooks that the language model exchanges with it.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/loaders.py (`get_mimi`: `set_num_codebooks`).
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import { streamRows } from '../layers/stream-rows.ts';
import type { Device } from '../manifest.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { mimiDecoder, mimiEncoder } from './mimi.ts';

/** K: the larger of the generated and the heard codebooks. */
export function codecCodebooks({ languageModel: config }: Checkpoint): number {
  return Math.max(config.generatedCodebooks, config.codebooks - config.generatedCodebooks);
}

export function mimiEncodeGraph(
  checkpoint: Checkpoint,
  batch: number,
  device: Device,
): GraphBuilder {
  const graph = new GraphBuilder('mimi-encode', batch, device);
  const codebooks = codecCodebooks(checkpoint);
  const pcm = graph.input('pcm', 'float32', [1, checkpoint.mimi.frameSamples]);
  const offset = graph.input('offset', 'int64', []);
  const executes = graph.input('exec_mask', 'bool', []);
  const rows = streamRows(graph, offset, executes);
  const codes = mimiEncoder(graph, checkpoint, rows, pcm, codebooks);
  graph.output('codes', codes, 'int64', [codebooks]);
  return graph;
}

export function mimiDecodeGraph(
  checkpoint: Checkpoint,
  batch: number,
  device: Device,
): GraphBuilder {
  const graph = new GraphBuilder('mimi-decode', batch, device);
  const codebooks = codecCodebooks(checkpoint);
  const codes = graph.input('codes', 'int64', [codebooks]);
  const offset = graph.input('offset', 'int64', []);
  const executes = graph.input('exec_mask', 'bool', []);
  const rows = streamRows(graph, offset, executes);
  const pcm = mimiDecoder(graph, checkpoint, rows, codes, codebooks);
  graph.output('pcm_out', pcm, 'float32', [1, checkpoint.mimi.frameSamples]);
  return graph;
}
