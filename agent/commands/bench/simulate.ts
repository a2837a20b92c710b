/** `bench simulate`: what scheduler and admission make of step times, under a virtual clock. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import {
  simulate,
  type SimulationReport,
  type StepFigures,
} from '../../../plugins/moshi/engine/scheduling/simulation.ts';
import { CommandError } from '../command-context.ts';
import { batchSizes } from '../model-for-command.ts';

export interface BenchSimulateOptions {
  slots: number;
  callers: number;
  minutes: number;
  /** Report of `bench frame --json`; null: a step takes `fixedMs` and `rowMs` for each row. */
  stepsFile: string | null;
  fixedMs: number;
  rowMs: number;
  /** 99th percentile of a step over its median. */
  jitter: number;
  /** Steps take so many times as long as the admission is told before anybody comes. */
  slowdown: number;
  seed: number;
  json: boolean;
}

const MEAN_CONVERSATION_MS = 180_000;

const frameReport = z.object({
  figures: z.array(
    z.object({
      batch: z.number().int().positive(),
      ms: z.object({ p50: z.number().positive(), p99: z.number().positive() }),
    }),
  ),
});

/** @throws CommandError if the file has no step times, or none for so many slots. */
export async function benchSimulate(options: BenchSimulateOptions): Promise<SimulationReport> {
  const steps =
    options.stepsFile === null
      ? linearSteps(options)
      : await measuredSteps(options.stepsFile, options.slots);
  const report = simulate({
    slots: options.slots,
    callers: options.callers,
    steps,
    slowdown: options.slowdown,
    meanConversationMs: MEAN_CONVERSATION_MS,
    durationMs: options.minutes * 60_000,
    seed: options.seed,
  });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
  return report;
}

function linearSteps(options: BenchSimulateOptions): Map<number, StepFigures> {
  const { slots, fixedMs, rowMs, jitter } = options;
  return new Map(
    batchSizes(slots).map((batch) => {
      const p50 = fixedMs + rowMs * batch;
      return [batch, { p50, p99: p50 * jitter }];
    }),
  );
}

/** The slowest figures of each batch size, whatever the context. */
async function measuredSteps(file: string, slots: number): Promise<Map<number, StepFigures>> {
  const parsed = frameReport.safeParse(
    await readFile(file, 'utf8')
      .then((text): unknown => JSON.parse(text))
      .catch((error: unknown) => {
        throw new CommandError(`cannot read ${file}`, { cause: error });
      }),
  );
  if (!parsed.success) {
    throw new CommandError(`${file} is no report of bench frame --json`);
  }
  const steps = new Map<number, StepFigures>();
  for (const { batch, ms } of parsed.data.figures.sort((a, b) => a.batch - b.batch)) {
    const known = steps.get(batch);
    steps.set(batch, {
      p50: Math.max(ms.p50, known?.p50 ?? 0),
      p99: Math.max(ms.p99, known?.p99 ?? 0),
    });
  }
  const largest = [...steps.keys()].at(-1) ?? 0;
  if (largest < slots) {
    throw new CommandError(
      `${file} has step times of batches up to ${largest}, ${slots} slots need ${slots}: measure with --batch, or lower --slots`,
    );
  }
  return steps;
}

/** Of conversations of a minute or more. */
function missedShares({ leastMissedShare, worstMissedShare }: SimulationReport): string {
  const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
  const ratio = worstMissedShare === 0 ? 1 : worstMissedShare / leastMissedShare;
  return `${percent(leastMissedShare)} to ${percent(worstMissedShare)}, ratio ${ratio.toFixed(2)}`;
}

function table(report: SimulationReport): string {
  const { lagMs, refused } = report;
  const rows: [string, string][] = [
    ['callers, slots', `${report.callers}, ${report.slots}`],
    ['conversations at once', report.meanAttached.toFixed(1)],
    ['conversations', `${report.conversations}`],
    ['refused', `${refused.full} full, ${refused.overloaded} overloaded`],
    ['steps', `${report.steps}, ${report.meanRows.toFixed(1)} conversations each`],
    ['frames', `${report.frames}, ${report.missedFrames} missed`],
    ['missed by one', missedShares(report)],
    [
      'lag',
      `p50 ${lagMs.p50.toFixed(1)}, p99 ${lagMs.p99.toFixed(1)}, max ${lagMs.max.toFixed(1)} ms`,
    ],
    ['moves', `${report.moves}`],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(24)}${value}`).join('\n')}\n`;
}
