/**
 * ELU: x where it is positive, else alpha · (exp(x) - 1).
 *
 * Source: Clevert, Unterthiner, Hochreiter 2015, "Fast and accurate deep network learning by exponential
 * linear units".
 */
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { subtract } from '../onnx/tensor-operations.ts';

/** Of so many numbers four fast operators take less time than one slow one. */
const MANY = 1 << 14;

/**
 * The CPU provider's Elu computes its exponentials four at a time at most, its Exp as many as the processor
 * can: of a million numbers the operators below take half to a third of the time (onnxruntime 1.30).
 *
 * @param count - Numbers of a row of x.
 */
export function elu(graph: GraphBuilder, x: Value, alpha: number, count: number): Value {
  if (graph.device !== 'cpu' || alpha !== 1 || count < MANY) {
    return graph.op('Elu', [x], { alpha: { float: alpha } });
  }
  const negative = graph.op('Clip', [x, null, graph.floats([0], [])]);
  // Never below x where x is negative, 0 elsewhere: the larger of the two is the result, NaN included.
  return graph.op('Max', [subtract(graph, graph.op('Exp', [negative]), graph.floats([1])), x]);
}
