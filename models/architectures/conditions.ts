/**
 * Conditions and classifier-free guidance: what is added to every step's input, and how the logits of
 * a row's two branches become one.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/conditioners/base.py (`BaseConditioner`,
 * `ConditionFuser.get_sum`) and moshi/moshi/models/lm.py (`LMGen._step`, `depformer_step`). Letters:
 * B rows, R branches of a row (conditioned, then null), D width, V vocabulary.
 */
import type { LanguageModel } from '../checkpoints/checkpoint.ts';
import type { ConditionConfig } from '../checkpoints/conditioning-config.ts';
import { embedding } from '../layers/linear.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, concatenate, multiply, reshape, split, subtract } from '../onnx/tensor-operations.ts';

export type ConditionChoice = {
  readonly condition: ConditionConfig;
  /** [B] int64: rows of its table. */
  readonly rows: Value;
};

/**
 * @param choices - One for each condition of the configuration.
 * @returns [B, R, D] to add to the input, or null where the model has no conditions.
 */
export function conditionSum(
  graph: GraphBuilder,
  { languageModel, languageModelWeights: file }: LanguageModel,
  choices: readonly ConditionChoice[],
  branches: 1 | 2,
): Value | null {
  const { batch } = graph;
  const { dimension } = languageModel.temporal;
  const parts = choices.map(({ condition, rows }) => {
    const choice = reshape(graph, rows, [batch, 1]);
    const nulls = graph.integers(
      Array.from({ length: batch }, () => condition.nullRow),
      [batch, 1],
    );
    const ids = branches === 1 ? choice : concatenate(graph, [choice, nulls], 1);
    const prefix = `condition_provider.conditioners.${condition.name}`;
    return embedding(graph, reshape(graph, ids, [batch * branches]), {
      table: file.tensor(`${prefix}.embed.weight`, [condition.bins + 1, condition.dimension]),
      lowRank: file.tensor(`${prefix}.output_proj.weight`, [dimension, condition.dimension]),
    });
  });
  if (parts.length === 0) return null;
  const sum = parts.reduce((a, b) => add(graph, a, b));
  return reshape(graph, sum, [batch, branches, dimension]);
}

/**
 * Logits [B·2, V] of both branches → [B, V]: away from what the model says under the null condition.
 * @param strength - [B, 1] float32; 1 gives the conditioned branch.
 */
export function guide(graph: GraphBuilder, logits: Value, width: number, strength: Value): Value {
  const { batch } = graph;
  const pairs = reshape(graph, logits, [batch, 2, width]);
  const [conditioned, unconditioned] = split(graph, pairs, 1, [1, 1]).map((half) =>
    reshape(graph, half, [batch, width]),
  ) as [Value, Value];
  const difference = subtract(graph, conditioned, unconditioned);
  return add(graph, unconditioned, multiply(graph, difference, strength));
}
