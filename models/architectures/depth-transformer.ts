/**
 * The depth transformer: from the temporal state and the text token, one codebook after the other.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (`LMModel.forward_depformer`,
 * `LMGen.depformer_step`). The steps are unrolled: each may have its own weights, keys and values are
 * new in every frame, and the code drawn in one step is the input of the next.
 *
 * Letters: B rows, D steps, d width, H heads, G key heads, hd head width, V audio vocabulary.
 */
import { strict as assert } from 'node:assert';
import type { LanguageModel } from '../checkpoints/checkpoint.ts';
import { findNorm, findTransformerWeights } from '../checkpoints/transformer-weights.ts';
import { growingAttention } from '../layers/cached-attention.ts';
import { embedding, linear, type EmbeddingWeights } from '../layers/linear.ts';
import { normalize } from '../layers/norm.ts';
import { rotate, rotation, sinusoids } from '../layers/positions.ts';
import { layerSet, transformerLayer } from '../layers/transformer.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, concatenate, reshape, split } from '../onnx/tensor-operations.ts';

/**
 * @param hidden - [B·R, temporal width]; R = 2 branches of every row where `guide` is given, else 1.
 * @param textToken - [B, 1] int64.
 * @param choose - logits [B, V] of a step → code [B, 1] int64, which all branches read.
 * @param guide - logits [B·R, V] → [B, V]; null where there is one branch.
 * @returns codes and logits of the D steps.
 */
export function depthTransformer(
  graph: GraphBuilder,
  model: LanguageModel,
  hidden: Value,
  textToken: Value,
  choose: (logits: Value, step: number) => Value,
  guide: ((logits: Value, width: number) => Value) | null = null,
): { codes: Value[]; logits: Value[] } {
  const { languageModel: config, languageModelWeights: file } = model;
  const { depth } = config;
  assert(depth !== null, 'a model without a depth transformer does not speak');
  const { transformer, schedule, weightsPerStep, inputPerSet, embeddingRank } = depth;
  const { batch } = graph;
  const branches = guide === null ? 1 : 2;
  const rows = batch * branches;
  const { dimension, heads, headsPerKey } = transformer;
  const keyHeads = heads / headsPerKey;
  const headWidth = dimension / heads;

  const layers = findTransformerWeights(
    file,
    'depformer',
    transformer,
    weightsPerStep ? depth.weightSets : null,
    weightsPerStep ? depth.packedSets : 1,
  );
  const keys = layers.map((): Value[] => []);
  const values = layers.map((): Value[] => []);
  const table = (name: string, rows: number): EmbeddingWeights => ({
    table: file.tensor(`${name}.weight`, [rows, embeddingRank ?? dimension]),
    lowRank:
      embeddingRank === null
        ? null
        : file.tensor(`${name}.low_rank.weight`, [dimension, embeddingRank]),
  });

  /** Attention of layer `index` at one step, over this frame's steps so far. */
  const attend = (index: number, step: number, projection: Value): Value => {
    const separated = reshape(graph, projection, [rows, heads + 2 * keyHeads, 1, headWidth]);
    const [query, key, value] = split(graph, separated, 1, [heads, keyHeads, keyHeads]) as [
      Value,
      Value,
      Value,
    ];
    const by = rotation(graph, transformer, stepPosition(graph, rows, step));
    const turn = (x: Value): Value =>
      by === null ? x : rotate(graph, x, by, { rows, length: 1, headWidth });
    const layerKeys = keys[index] ?? [];
    const layerValues = values[index] ?? [];
    layerKeys.push(turn(key));
    layerValues.push(value);
    const attended = growingAttention(graph, turn(query), layerKeys, layerValues, {
      rows,
      heads,
      keyHeads,
      headWidth,
    });
    return reshape(graph, attended, [rows, dimension]);
  };

  const codes: Value[] = [];
  const allLogits: Value[] = [];
  let previous = textToken;
  schedule.forEach((set, step) => {
    graph.scope(`depth${step}`, () => {
      const inputName = `depformer_in.${inputPerSet ? set : 0}.weight`;
      const inputWeight = file.matrix(inputName, [dimension, config.temporal.dimension]);
      const weights =
        step === 0
          ? table('depformer_text_emb', config.textCard + 1)
          : table(`depformer_emb.${step - 1}`, config.audioCard + 1);
      const ids = concatenate(graph, Array<Value>(branches).fill(previous), 1);
      const token = embedding(graph, reshape(graph, ids, [rows]), weights);
      let x = add(graph, linear(graph, hidden, inputWeight), token); // [B·R, d]
      const shift = sinusoids(graph, transformer, stepPosition(graph, rows, step));
      if (shift !== null) x = add(graph, x, reshape(graph, shift, [rows, dimension]));
      layers.forEach((layer, index) => {
        x = transformerLayer(
          graph,
          transformer,
          layerSet(layer, weightsPerStep ? set : 0),
          x,
          (projection) => attend(index, step, projection),
        );
      });
      if (depth.outputNorm !== null) {
        const name = `depformer_norms.${step}`;
        x = normalize(graph, x, findNorm(file, name, depth.outputNorm, dimension));
      }
      const head = file.matrix(`linears.${step}.weight`, [config.audioCard, dimension]);
      const bias = config.headBias ? file.tensor(`linears.${step}.bias`, [config.audioCard]) : null;
      const all = linear(graph, x, head, bias);
      const logits = guide === null ? all : guide(all, config.audioCard);
      const code = choose(logits, step);
      allLogits.push(logits);
      codes.push(code);
      previous = code;
    });
  });
  return { codes, logits: allLogits };
}

/** Position [rows, 1] of a depth step: its number, the same in every row. */
function stepPosition(graph: GraphBuilder, rows: number, step: number): Value {
  return graph.integers(
    Array.from({ length: rows }, () => step),
    [rows, 1],
  );
}
