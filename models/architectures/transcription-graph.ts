/**
 * The graph of one 80 ms step of a model that only listens: hear, and write. A frame graph without a
 * voice, as manifest.ts describes it.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (`LMGen.step_with_extra_heads`). Letters:
 * B rows, N codebooks, H pause heads, C classes.
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import type { TranscriptionConfig } from '../checkpoints/language-model-config.ts';
import { linear } from '../layers/linear.ts';
import { forceToken, sample, sampler } from '../layers/sampling.ts';
import type { Device } from '../manifest.ts';
import { GraphBuilder, type Value } from '../onnx/graph-builder.ts';
import { concatenate, reshape } from '../onnx/tensor-operations.ts';
import { delayedTokens } from './delayed-tokens.ts';
import { drawWidths } from './frame-graph.ts';
import { hear } from './hearing.ts';
import { temporalTransformer } from './temporal-transformer.ts';

/** @param probes - Whether hidden state, logits and heard codes become outputs. */
export function transcriptionGraph(
  checkpoint: Checkpoint,
  transcription: TranscriptionConfig,
  batch: number,
  probes: boolean,
  device: Device,
): GraphBuilder {
  const { languageModel: config, mimi } = checkpoint;
  const { codebooks } = config;
  const { text: width } = drawWidths(config);
  const graph = new GraphBuilder('frame', batch, device);

  const pcm = graph.input('pcm', 'float32', [1, mimi.frameSamples]);
  const offset = graph.input('offset', 'int64', []);
  const executes = graph.input('exec_mask', 'bool', []);
  const forcedText = graph.input('forced_text', 'int64', []);
  const forcedHeard = graph.input('forced_codes', 'int64', [codebooks]);
  const temperature = graph.input('text_temperature', 'float32', []);
  const topK = graph.input('text_top_k', 'int64', []);
  const noise = graph.input('text_noise', 'float32', [width]);

  const heard = hear(graph, checkpoint, { pcm, offset, executes, forcedHeard });
  const advances = reshape(graph, executes, [batch, 1, 1]);
  const tokens = delayedTokens(graph, config, offset, advances, heard);
  const { hidden, textLogits } = temporalTransformer(graph, checkpoint, tokens.input, offset);
  const draw = sampler(graph, {
    temperature,
    topK,
    noise: reshape(graph, noise, [batch, 1, width]),
    width,
  });
  const text = forceToken(
    graph,
    reshape(graph, forcedText, [batch, 1]),
    sample(graph, draw, textLogits, 0),
  ); // [B, 1]

  graph.output('text_token', reshape(graph, text, [batch]), 'int64', []);
  graph.output('frame_tokens', tokens.complete(text), 'int64', [1]);
  const heads = countPauseHeads(checkpoint, transcription);
  if (heads > 0) {
    const { pauseClasses: classes } = transcription;
    const pauses = pauseProbabilities(graph, checkpoint, { heads, classes }, hidden);
    graph.output('pauses', pauses, 'float32', [heads, classes]);
  }
  if (probes) {
    graph.output('hidden', hidden, 'float32', [config.temporal.dimension]);
    graph.output('text_logits', textLogits, 'float32', [config.textCardOut]);
    graph.output('user_codes', heard, 'int64', [codebooks]);
  }
  return graph;
}

/**
 * H. Kyutai's Candle files hold the heads' weights, of which only the configuration of their server
 * tells (rust/moshi-server, `extra_heads`).
 */
export function countPauseHeads(
  { languageModelWeights: file }: Checkpoint,
  { pauseHeads }: TranscriptionConfig,
): number {
  if (pauseHeads !== null) return pauseHeads;
  let count = 0;
  while (file.has(weightName(count))) count += 1;
  return count;
}

function weightName(head: number): string {
  return `extra_heads.${head}.weight`;
}

/** hidden [B, width] → [B, H, C], each head's classes summing to 1. */
function pauseProbabilities(
  graph: GraphBuilder,
  { languageModel, languageModelWeights: file }: Checkpoint,
  { heads, classes }: { heads: number; classes: number },
  hidden: Value,
): Value {
  const shape = [classes, languageModel.temporal.dimension];
  const judged = Array.from({ length: heads }, (_, head) => {
    const logits = linear(graph, hidden, file.tensor(weightName(head), shape));
    const probabilities = graph.op('Softmax', [logits], { axis: -1 });
    return reshape(graph, probabilities, [graph.batch, 1, classes]);
  });
  return concatenate(graph, judged, 1);
}
