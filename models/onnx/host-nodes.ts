/**
 * Which nodes of a graph belong on the host: those that somebody marked, and those that compute from
 * their results and from the integers and flags that come from the host, without any weight. So they
 * are done before the device starts, or while it waits for them anyway.
 */
import type { NodeDescription } from './model-proto.ts';

export type HostQuestion = {
  /** In the order of their computation. */
  readonly nodes: readonly NodeDescription[];
  readonly marked: ReadonlySet<NodeDescription>;
  /** Values that are in the graph itself. */
  readonly constants: ReadonlySet<string>;
  /** Inputs that the host computes with. */
  readonly sources: readonly string[];
};

export function findHostNodes({
  nodes,
  marked,
  constants,
  sources,
}: HostQuestion): Set<NodeDescription> {
  const known = new Set(sources);
  const found = new Set<NodeDescription>();
  for (const node of nodes) {
    const inputs = node.inputs.filter((input) => input !== '' && !constants.has(input));
    const follows = inputs.length > 0 && inputs.every((input) => known.has(input));
    if (marked.has(node) || follows) {
      found.add(node);
      for (const output of node.outputs) known.add(output);
    }
  }
  return found;
}
