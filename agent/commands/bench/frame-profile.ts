/** What a frame consists of, from ONNX Runtime's profile of every operator that it runs. */
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

/** What ONNX Runtime executes in one frame, after it has joined and dropped operators. */
export interface KernelCounts {
  total: number;
  parts: Record<FramePart, number>;
  /** By execution provider: a device that lacks a kernel leaves its operator to the CPU. */
  providers: Record<string, number>;
  /** Those of the total that only copy between the memories of two providers. */
  copies: number;
}

export interface FrameProfile {
  /** Of the time of all operators; they add up to 1. */
  shares: Record<FramePart, number>;
  kernels: KernelCounts;
}

const profileSchema = z.array(
  z.object({
    cat: z.string().optional(),
    name: z.string(),
    /** µs. */
    ts: z.number().optional(),
    dur: z.number().optional(),
    args: z.object({ op_name: z.string().optional(), provider: z.string().optional() }).optional(),
  }),
);

const RUN = 'model_run';
const KERNEL = '_kernel_time';
/** What ONNX Runtime puts between operators of different providers. */
const COPY = /^Memcpy(From|To)Host$/;

interface Kernel {
  name: string;
  part: FramePart;
  operator: string;
  provider: string;
  startUs: number;
  us: number;
}

interface Span {
  startUs: number;
  endUs: number;
}

/**
 * Each operator's time is that of its fastest run, which other programs disturbed least.
 *
 * @param file - What `GraphSession.endProfile` named.
 */
export async function readFrameProfile(file: string): Promise<FrameProfile> {
  const events = profileSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  const kernels: Kernel[] = [];
  const runs: Span[] = [];
  for (const { cat, name, ts = 0, dur = 0, args } of events) {
    if (cat === 'Node' && name.endsWith(KERNEL)) {
      const { op_name: operator = '', provider = '' } = args ?? {};
      const part = partOf(name);
      kernels.push({ name, part, operator, provider, startUs: ts, us: dur });
    } else if (cat === 'Session' && name === RUN) {
      runs.push({ startUs: ts, endUs: ts + dur });
    }
  }
  return { shares: sharesOf(kernels), kernels: countLastRun(kernels, runs) };
}

/**
 * Replays of a recorded graph leave no trace of its operators, and while it is recorded a run may hold
 * further ones: what counts is the run that began last of those with operators.
 */
function countLastRun(kernels: readonly Kernel[], runs: readonly Span[]): KernelCounts {
  const within = [...runs]
    .sort((a, b) => a.startUs - b.startUs)
    .map(({ startUs, endUs }) =>
      kernels.filter((kernel) => kernel.startUs >= startUs && kernel.startUs < endUs),
    )
    .findLast((some) => some.length > 0);
  const counts: KernelCounts = { total: 0, parts: ofEachPart(), providers: {}, copies: 0 };
  for (const { part, operator, provider } of within ?? []) {
    counts.total += 1;
    counts.parts[part] += 1;
    counts.providers[provider] = (counts.providers[provider] ?? 0) + 1;
    counts.copies += COPY.test(operator) ? 1 : 0;
  }
  return counts;
}

function sharesOf(kernels: readonly Kernel[]): Record<FramePart, number> {
  const fastest = new Map<string, Kernel>();
  let choiceEndsUs = 0;
  for (const kernel of [...kernels].sort((a, b) => a.startUs - b.startUs)) {
    // The time of a choice is that of what runs inside it, too.
    if (kernel.startUs < choiceEndsUs) {
      continue;
    }
    if (kernel.operator === 'If') {
      choiceEndsUs = kernel.startUs + kernel.us;
    }
    if (kernel.us < (fastest.get(kernel.name)?.us ?? Number.POSITIVE_INFINITY)) {
      fastest.set(kernel.name, kernel);
    }
  }
  const shares = ofEachPart();
  const total = [...fastest.values()].reduce((sum, { us }) => sum + us, 0);
  for (const { part, us } of fastest.values()) {
    shares[part] += us / total;
  }
  return shares;
}

function ofEachPart(): Record<FramePart, number> {
  return Object.fromEntries(FRAME_PARTS.map((part) => [part, 0])) as Record<FramePart, number>;
}

/**
 * Nodes are named `index:type:scope/…`, or `index:type:scope.…` where they write a state; onnxruntime
 * keeps the name of what it replaces, more or less.
 */
function partOf(name: string): FramePart {
  const scope = /(?:^|:)(mimi-encoder|mimi-decoder|temporal|depth\d+)[/.]/.exec(name)?.[1];
  if (scope === undefined) {
    return 'rest';
  }
  if (scope === 'temporal') {
    return /[/.]attention[/.]/.test(name) ? 'attention' : 'temporal';
  }
  return scope.startsWith('depth') ? 'depth' : (scope as FramePart);
}
