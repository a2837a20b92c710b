/** `models quantize`: a checkpoint of a quarter or half the size, and what that costs. */
import path from 'node:path';
import { buildModel, resolveModel, type ModelSource } from '../../../models/build.ts';
import type { BlockPrecision } from '../../../models/checkpoints/linear-weight.ts';
import type { ModelManifest } from '../../../models/manifest.ts';
import {
  quantizeCheckpoint,
  type QuantizeOptions,
  type QuantizeReport,
} from '../../../models/quantize/quantize-checkpoint.ts';
import { openRunner, type Runner } from '../../../plugins/moshi/engine/runner.ts';
import { inCache } from '../cache-folder.ts';
import { chooseDevice } from '../machine/choose-device.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { adaptersOf } from '../model-for-command.ts';
import { Progress } from '../progress.ts';
import { cutFrames, readSpeech } from '../wav/speech-file.ts';
import { listenForSignals } from '../until-signal.ts';

export interface QuantizeCommandOptions {
  precision: BlockPrecision;
  /** Folder to make. */
  output: string;
  /** WAV to count kept tokens on. */
  wav: string | undefined;
  json: boolean;
}

/**
 * Choices of the quantised model, with keys and values as configured, that are those of the original
 * in float32, when both are given the original's tokens of all steps before (teacher forcing): one
 * other choice changes all that follow, so tokens of free conversations say little.
 */
export interface TokensKept {
  /** Steps compared. */
  frames: number;
  /** Shares, 0 to 1. `audio` is null for models that do not speak. */
  text: number;
  audio: number | null;
}

/** Matrices that a person is shown; programs get all. */
const SHOWN_MATRICES = 10;

export async function runQuantize(
  context: CommandContext,
  { precision, output, wav, json }: QuantizeCommandOptions,
): Promise<void> {
  const frames = wav === undefined ? null : cutFrames(await readSpeech(wav), 'drop');
  if (frames?.length === 0) {
    throw new CommandError(`${wav} is shorter than one frame of the model, 80 ms`);
  }
  const source = resolveModel(
    context.config.model.name,
    context.config.hub.cacheDirectory,
  ).directory;
  const adapters = adaptersOf(context.config);
  const report = await quantize({
    checkpoint: source,
    precision,
    directory: output,
    adapters,
    hubCacheDirectory: context.config.hub.cacheDirectory,
  });
  const kept =
    frames === null ? null : await tokensKept(context, [source, report.directory], frames);
  if (json) {
    context.print(JSON.stringify({ precision, ...report, tokensKept: kept }));
    return;
  }
  const { bytesAfter, bytesBefore, matrices } = report;
  context.print(`${report.directory}: ${gigabytes(bytesAfter)}, was ${gigabytes(bytesBefore)}`);
  context.print('error by matrix, relative to its weights (root mean square), largest first:');
  for (const { relativeError, name } of matrices.slice(0, SHOWN_MATRICES)) {
    context.print(`  ${percent(relativeError)}  ${name}`);
  }
  const rest = matrices.slice(SHOWN_MATRICES);
  if (rest.length > 0) {
    const mean = rest.reduce((sum, { relativeError }) => sum + relativeError, 0) / rest.length;
    context.print(`  ${percent(mean)}  on average of ${rest.length} more`);
  }
  if (kept !== null) {
    const audio = kept.audio === null ? '' : `, audio ${percent(kept.audio)}`;
    context.print(
      `tokens kept on ${path.basename(wav ?? '')}, ${kept.frames} steps: text ${percent(kept.text)}${audio}`,
    );
  }
}

async function quantize(
  options: Omit<QuantizeOptions, 'onBytes' | 'signal'>,
): Promise<QuantizeReport> {
  const { stop } = listenForSignals();
  let progress: Progress | null = null;
  try {
    return await quantizeCheckpoint({
      ...options,
      signal: stop,
      onBytes: (written, total) => {
        progress ??= new Progress({
          unit: 'MB',
          total: Math.ceil(total / 1e6),
          stream: process.stderr,
          clock: () => performance.now(),
        });
        progress.update(Math.floor(written / 1e6));
      },
    });
  } catch (error) {
    if (stop.aborted) {
      throw new CommandError('interrupted; nothing was written', { cause: error });
    }
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') {
      throw new CommandError(`${options.directory} cannot be written: the disk is full`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    (progress as Progress | null)?.finish();
  }
}

/** Runs the original, then the quantised one: only one of them is in memory at a time. */
async function tokensKept(
  context: CommandContext,
  [original, quantized]: [string, string],
  frames: readonly Float32Array[],
): Promise<TokensKept> {
  const { config } = context;
  const open = async (
    checkpoint: string,
    types: Pick<ModelSource, 'precision' | 'adapters' | 'keyValueType'>,
  ): Promise<Runner> => {
    const outputDirectory = path.join(config.cacheDirectory, 'models');
    const { directory } = await inCache(outputDirectory, () =>
      buildModel({
        checkpoint,
        outputDirectory,
        batches: [1],
        kinds: ['frame'],
        probes: true,
        ...types,
      }),
    );
    return openRunner({
      modelDirectory: directory,
      device: await chooseDevice(config.engine.device),
      ...engineThreads(config.engine),
    });
  };
  const exact = { precision: 'f32', keyValueType: 'f32', adapters: adaptersOf(config) } as const;
  const choices = greedyChoices(await open(original, exact), frames, null);
  const { keyValueType } = config.model;
  const own = greedyChoices(await open(quantized, { keyValueType }), frames, choices);
  const equal = own.map((step, index) =>
    step.map((token, stream) => token === choices[index]?.[stream]),
  );
  const share = (marks: boolean[]): number => marks.filter(Boolean).length / marks.length;
  const audio = equal.flatMap((marks) => marks.slice(1));
  return {
    frames: frames.length,
    text: share(equal.flatMap((marks) => marks.slice(0, 1))),
    audio: audio.length === 0 ? null : share(audio),
  };
}

/**
 * The likeliest text token and codes of every step: [steps][1 + D].
 *
 * @param forced - What the model is made to say in their place, or null: what it says itself.
 */
function greedyChoices(
  runner: Runner,
  frames: readonly Float32Array[],
  forced: readonly (readonly number[])[] | null,
): number[][] {
  try {
    const { heardCodebooks, generatedCodebooks }: ModelManifest = runner.manifest;
    const heard = Array<number>(heardCodebooks).fill(-1);
    runner.start(0, { sampling: { textTemperature: 0, audioTemperature: 0 } });
    return frames.map((pcm, index) => {
      const [text, ...codes] = forced?.[index] ?? [];
      const [result] = runner.step([
        {
          row: 0,
          pcm,
          ...(text !== undefined && { forcedText: text, forcedCodes: [...codes, ...heard] }),
        },
      ]);
      const textLogits = result?.probes.get('text_logits') ?? [];
      const audioLogits = result?.probes.get('audio_logits') ?? [];
      const card = audioLogits.length / Math.max(1, generatedCodebooks);
      return [
        likeliest(textLogits, 0, textLogits.length),
        ...Array.from({ length: generatedCodebooks }, (_, codebook) =>
          likeliest(audioLogits, codebook * card, card),
        ),
      ];
    });
  } finally {
    runner.dispose();
  }
}

/** Index of the largest of `count` numbers from `start` on. */
function likeliest(logits: ArrayLike<number>, start: number, count: number): number {
  let best = 0;
  for (let index = 1; index < count; index++) {
    if ((logits[start + index] ?? 0) > (logits[start + best] ?? 0)) {
      best = index;
    }
  }
  return best;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2).padStart(6)} %`;
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
