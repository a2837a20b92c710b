/**
 * Draws a token from logits: temperature, top-k and an exponential race, or greedy at temperature 0.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/utils/sampling.py (`sample_token`): softmax over the
 * whole vocabulary, top-k, argmax of p / e with e ~ Exp(1). We race in logarithms: p ∝ exp(logit / T)
 * up to a factor common to all candidates, so argmax of logit / T - log e is the same draw.
 *
 * Letters: B rows, V vocabulary, W candidates (width of the noise), S draws of one kind per step.
 */
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { reshape, where } from '../onnx/tensor-operations.ts';
import { hidden, pickIds } from './device-kernels.ts';

/** Settings of all draws of one kind (text or audio) in this step. */
export type Sampler = {
  /** [B, 1] float32, never 0. */
  readonly temperature: Value;
  /** [B, 1] bool. */
  readonly greedy: Value;
  /** [B, S, W] float32: -log e of the candidates that compete, minus infinity for the others. */
  readonly handicap: Value;
  readonly width: number;
};

/**
 * @param temperature - [B] float32; 0 is greedy.
 * @param topK - [B] int64, 1 to `width`.
 * @param noise - [B, S, W] float32, draws of Exp(1).
 */
export function sampler(
  graph: GraphBuilder,
  inputs: { temperature: Value; topK: Value; noise: Value; width: number },
): Sampler {
  const { width } = inputs;
  const column = [graph.batch, 1];
  const temperature = reshape(graph, inputs.temperature, column);
  const greedy = graph.op('LessOrEqual', [temperature, graph.floats([0])]);
  const ranks = graph.integers(Array.from({ length: width }, (_, rank) => rank));
  const competes = graph.op('Less', [ranks, reshape(graph, inputs.topK, [graph.batch, 1, 1])]);
  return {
    temperature: where(graph, greedy, graph.floats([1]), temperature),
    greedy,
    handicap: where(
      graph,
      competes,
      graph.op('Neg', [graph.op('Log', [inputs.noise])]),
      graph.floats([hidden(graph)]),
    ),
    width,
  };
}

/** logits [B, V] → token [B, 1] int64. @param draw - Which of the S draws this is. */
export function sample(graph: GraphBuilder, by: Sampler, logits: Value, draw: number): Value {
  // Sorted, and the lower index first among equals: candidate 0 is the argmax of the reference.
  const [values, tokens] = graph.ops('TopK', [logits, graph.integers([by.width])], 2, {
    axis: 1,
    largest: 1,
    sorted: 1,
  }) as [Value, Value];
  const handicap = graph.op('Gather', [by.handicap, graph.integers([draw], [])], { axis: 1 });
  const scores = graph.op('Add', [graph.op('Div', [values, by.temperature]), handicap]); // [B, W]
  const winner = graph.op('ArgMax', [scores], { axis: 1, keepdims: 1 }); // [B, 1]
  const choice = where(graph, by.greedy, graph.integers([0]), winner);
  return pickIds(graph, tokens, choice, by.width);
}

/**
 * What a text script allows in this step (manifest.ts, `forced_text`): `forced` where it is not
 * negative; for -2 - t every token but those of `padding` becomes t; -1 leaves `token`. All [B, n].
 */
export function scriptToken(
  graph: GraphBuilder,
  forced: Value,
  token: Value,
  padding: readonly number[],
): Value {
  const replacement = graph.op('Sub', [graph.integers([-2]), forced]);
  const isFree = graph.op('GreaterOrEqual', [forced, graph.integers([-1])]);
  // One choice after the other: WebGPU has no kernel for the disjunction of their conditions.
  const kept = padding.map((id) => graph.op('Equal', [token, graph.integers([id])]));
  const scripted = [isFree, ...kept].reduce(
    (otherwise, keeps) => where(graph, keeps, token, otherwise),
    replacement,
  );
  return forceToken(graph, forced, scripted);
}

/** `forced` where it is not negative, else `token`; both [B, n]. */
export function forceToken(graph: GraphBuilder, forced: Value, token: Value): Value {
  const given = graph.op('GreaterOrEqual', [forced, graph.integers([0])]);
  return where(graph, given, forced, token);
}
