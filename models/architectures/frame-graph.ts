/**
 * The graph of one 80 ms step, as manifest.ts describes it: hear, think, speak.
 *
 * Source of the order: kyutai-labs/moshi@e6a55d2 moshi/moshi/server.py (`handle_chat`) and
 * moshi/moshi/models/lm.py (`LMGen._step`). Letters: B rows, N codebooks, D generated, U = N - D heard.
 *
 * The decoder starts when the first complete column exists, after `maxDelay` steps. In models that take
 * a system prompt it also waits while all their codes are forced: its first column is then the prompt's
 * last frame, completed by the step that leaves the next to the model, where PersonaPlex's server resets
 * the codec.
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import type { LanguageModelConfig } from '../checkpoints/language-model-config.ts';
import { forceToken, sample, sampler, scriptToken } from '../layers/sampling.ts';
import { laterStreamRows, unforcedStreamRows } from '../layers/stream-rows.ts';
import type { Device } from '../manifest.ts';
import { GraphBuilder, type Value } from '../onnx/graph-builder.ts';
import { concatenate, reshape, slice, where } from '../onnx/tensor-operations.ts';
import { guide } from './conditions.ts';
import { delayedTokens } from './delayed-tokens.ts';
import { depthTransformer } from './depth-transformer.ts';
import { hear } from './hearing.ts';
import { mimiDecoder } from './mimi.ts';
import { temporalTransformer } from './temporal-transformer.ts';

/** The reference draws from at most this many candidates (server.py passes top_k 250 and 25). */
const WIDEST_DRAW = 250;

/** Candidates that the graph can draw from, for text and for audio. */
export function drawWidths(config: LanguageModelConfig): { text: number; audio: number } {
  return {
    text: Math.min(config.textCardOut, WIDEST_DRAW),
    audio: Math.min(config.audioCard, WIDEST_DRAW),
  };
}

/** @param probes - Whether hidden state, logits and heard codes become outputs. */
export function frameGraph(
  checkpoint: Checkpoint,
  batch: number,
  probes: boolean,
  device: Device,
): GraphBuilder {
  const { languageModel: config, mimi } = checkpoint;
  const { codebooks, generatedCodebooks, maxDelay } = config;
  const heardCodebooks = codebooks - generatedCodebooks;
  const widths = drawWidths(config);
  const graph = new GraphBuilder('frame', batch, device);

  const pcm = graph.input('pcm', 'float32', [1, mimi.frameSamples]);
  const offset = graph.input('offset', 'int64', []);
  const executes = graph.input('exec_mask', 'bool', []);
  const forcedText = graph.input('forced_text', 'int64', []);
  const forcedCodes = graph.input('forced_codes', 'int64', [codebooks]);
  const textTemperature = graph.input('text_temperature', 'float32', []);
  const audioTemperature = graph.input('audio_temperature', 'float32', []);
  const textTopK = graph.input('text_top_k', 'int64', []);
  const audioTopK = graph.input('audio_top_k', 'int64', []);
  const textNoise = graph.input('text_noise', 'float32', [widths.text]);
  const audioNoise = graph.input('audio_noise', 'float32', [generatedCodebooks, widths.audio]);

  const prompted = config.kind === 'personaplex';
  const recorded = prompted
    ? {
        has: graph.input('has_embedding', 'bool', []),
        embedding: graph.input('embedding', 'float32', [config.temporal.dimension]),
      }
    : null;

  const forcedHeard = slice(graph, forcedCodes, 1, generatedCodebooks, codebooks);
  const heard = hear(graph, checkpoint, { pcm, offset, executes, forcedHeard }); // [B, U]

  const advances = reshape(graph, executes, [batch, 1, 1]);
  const tokens = delayedTokens(graph, config, offset, advances, heard);
  const conditions = config.conditions.map((condition) => ({
    condition,
    rows: graph.input(`condition_${condition.name}`, 'int64', []),
  }));
  const guided = guidance(graph, config);
  const { hidden, textLogits: branchLogits } = temporalTransformer(
    graph,
    checkpoint,
    tokens.input,
    offset,
    { conditions, recorded },
  );
  const textLogits = guided === null ? branchLogits : guided(branchLogits, config.textCardOut);

  const textSampler = sampler(graph, {
    temperature: textTemperature,
    topK: textTopK,
    noise: reshape(graph, textNoise, [batch, 1, widths.text]),
    width: widths.text,
  });
  const text = scriptToken(
    graph,
    reshape(graph, forcedText, [batch, 1]),
    sample(graph, textSampler, textLogits, 0),
    [config.paddingToken, config.endOfPaddingToken],
  ); // [B, 1]

  const audioSampler = sampler(graph, {
    temperature: audioTemperature,
    topK: audioTopK,
    noise: audioNoise,
    width: widths.audio,
  });
  const choose = (logits: Value, step: number): Value =>
    forceToken(
      graph,
      slice(graph, forcedCodes, 1, step, step + 1),
      sample(graph, audioSampler, logits, step),
    );
  const spoken = depthTransformer(graph, checkpoint, hidden, text, choose, guided);

  const frameTokens = tokens.complete(concatenate(graph, [text, ...spoken.codes], 1));
  const speaking = prompted
    ? unforcedStreamRows(graph, {
        offset,
        executes,
        start: maxDelay,
        forced: slice(graph, forcedCodes, 1, 0, generatedCodebooks),
        codebooks: generatedCodebooks,
        counter: 'spoken_frames',
      })
    : laterStreamRows(graph, offset, executes, maxDelay);
  const columnCodes = slice(graph, frameTokens, 1, 1, 1 + generatedCodebooks);
  const voice = mimiDecoder(
    graph,
    checkpoint,
    speaking.rows,
    graph.op('Max', [columnCodes, graph.integers([0])]),
    generatedCodebooks,
  );
  const audible = reshape(graph, speaking.started, [batch, 1, 1]);

  graph.output('pcm_out', where(graph, audible, voice, graph.floats([0])), 'float32', [
    1,
    mimi.frameSamples,
  ]);
  graph.output('text_token', reshape(graph, text, [batch]), 'int64', []);
  graph.output('frame_tokens', frameTokens, 'int64', [1 + generatedCodebooks]);
  if (probes) {
    const { dimension } = config.temporal;
    // Of a guided model, that of the conditioned branch, which is the first of each row.
    const branches = reshape(graph, hidden, [batch, -1, dimension]);
    const conditioned = reshape(graph, slice(graph, branches, 1, 0, 1), [batch, dimension]);
    graph.output('hidden', guided === null ? hidden : conditioned, 'float32', [dimension]);
    graph.output('text_logits', textLogits, 'float32', [config.textCardOut]);
    const stacked = spoken.logits.map((logits) =>
      reshape(graph, logits, [batch, 1, config.audioCard]),
    );
    graph.output('audio_logits', concatenate(graph, stacked, 1), 'float32', [
      generatedCodebooks,
      config.audioCard,
    ]);
    graph.output('user_codes', heard, 'int64', [heardCodebooks]);
  }
  return graph;
}

/** Makes one of the logits of a row's two branches; null where the model has one branch. */
function guidance(
  graph: GraphBuilder,
  config: LanguageModelConfig,
): ((logits: Value, width: number) => Value) | null {
  if (config.guidance === null) return null;
  const strength = reshape(graph, graph.input('guidance', 'float32', []), [graph.batch, 1]);
  return (logits, width) => guide(graph, logits, width, strength);
}
