/**
 * Element types of what operators give, from those of what they take: of the operators that our graphs
 * use, as onnx/onnx docs/Operators.md and microsoft/onnxruntime docs/ContribOperators.md say.
 */
import { dataTypeOf, type DataType } from './data-types.ts';
import type { Attributes } from './model-proto.ts';

const COMPARISONS: ReadonlySet<string> = new Set([
  'And',
  'Equal',
  'GreaterOrEqual',
  'Less',
  'LessOrEqual',
]);
/** What they normalise has one type, their scale and what they give another. */
const SCALED: ReadonlySet<string> = new Set(['RMSNormalization', 'SimplifiedLayerNormalization']);

/**
 * @param inputs - Null where an optional one is left out.
 * @param index - Of the output.
 */
export function outputType(
  operator: string,
  inputs: readonly (DataType | null)[],
  attributes: Attributes,
  index: number,
): DataType {
  if (operator === 'Cast') return dataTypeOf(attributes['to'] as number);
  if (COMPARISONS.has(operator)) return 'bool';
  if (operator === 'ArgMax' || (operator === 'TopK' && index === 1)) return 'int64';
  if (operator === 'MatMulInteger') return 'int32';
  const type = inputs[operator === 'Where' || SCALED.has(operator) ? 1 : 0] ?? null;
  if (type === null) throw new RangeError(`${operator} has no input that gives it a type`);
  return type;
}
