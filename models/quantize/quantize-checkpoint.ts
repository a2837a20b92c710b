/** Writes a checkpoint again with the matrices of its language model in blocks of 8 or 4 bits. */
import { copyFile, link, mkdir, readdir, realpath, stat, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkTensors } from '../build.ts';
import { CheckpointError } from '../checkpoints/checkpoint-error.ts';
import { openCheckpoint, type AdapterChoice, type Checkpoint } from '../checkpoints/checkpoint.ts';
import { readConfigFile } from '../checkpoints/language-model-config.ts';
import type { ConvertedMatrix } from '../checkpoints/layouts/converted-weights.ts';
import { BLOCKS, BLOCK_LAYOUT_MARKER, type BlockPrecision } from '../checkpoints/linear-weight.ts';
import { VOICES_ARCHIVE, VOICES_FOLDER } from '../hub/checkpoint-files.ts';
import { makeCheckpointFolder } from '../checkpoints/new-checkpoint-folder.ts';

export type QuantizeOptions = {
  /** Folder of a checkpoint in any layout. */
  readonly checkpoint: string;
  readonly precision: BlockPrecision;
  /** Low-rank adapters to merge in place of those that the checkpoint names. */
  readonly adapters?: AdapterChoice;
  /** Folder to make; empty, or not there. */
  readonly directory: string;
  readonly onBytes?: (written: number, total: number) => void;
  /** Ends the work; nothing is left of it. */
  readonly signal?: AbortSignal;
  /** Where files lie that config.json names as `hf://owner/name/path`. */
  readonly hubCacheDirectory?: string;
};

export type QuantizeReport = {
  readonly directory: string;
  /** Sizes of the language model's file. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Largest error first. */
  readonly matrices: readonly ConvertedMatrix[];
};

/** Keys of config.json that say how the weights were stored, and what has been merged into them. */
const STORAGE_KEYS = new Set([
  'quantize',
  'quantization',
  'moshi_name',
  'lora',
  'lora_name',
  'lora_rank',
  'lora_scaling',
]);

/**
 * The same checkpoint and precision make the same bytes. Codec and tokenizer are hard links, or copies
 * across file systems. The folder appears when it is complete.
 *
 * @throws CheckpointError when the checkpoint cannot be read or gains nothing, or as
 * `makeCheckpointFolder`.
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeReport> {
  const { precision, signal } = options;
  const directory = resolve(options.directory);
  const checkpoint = await openCheckpoint(
    options.checkpoint,
    precision,
    options.adapters,
    options.hubCacheDirectory,
  );
  const { converted } = checkpoint;
  if (converted === null) {
    throw new CheckpointError(`${checkpoint.directory} has ${precision} matrices already.`);
  }
  if (converted.weights.blockMatrices === 0) {
    throw new CheckpointError(
      `${checkpoint.directory}: no matrix is a whole number of 32 columns wide; there is nothing to quantise.`,
    );
  }
  checkTensors(checkpoint);
  const matrices: ConvertedMatrix[] = [];
  await makeCheckpointFolder(directory, converted.weights.totalBytes, async (draft) => {
    const fileName = `model.${precision}.safetensors`;
    await converted.weights.write(join(draft, fileName), {
      onMatrix: (matrix) => matrices.push(matrix),
      ...(options.onBytes !== undefined && { onBytes: options.onBytes }),
      ...(signal !== undefined && { signal }),
    });
    const names = await linkOtherFiles(checkpoint, draft);
    const config = (await readConfigFile(checkpoint.directory)) as Record<string, unknown>;
    const kept = Object.entries(config).filter(([key]) => !STORAGE_KEYS.has(key));
    const { bits, size } = BLOCKS[precision];
    const quantization = { format: BLOCK_LAYOUT_MARKER, bits, group_size: size };
    const written = {
      ...Object.fromEntries(kept),
      moshi_name: fileName,
      ...names,
      quantization,
    };
    await writeFile(join(draft, 'config.json'), `${JSON.stringify(written, null, 2)}\n`);
    signal?.throwIfAborted();
  });
  const before = await stat(checkpoint.languageModelWeights.path);
  matrices.sort((a, b) => b.relativeError - a.relativeError);
  return {
    directory,
    bytesBefore: before.size,
    bytesAfter: converted.weights.totalBytes,
    matrices,
  };
}

/** Voices that come with the model, as a folder and as the archive that they were published in. */
async function linkVoices(from: string, to: string): Promise<void> {
  const voices = await readdir(join(from, VOICES_FOLDER)).catch(() => []);
  if (voices.length > 0) await mkdir(join(to, VOICES_FOLDER));
  for (const name of [VOICES_ARCHIVE, ...voices.map((voice) => join(VOICES_FOLDER, voice))]) {
    const path = await realpath(join(from, name)).catch(() => null);
    if (path === null || !(await stat(path)).isFile()) continue;
    await link(path, join(to, name)).catch(() => copyFile(path, join(to, name)));
  }
}

/** @returns the keys of config.json that name the files. */
async function linkOtherFiles(
  { directory, languageModel: { files }, mimiWeights, mimiConfigPath, tokenizerPath }: Checkpoint,
  folder: string,
): Promise<Record<string, string>> {
  // A cache keeps files under other names than those that config.json has for them.
  const found: [string, string | null, string | null][] = [
    ['mimi_name', files.mimi, mimiWeights.path],
    ['mimi_config_name', files.mimiConfig, mimiConfigPath],
    ['tokenizer_name', files.tokenizer, tokenizerPath],
  ];
  const names: Record<string, string> = {};
  for (const [key, given, place] of found) {
    if (given === null || place === null) continue;
    const path = await realpath(place);
    const name = basename(given);
    await link(path, join(folder, name)).catch(() => copyFile(path, join(folder, name)));
    names[key] = name;
  }
  await linkVoices(directory, folder);
  return names;
}
