/**
 * Linear layers and embedding tables.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm_utils.py (ScaledEmbedding).
 */
import { isBlockMatrix, type LinearWeight } from '../checkpoints/linear-weight.ts';
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add } from '../onnx/tensor-operations.ts';

/**
 * The CPU provider then rounds x to 8 bits, in blocks of its own, and multiplies integers; the level
 * that keeps x as it is takes 4 bits 2.5 times as long and 8 bits 70 times (onnxruntime 1.30).
 */
const INTEGER_ACCURACY = 4;

/** x [M, in] · weightᵀ [in, out] (+ bias [out]) → [M, out]. */
export function linear(
  graph: GraphBuilder,
  x: Value,
  weight: LinearWeight,
  bias: TensorView | null = null,
): Value {
  if (isBlockMatrix(weight)) {
    const { packed, scales, zeroPoints, format, shape } = weight;
    const pieces = [packed, scales, ...(zeroPoints === null ? [] : [zeroPoints])];
    const product = graph.contributedOp(
      'MatMulNBits',
      [x, ...pieces.map((piece) => graph.storedWeight(piece))],
      {
        N: shape[0],
        K: shape[1],
        bits: format.bits,
        block_size: format.size,
        accuracy_level: INTEGER_ACCURACY,
      },
    );
    return bias === null ? product : add(graph, product, graph.weight(bias));
  }
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
  const rows =
    graph.device === 'webgpu' // It has no kernels for bfloat16.
      ? graph.op('Gather', [graph.weight(table), ids], { axis: 0 })
      : graph.widen(graph.op('Gather', [graph.storedWeight(table), ids], { axis: 0 }), table);
  return lowRank === null ? rows : linear(graph, rows, lowRank);
}
