/**
 * Linear layers and embedding tables.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm_utils.py (ScaledEmbedding).
 */
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';

/** x [M, in] · weightᵀ [in, out] (+ bias [out]) → [M, out]. */
export function linear(
  graph: GraphBuilder,
  x: Value,
  weight: TensorView,
  bias: TensorView | null = null,
): Value {
  const inputs = [x, graph.weight(weight)];
  if (bias !== null) inputs.push(graph.weight(bias));
  return graph.op('Gemm', inputs, { transB: 1 });
}

/** A table with an optional projection of its rows (low-rank embeddings). */
export type EmbeddingWeights = { readonly table: TensorView; readonly lowRank: TensorView | null };

/**
 * Rows of a table: ids [B] → [B, D].
 *
 * The table is gathered in its stored type and only the rows are widened: folding the whole cast
 * would keep a second, twice as large copy of every table in memory.
 */
export function embedding(graph: GraphBuilder, ids: Value, weights: EmbeddingWeights): Value {
  const { table, lowRank } = weights;
  const rows = graph.widen(
    graph.op('Gather', [graph.storedWeight(table), ids], { axis: 0 }),
    table,
  );
  return lowRank === null ? rows : linear(graph, rows, lowRank);
}
