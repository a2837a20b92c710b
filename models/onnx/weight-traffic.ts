/**
 * What graphs make of their weights: what a run must read of them, which is what bounds the speed of
 * models as large as these (every product reads its whole matrix, lookups read single rows), and what
 * of them lies in memory.
 */
import { DATA_TYPES, dataTypeOf, elementCount } from './data-types.ts';
import type { InitializerDescription, NodeDescription } from './model-proto.ts';

/** Reads rows of its first input, not all of it. */
const LOOKUP = 'Gather';

export type WeightTraffic = {
  /** Bytes that one run reads of constants, in the type they are computed in. */
  readonly readBytes: number;
  /**
   * Bytes of constants that onnxruntime works out of others when it loads the graph: each session has
   * them for itself.
   */
  readonly foldedBytes: number;
  /** Names of the constants that runs read as they are stored. */
  readonly readAsStored: ReadonlySet<string>;
};

/** onnxruntime works out what depends on constants alone when it loads the graph. */
export function weightTraffic(
  nodes: readonly NodeDescription[],
  initializers: Iterable<InitializerDescription>,
): WeightTraffic {
  const constants = new Map<string, { elements: number; elementBytes: number }>();
  const stored = new Set<string>();
  for (const { name, type, shape } of initializers) {
    constants.set(name, { elements: elementCount(shape), elementBytes: DATA_TYPES[type].bytes });
    stored.add(name);
  }
  const inUse = new Set<string>();
  let readBytes = 0;
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
      continue;
    }
    for (const [index, constant] of used.entries()) {
      if (constant === undefined) continue;
      inUse.add(inputs[index] ?? '');
      if (type !== LOOKUP) readBytes += constant.elements * constant.elementBytes;
    }
  }
  let foldedBytes = 0;
  for (const name of inUse) {
    const { elements, elementBytes } = constants.get(name) ?? { elements: 0, elementBytes: 0 };
    if (!stored.has(name)) foldedBytes += elements * elementBytes;
  }
  return {
    readBytes,
    foldedBytes,
    readAsStored: new Set([...inUse].filter((name) => stored.has(name))),
  };
}
