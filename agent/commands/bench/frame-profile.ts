/** Which part of a frame its time goes to, from ONNX Runtime's profile of every operator. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

export const FRAME_PARTS = [
  'mimi-encoder',
  'temporal',
  'attention',
  'depth',
  'mimi-decoder',
  'rest',
] as const;
export type FramePart = (typeof FRAME_PARTS)[number];

const profileSchema = z.array(
  z.object({
    cat: z.string().optional(),
    name: z.string(),
    /** µs. */
    dur: z.number().optional(),
    args: z.object({ op_name: z.string().optional() }).optional(),
  }),
);

const KERNEL = '_kernel_time';

/**
 * Shares of the parts, which add up to 1. Each operator counts with its fastest run, which other
 * programs disturbed least.
 *
 * @param file - What `GraphSession.endProfile` named.
 */
export async function frameShares(file: string): Promise<Record<FramePart, number>> {
  const events = profileSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  const fastest = new Map<string, { part: FramePart; us: number }>();
  for (const { cat, name, dur = 0, args } of events) {
    if (cat !== 'Node' || !name.endsWith(KERNEL)) {
      continue;
    }
    const us = Math.min(dur, fastest.get(name)?.us ?? Number.POSITIVE_INFINITY);
    fastest.set(name, { part: partOf(name, args?.op_name ?? ''), us });
  }
  const shares = Object.fromEntries(FRAME_PARTS.map((part) => [part, 0])) as Record<
    FramePart,
    number
  >;
  const total = [...fastest.values()].reduce((sum, { us }) => sum + us, 0);
  for (const { part, us } of fastest.values()) {
    shares[part] += us / total;
  }
  return shares;
}

/**
 * Nodes are named `index:type:scope/…`; onnxruntime keeps the name of what it replaces, more or less.
 * What runs inside a choice is named alike and counts within it.
 */
function partOf(name: string, operator: string): FramePart {
  const scope = /(?:^|:)(mimi-encoder|mimi-decoder|temporal|depth\d+)\//.exec(name)?.[1];
  if (scope === undefined) {
    return 'rest';
  }
  if (scope === 'temporal') {
    return operator === 'If' || operator === 'Attention' ? 'attention' : 'temporal';
  }
  return scope.startsWith('depth') ? 'depth' : (scope as FramePart);
}
