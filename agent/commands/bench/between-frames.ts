/** What beginning, keeping and taking up a conversation takes, while no other can step. */
import type {
  FrameStepper,
  RowOptions,
} from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';
import { rightAligned } from './columns.ts';
import { quantile } from './quantile.ts';

/** Medians, ms. */
export interface BetweenFrames {
  /** A row made as good as new, in which somebody was for as long as the context says. */
  begin: number;
  /** A copy of such a conversation made. */
  keep: number;
  /** That copy put into a row: with `begin` and a frame, the start of a call whose prompt is known. */
  restore: number;
}

const TIMES = 7;

/** Row 0 of a stepper in which it has talked; it is left as it was. */
export function timeBetweenFrames(stepper: FrameStepper, options: RowOptions): BetweenFrames {
  const times = { begin: [] as number[], keep: [] as number[], restore: [] as number[] };
  const timed = <T>(name: keyof BetweenFrames, work: () => T): T => {
    const startMs = performance.now();
    const result = work();
    times[name].push(performance.now() - startMs);
    return result;
  };
  for (let round = 0; round < TIMES; round += 1) {
    const snapshot = timed('keep', () => stepper.save(0));
    timed('begin', () => stepper.attach(0, options));
    timed('restore', () => stepper.restore(0, snapshot));
    snapshot.dispose();
  }
  const median = (values: number[]): number => quantile(values, 0.5) ?? Number.NaN;
  return { begin: median(times.begin), keep: median(times.keep), restore: median(times.restore) };
}

/** Lines for people: one for each build that was measured. */
export function betweenFramesTable(
  figures: readonly {
    precision: string;
    batch: number;
    context: number;
    betweenFrames: BetweenFrames;
  }[],
): string[] {
  const header = ['precision', 'batch', 'context', 'begin ms', 'keep', 'restore'];
  const rows = figures.map(({ precision, batch, context, betweenFrames }) => [
    precision,
    String(batch),
    String(context),
    betweenFrames.begin.toFixed(1),
    betweenFrames.keep.toFixed(1),
    betweenFrames.restore.toFixed(1),
  ]);
  return [
    ...rightAligned([header, ...rows]),
    '',
    'between two frames, for one row with that context: made as good as new; copied aside; put back, ' +
      'as the start of a call does with a prompt that it knows',
  ];
}
