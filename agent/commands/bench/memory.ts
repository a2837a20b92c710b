/** `bench memory`: what a model takes of memory, by precision, batch sizes and conversations. */
import { fork } from 'node:child_process';
import path from 'node:path';
import type { ArchitectureName } from '../../../models/generate/architectures.ts';
import type { Precision } from '../../../models/manifest.ts';
import { benchModel, buildBenchModel } from './measured-model.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { rightAligned } from './columns.ts';
import { memoryAnswer, type MemoryAnswer, type MemoryTask } from './memory-process.ts';

export interface BenchMemoryOptions {
  /** As in `bench frame`. */
  like: ArchitectureName | null;
  /** Ascending; measured with the first alone and with all of them. */
  batches: number[];
  precisions: Precision[];
  threads: number;
  json: boolean;
}

/** Bytes. */
export interface MemoryFigures extends MemoryAnswer {
  precision: Precision;
  batches: number[];
  /** What each further batch size adds, loaded and run. */
  perFurtherBatchSize: number;
}

export async function benchMemory(
  context: CommandContext,
  { like, batches, precisions, threads, json }: BenchMemoryOptions,
): Promise<MemoryFigures[]> {
  const checkpoint = await benchModel(context, like);
  const figures: MemoryFigures[] = [];
  for (const precision of precisions) {
    const measure = async (sizes: number[]): Promise<MemoryAnswer> => {
      context.remark(`${like ?? checkpoint}: ${precision}, batch sizes ${sizes.join(', ')} …`);
      const directory = await buildBenchModel(context, { checkpoint, precision, batches: sizes });
      return inOwnProcess({ directory, slots: sizes.at(-1) ?? 1, threads });
    };
    const first = await measure(batches.slice(0, 1));
    const all = batches.length > 1 ? await measure(batches) : first;
    figures.push({
      precision,
      batches,
      ...all,
      perFurtherBatchSize: (all.running - first.running) / Math.max(1, batches.length - 1),
    });
  }
  context.print(json ? JSON.stringify(figures, null, 2) : table(figures));
  return figures;
}

function inOwnProcess(task: MemoryTask): Promise<MemoryAnswer> {
  return new Promise((resolve, reject) => {
    const child = fork(path.join(import.meta.dirname, 'memory-process.ts'));
    child.once('message', (answer) => resolve(memoryAnswer.parse(answer)));
    child.once('exit', (code, signal) => {
      reject(new CommandError(`the measured process ended (${signal ?? `status ${code ?? 0}`})`));
    });
    child.send(task);
  });
}

function table(figures: MemoryFigures[]): string {
  const header = [
    'precision',
    'batch sizes',
    'loaded MB',
    'running',
    'peak',
    'per further size',
    'per conversation',
  ];
  const rows = figures.map((figure) => [
    figure.precision,
    figure.batches.join(','),
    ...[
      figure.loaded,
      figure.running,
      figure.peak,
      figure.perFurtherBatchSize,
      figure.conversation,
    ].map((bytes) => (bytes / 1e6).toFixed(0)),
  ]);
  return [
    ...rightAligned([header, ...rows]),
    '',
    `resident memory of a process of its own, of which Node takes ${((figures[0]?.idle ?? 0) / 1e6).toFixed(0)} MB; ` +
      'a conversation takes its room bit by bit, until its context is full',
  ].join('\n');
}
