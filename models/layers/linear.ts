/**
 * Linear layers and embedding tables.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm_utils.py (ScaledEmbedding).
 */
import { isBlockMatrix, type LinearWeight } from '../checkpoints/linear-weight.ts';
import type { TensorView } from '../checkpoints/safetensors.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, toFloat } from '../onnx/tensor-operations.ts';

/**
 * The CPU provider then rounds x to 8 bits, in blocks of its own, and multiplies integers; the level
 * that keeps x as it is takes 4 bits 2.5 times as long and 8 bits 70 times (onnxruntime 1.30).
 */
const INTEGER_ACCURACY = 4;

/**
 * x [M, in] of any type · weightᵀ [in, out] (+ bias [out]) → [M, out] float32.
 *
 * With weights that are computed in 16 bits, x is rounded to them and so is the product, which is summed
 * in 32; what comes before and after is float32: sums of many layers, norms and angles would lose more
 * with each of them than one rounding loses here.
 */
export function linear(
  graph: GraphBuilder,
  x: Value,
  weight: LinearWeight,
  bias: TensorView | null = null,
): Value {
  const type = weight.computedIn ?? 'float32';
  const rows = graph.cast(x, type);
  if (isBlockMatrix(weight)) {
    const { packed, scales, zeroPoints, format, shape } = weight;
    const product = graph.contributedOp(
      'MatMulNBits',
      [
        rows,
        graph.storedWeight(packed),
        graph.weight(scales, scales.shape, type),
        ...(zeroPoints === null ? [] : [graph.storedWeight(zeroPoints)]),
      ],
      {
        N: shape[0],
        K: shape[1],
        bits: format.bits,
        block_size: format.size,
        accuracy_level: INTEGER_ACCURACY,
      },
    );
    return withBias(graph, product, bias);
  }
  const inputs = [rows, graph.weight(weight, weight.shape, type)];
  if (type !== 'float32') return withBias(graph, graph.op('Gemm', inputs, { transB: 1 }), bias);
  if (bias !== null) inputs.push(graph.weight(bias));
  return graph.op('Gemm', inputs, { transB: 1 });
}

function withBias(graph: GraphBuilder, product: Value, bias: TensorView | null): Value {
  const wide = toFloat(graph, product);
  return bias === null ? wide : add(graph, wide, graph.weight(bias));
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
  // WebGPU has no kernels for bfloat16.
  const stored =
    graph.device === 'webgpu'
      ? graph.weight(table, table.shape, table.computedIn)
      : graph.storedWeight(table);
  const rows = graph.op('Gather', [stored, ids], { axis: 0 });
  return lowRank === null ? toFloat(graph, rows) : linear(graph, rows, lowRank);
}
