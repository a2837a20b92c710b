/** `bench endless`: one conversation for days of frames, as fast as the device steps: does anything grow? */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { architecture } from '../../../models/generate/architectures.ts';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import { FRAME_MS } from '../../../plugins/moshi/protocol/messages.ts';
import { CommandError } from '../command-context.ts';
import { openStepper } from './open-stepper.ts';

export interface BenchEndlessOptions {
  frames: number;
  json: boolean;
}

export interface EndlessReport {
  frames: number;
  /** Length of the conversation, if it were one in real time. */
  hours: number;
  /** Median step of the first and of the last tenth, ms. */
  firstStepMs: number;
  lastStepMs: number;
  /** From the end of the first tenth to that of the last, garbage collected, bytes. */
  heapGrowthBytes: number;
  residentGrowthBytes: number;
  /** Distinct text tokens in the last tenth: a conversation that is stuck has few. */
  lastTokens: number;
}

const TENTHS = 10;

/** @throws CommandError if the model computes something that is no sound. */
export async function benchEndless(options: BenchEndlessOptions): Promise<EndlessReport> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-endless-'));
  try {
    const report = await talk(folder, options.frames);
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
    return report;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A conversation of so many frames with a tiny model of random weights, whose context is soon full. */
export async function talk(folder: string, frames: number): Promise<EndlessReport> {
  const checkpoint = path.join(folder, 'checkpoint');
  await generateCheckpoint({ architecture: architecture('tiny'), seed: 1, directory: checkpoint });
  const { runtime, model, stepper } = await openStepper(checkpoint, folder, { slots: 1 });
  try {
    stepper.attach(0, { sampling: model.manifest.sampling, seed: 1 });
    const { pcm, execMask, textToken } = stepper.tensors;
    execMask[0] = 1;
    const perTenth = Math.ceil(frames / TENTHS);
    const stepsMs = new Float64Array(perTenth);
    const medians: number[] = [];
    const memory: NodeJS.MemoryUsage[] = [];
    const collectGarbage = garbageCollector();
    let tokens = new Set<bigint>();
    for (let tenth = 0; tenth < TENTHS; tenth += 1) {
      tokens = new Set();
      for (let index = 0; index < perTenth; index += 1) {
        const frame = tenth * perTenth + index;
        for (let sample = 0; sample < pcm.length; sample += 1) {
          pcm[sample] = 0.3 * Math.sin(sample * (0.01 + (frame % 97) / 500));
        }
        const startMs = performance.now();
        const failed = stepper.step(1);
        stepsMs[index] = performance.now() - startMs;
        if (failed.length > 0) {
          throw new CommandError(`the model computed no sound in frame ${frame}`);
        }
        tokens.add(textToken[0] ?? -1n);
      }
      medians.push(stepsMs.toSorted()[Math.floor(perTenth / 2)] ?? Number.NaN);
      collectGarbage();
      memory.push(process.memoryUsage());
    }
    const [first, last] = [memory[0], memory.at(-1)];
    return {
      frames: TENTHS * perTenth,
      hours: (TENTHS * perTenth * FRAME_MS) / 3_600_000,
      firstStepMs: medians[0] ?? Number.NaN,
      lastStepMs: medians.at(-1) ?? Number.NaN,
      heapGrowthBytes: (last?.heapUsed ?? 0) - (first?.heapUsed ?? 0),
      residentGrowthBytes: (last?.rss ?? 0) - (first?.rss ?? 0),
      lastTokens: tokens.size,
    };
  } finally {
    runtime.dispose();
  }
}

/** V8's own, without a flag of the process: what only waits to be collected has not grown. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

function table(report: EndlessReport): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const rows: [string, string][] = [
    ['conversation', `${report.frames} frames, ${report.hours.toFixed(2)} hours`],
    [
      'step, first and last',
      `${report.firstStepMs.toFixed(2)} and ${report.lastStepMs.toFixed(2)} ms (medians)`,
    ],
    ['heap grew by', megabytes(report.heapGrowthBytes)],
    ['process grew by', megabytes(report.residentGrowthBytes)],
    ['text tokens at the end', `${report.lastTokens} different`],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(24)}${value}`).join('\n')}\n`;
}
