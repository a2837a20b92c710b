/**
 * The temporal transformer: one step over the sum of all streams' embeddings.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (`LMModel.forward_text`). Letters: B rows,
 * K = 1 + N streams, D width, V text vocabulary.
 */
import type { LanguageModel } from '../checkpoints/checkpoint.ts';
import type { LanguageModelConfig } from '../checkpoints/language-model-config.ts';
import { findNorm, findTransformerWeights } from '../checkpoints/transformer-weights.ts';
import { sum } from '../layers/device-kernels.ts';
import { embedding, linear } from '../layers/linear.ts';
import { normalize } from '../layers/norm.ts';
import { streamingTransformer } from '../layers/transformer.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { conditionSum, type ConditionChoice } from './conditions.ts';
import { add, reshape, slice, where } from '../onnx/tensor-operations.ts';

/** loaders.py names the row, whatever the configuration calls padding. */
const READ_IN_PLACE_OF_END = 3;

export type ExtraInputs = {
  readonly conditions?: readonly ConditionChoice[];
  readonly recorded?: { readonly has: Value; readonly embedding: Value } | null;
};

/**
 * @param tokens - [B, K] int64, text first.
 * @param offset - [B] int64, steps before this one.
 * @param extra - `conditions` of the rows; `recorded`: what rows with `has` [B] bool read in place of
 *   their tokens, sums [B, D] of embeddings, or null in models that never do.
 * @returns hidden [B·R, D] after the last norm, and text logits [B·R, V]; R = 2 branches of every row
 * where the model is guided, the conditioned one first, else 1.
 */
export function temporalTransformer(
  graph: GraphBuilder,
  model: LanguageModel,
  tokens: Value,
  offset: Value,
  { conditions = [], recorded = null }: ExtraInputs = {},
): { hidden: Value; textLogits: Value } {
  const { languageModel: config, languageModelWeights: file } = model;
  const { dimension, norm } = config.temporal;
  const branches = config.guidance === null ? 1 : 2;
  return graph.scope('temporal', () => {
    const stream = (index: number): Value =>
      reshape(graph, slice(graph, tokens, 1, index, index + 1), [graph.batch]);
    const look = (name: string, rows: number, ids: Value): Value => {
      const table = file.tensor(`${name}.weight`, [rows, dimension]);
      return embedding(graph, ids, { table, lowRank: null });
    };
    // Audio first and text last, as the reference adds them.
    const embeddings = [
      ...Array.from({ length: config.codebooks }, (_, codebook) =>
        look(`emb.${codebook}`, config.audioCard + 1, stream(codebook + 1)),
      ),
      look('text_emb', config.textCard + 1, readText(graph, config, stream(0))),
    ];
    const layers = findTransformerWeights(file, 'transformer', config.temporal, null);
    const total = sum(graph, embeddings);
    const read =
      recorded === null
        ? total
        : where(graph, reshape(graph, recorded.has, [graph.batch, 1]), recorded.embedding, total);
    const condition = conditionSum(graph, model, conditions, branches);
    const x =
      condition === null
        ? read
        : reshape(graph, add(graph, reshape(graph, read, [graph.batch, 1, dimension]), condition), [
            graph.batch * branches,
            dimension,
          ]);
    const last = streamingTransformer(graph, config.temporal, layers, x, offset, 1, branches);
    const hidden = normalize(graph, last, findNorm(file, 'out_norm', norm, dimension));
    const head = file.matrix('text_linear.weight', [config.textCardOut, dimension]);
    const bias = config.headBias ? file.tensor('text_linear.bias', [config.textCardOut]) : null;
    return { hidden, textLogits: linear(graph, hidden, head, bias) };
  });
}

/** What a model can sample to end its text, it reads as padding (loaders.py, `get_moshi`). */
function readText(
  graph: GraphBuilder,
  { endOfStreamToken }: LanguageModelConfig,
  ids: Value,
): Value {
  if (endOfStreamToken === null) return ids;
  const ends = graph.op('Equal', [ids, graph.integers([endOfStreamToken])]);
  return where(graph, ends, graph.integers([READ_IN_PLACE_OF_END]), ids);
}
