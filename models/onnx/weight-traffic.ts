/**
 * What a run of a graph must read of its weights, which is what bounds the speed of models as large as
 * these: every product reads its whole matrix, lookups read single rows.
 */
import { DATA_TYPES, dataTypeOf, elementCount } from './data-types.ts';
import type { InitializerDescription, NodeDescription } from './model-proto.ts';

/** Reads rows of its first input, not all of it. */
const LOOKUP = 'Gather';

/**
 * Bytes that one run reads of constants, in the type they are computed in: onnxruntime works out what
 * depends on constants alone when it loads the graph.
 */
export function weightBytesRead(
  nodes: readonly NodeDescription[],
  initializers: Iterable<InitializerDescription>,
): number {
  const constants = new Map<string, { elements: number; elementBytes: number }>();
  for (const { name, type, shape } of initializers) {
    constants.set(name, { elements: elementCount(shape), elementBytes: DATA_TYPES[type].bytes });
  }
  let total = 0;
  for (const { type, inputs, outputs, attributes } of nodes) {
    const used = inputs.map((name) => constants.get(name));
    const isConstant = inputs.every((name, index) => name === '' || used[index] !== undefined);
    if (isConstant && inputs.length > 0 && type !== LOOKUP) {
      const elements = Math.max(...used.map((constant) => constant?.elements ?? 0));
      const elementBytes =
        type === 'Cast'
          ? DATA_TYPES[dataTypeOf(attributes['to'] as number)].bytes
          : (used[0]?.elementBytes ?? 0);
      for (const output of outputs) constants.set(output, { elements, elementBytes });
    } else if (type !== LOOKUP) {
      for (const constant of used) {
        total += (constant?.elements ?? 0) * (constant?.elementBytes ?? 0);
      }
    }
  }
  return total;
}
