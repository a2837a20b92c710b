/**
 * The acoustic delay: which token of which stream the model reads at a step, and which tokens form
 * the column that is heard.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py (`LMGen._step`). Position p of stream k
 * holds what was said p - delay_k steps ago; until then it is the stream's initial token.
 *
 * Letters: B rows, K = 1 + N streams (text, then N codebooks), D generated codebooks, R ring length.
 */
import type { LanguageModelConfig } from '../checkpoints/language-model-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, concatenate, modulo, reshape, slice, where } from '../onnx/tensor-operations.ts';

/** Marks tokens of the column that the model has not made yet (lm.py, `ungenerated_token_id`). */
const UNGENERATED = -2;

export type DelayedTokens = {
  /** [B, K] int64: what the temporal transformer reads in this step. */
  readonly input: Value;
  /**
   * Stores what the model said in this step ([B, 1 + D]: text, then codes) and gives the column
   * [B, 1 + D] that it completes, UNGENERATED during the first `maxDelay` steps.
   */
  readonly complete: (generated: Value) => Value;
};

/**
 * @param offset - [B] int64, steps executed since the row's start.
 * @param advances - [B, 1, 1] bool: the ring moves.
 * @param heard - [B, N - D] int64: the user's codes of this frame.
 */
export function delayedTokens(
  graph: GraphBuilder,
  config: LanguageModelConfig,
  offset: Value,
  advances: Value,
  heard: Value,
): DelayedTokens {
  const { batch } = graph;
  const { delays, maxDelay, generatedCodebooks } = config;
  const streams = delays.length;
  const said = 1 + generatedCodebooks;
  const length = maxDelay + 2;
  const column = reshape(graph, offset, [batch, 1]);

  const ring = graph.state('tokens', 'int64', [streams, length]);
  const slots = graph.integers(Array.from({ length }, (_, slot) => slot));
  /** [B, n, 1]: ring slots of `offset + shift` for the given streams. */
  const slotsAt = (shifts: readonly number[]): Value =>
    reshape(graph, modulo(graph, add(graph, column, graph.integers(shifts)), length), [
      batch,
      shifts.length,
      1,
    ]);
  const write = (old: Value, at: Value, tokens: Value, count: number): Value =>
    where(graph, graph.op('Equal', [slots, at]), reshape(graph, tokens, [batch, count, 1]), old);
  const read = (from: Value, at: Value, count: number): Value =>
    reshape(graph, graph.op('GatherElements', [from, at], { axis: 2 }), [batch, count]);

  return graph.onHost(() => {
    const saidRing = slice(graph, ring, 1, 0, said);
    const heardRing = write(
      slice(graph, ring, 1, said, streams),
      slotsAt(delays.slice(said)),
      heard,
      streams - said,
    );
    const current = read(
      concatenate(graph, [saidRing, heardRing], 1),
      slotsAt(delays.map(() => 0)),
      streams,
    );
    const initial = delays.map((_, k) => (k === 0 ? config.textCard : config.audioCard));
    const waits = graph.op('LessOrEqual', [column, graph.integers(delays)]); // [B, K]
    const input = where(graph, waits, graph.integers(initial), current);

    const complete = (generated: Value): Value =>
      graph.onHost(() => {
        const newRing = write(
          saidRing,
          slotsAt(delays.slice(0, said).map(() => 1)),
          generated,
          said,
        );
        // Where reads the old ring element by element and its other operand waits for all other readers.
        graph.setState(
          ring,
          where(graph, advances, concatenate(graph, [newRing, heardRing], 1), ring),
        );
        const shifts = delays.slice(0, said).map((delay) => 1 - maxDelay + delay);
        const undelayed = read(newRing, slotsAt(shifts), said);
        const early = graph.op('Less', [column, graph.integers([maxDelay])]);
        return where(graph, early, graph.integers([UNGENERATED]), undelayed);
      });
    return { input, complete };
  });
}
