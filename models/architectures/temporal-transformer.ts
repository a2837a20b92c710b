/**
 * The temporal transformer: one step over the sum of all streams' embeddings.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (`LMModel.forward_text`). Letters: B rows,
 * K = 1 + N streams, D width, V text vocabulary.
 */
import type { LanguageModel } from '../checkpoints/checkpoint.ts';
import { findNorm, findTransformerWeights } from '../checkpoints/transformer-weights.ts';
import { embedding, linear } from '../layers/linear.ts';
import { normalize } from '../layers/norm.ts';
import { streamingTransformer } from '../layers/transformer.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { reshape, slice } from '../onnx/tensor-operations.ts';

/**
 * @param tokens - [B, K] int64, text first.
 * @param offset - [B] int64, steps before this one.
 * @returns hidden [B, D] after the last norm, and text logits [B, V].
 */
export function temporalTransformer(
  graph: GraphBuilder,
  model: LanguageModel,
  tokens: Value,
  offset: Value,
): { hidden: Value; textLogits: Value } {
  const { languageModel: config, languageModelWeights: file } = model;
  const { dimension, norm } = config.temporal;
  return graph.scope('temporal', () => {
    const stream = (index: number): Value =>
      reshape(graph, slice(graph, tokens, 1, index, index + 1), [graph.batch]);
    const look = (name: string, rows: number, index: number): Value => {
      const table = file.tensor(`${name}.weight`, [rows, dimension]);
      return embedding(graph, stream(index), { table, lowRank: null });
    };
    // Audio first and text last, as the reference adds them.
    const embeddings = [
      ...Array.from({ length: config.codebooks }, (_, codebook) =>
        look(`emb.${codebook}`, config.audioCard + 1, codebook + 1),
      ),
      look('text_emb', config.textCard + 1, 0),
    ];
    const layers = findTransformerWeights(file, 'transformer', config.temporal, null);
    const x = graph.op('Sum', embeddings);
    const last = streamingTransformer(graph, config.temporal, layers, x, offset, 1);
    const hidden = normalize(graph, last, findNorm(file, 'out_norm', norm, dimension));
    const head = file.tensor('text_linear.weight', [config.textCardOut, dimension]);
    const bias = config.headBias ? file.tensor('text_linear.bias', [config.textCardOut]) : null;
    return { hidden, textLogits: linear(graph, hidden, head, bias) };
  });
}
