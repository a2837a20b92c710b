/**
 * Opens a folder of a published checkpoint: configuration, weights, codec and tokenizer.
 *
 * Resolution of names as kyutai-labs/moshi@e6a55d2 moshi/moshi/models/loaders.py (CheckpointInfo).
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from './checkpoint-error.ts';
import type { AdapterOptions } from './layouts/low-rank-adapters.ts';
import {
  DEFAULT_ADAPTER_SCALING,
  readLanguageModelConfig,
  type LanguageModelConfig,
} from './language-model-config.ts';
import { parseHubName } from '../hub/checkpoint-files.ts';
import { CachedRepository } from '../hub/hub-cache.ts';
import type { Precision } from '../manifest.ts';
import { readMimiConfig, type MimiConfig } from './mimi-config.ts';
import { openWeights, type ConvertedFile, type OpenedWeights } from './layouts/open-weights.ts';
import { voiceInBlocks } from './layouts/voice-weights.ts';
import { SafetensorsFile } from './safetensors.ts';
import type { WeightSource } from './weight-source.ts';

export type LanguageModel = {
  readonly languageModel: LanguageModelConfig;
  readonly languageModelWeights: WeightSource;
};

export type Checkpoint = LanguageModel & {
  readonly directory: string;
  readonly mimi: MimiConfig;
  readonly mimiWeights: SafetensorsFile;
  /** Folder of both weight files, or null where the build must gather them. */
  readonly weightsDirectory: string | null;
  /** Files that graphs refer to by these names. */
  readonly weightFiles: readonly { readonly path: string; readonly fileName: string }[];
  /** The language model, where graphs cannot use the checkpoint's own file. */
  readonly converted: ConvertedFile | null;
  /** What the codec's voice is made with, in blocks; null: with the weights of its own file. */
  readonly convertedVoice: ConvertedFile | null;
  /** Strength of the low-rank adapters that are merged into the matrices; null where there are none. */
  readonly adapterScaling: number | null;
  /** Of the language model's matrices. */
  readonly precision: Precision;
  /** The language model's file, as it lies there. */
  readonly stored: OpenedWeights['stored'];
  /** Null where the codec is the built-in one. */
  readonly mimiConfigPath: string | null;
  readonly tokenizerPath: string;
  /** Every file that the result depends on. */
  readonly paths: readonly string[];
};

/** Adapters in place of what config.json says of them. */
export type AdapterChoice = { readonly path?: string; readonly scaling?: number };

/**
 * @param precision - Of the language model's matrices; null for that of a checkpoint of ours, else float32.
 * @param hubCacheDirectory - Where files lie that config.json names as `hf://owner/name/path`.
 * @throws CheckpointError naming what is missing, malformed or not implemented.
 */
export async function openCheckpoint(
  folder: string,
  precision: OpenedWeights['precision'] | null = null,
  adapterChoice: AdapterChoice = {},
  hubCacheDirectory?: string,
): Promise<Checkpoint> {
  const directory = resolve(folder);
  const isDirectory = await stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory) throw new CheckpointError(`${directory} is not a folder with a checkpoint.`);
  const languageModel = await readLanguageModelConfig(directory);
  const { files } = languageModel;
  const locate = (field: string, name: string): string =>
    pathOf(directory, field, name, hubCacheDirectory);
  const mimiConfigPath =
    files.mimiConfig === null ? null : locate('mimi_config_name', files.mimiConfig);
  const mimi = await readMimiConfig(mimiConfigPath);
  checkFit(languageModel, mimi);
  const tokenizerPath = locate('tokenizer_name', files.tokenizer);
  const modelPath = await followLinks(directory, locate('moshi_name', files.model));
  const mimiPath = await followLinks(directory, locate('mimi_name', files.mimi));
  // Caches keep each file behind a link. Graphs must name plain files of one folder: that of the
  // real files if they share one, else one that the build makes, under names that cannot clash.
  const together = dirname(modelPath) === dirname(mimiPath);
  const adapters = await findAdapters(directory, languageModel, adapterChoice, hubCacheDirectory);
  const weights = await openWeights(
    modelPath,
    together ? basename(modelPath) : 'language-model.safetensors',
    languageModel,
    adapters,
    precision,
  );
  const { converted } = weights;
  const gathered = !together || converted !== null;
  const mimiWeights = await SafetensorsFile.open(
    mimiPath,
    gathered ? 'mimi.safetensors' : basename(mimiPath),
  );
  // A folder whose files graphs can use stays where it lies, and its codec as it is.
  const speaks = languageModel.kind !== 'stt';
  const isRounded = converted !== null && weights.precision !== 'f32';
  const convertedVoice = isRounded && speaks ? voiceInBlocks(mimiWeights) : null;
  const modelFile = { path: modelPath, fileName: 'language-model.safetensors' };
  const configPath = join(directory, 'config.json');
  return {
    directory,
    languageModel,
    mimi,
    languageModelWeights: weights.source,
    mimiWeights,
    weightsDirectory: gathered ? null : dirname(modelPath),
    weightFiles: converted === null ? [modelFile, mimiWeights] : [mimiWeights],
    converted,
    convertedVoice,
    adapterScaling: adapters?.scaling ?? null,
    precision: weights.precision,
    stored: weights.stored,
    mimiConfigPath,
    tokenizerPath,
    paths: [
      configPath,
      ...(mimiConfigPath === null ? [] : [mimiConfigPath]),
      tokenizerPath,
      modelPath,
      ...(adapters === null ? [] : [adapters.path]),
      mimiPath,
    ],
  };
}

async function findAdapters(
  directory: string,
  { adapters, quantized, blockPrecision }: LanguageModelConfig,
  choice: AdapterChoice,
  hubCacheDirectory: string | undefined,
): Promise<AdapterOptions | null> {
  const name = choice.path ?? adapters?.file ?? null;
  if (name === null) {
    if (adapters !== null) {
      throw new CheckpointError(
        `${directory}: config.json says lora, but not which file: write it into lora_name, or name it ` +
          `on the command line.`,
      );
    }
    if (choice.scaling === undefined) return null;
    throw new CheckpointError(`${directory}: there are no adapters to scale by ${choice.scaling}.`);
  }
  if (quantized || blockPrecision !== null) {
    throw new CheckpointError(
      `${directory}: adapters (${name}) cannot be merged into weights that are quantised already; ` +
        `use the checkpoint that they were trained on.`,
    );
  }
  const path = await followLinks(
    directory,
    pathOf(directory, 'lora_name', name, hubCacheDirectory),
  );
  const scaling = choice.scaling ?? adapters?.scaling ?? DEFAULT_ADAPTER_SCALING;
  return { path, scaling, rank: choice.path === undefined ? (adapters?.rank ?? null) : null };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function followLinks(directory: string, path: string): Promise<string> {
  return realpath(path).catch(async (cause: unknown) => {
    const configPath = join(directory, 'config.json');
    const hint = (await exists(configPath))
      ? `copy it from where the checkpoint came from, or write the right name into ${configPath}`
      : `it was looked for because there is no ${configPath}, which Moshi 7B of 2024 alone can do without`;
    throw new CheckpointError(`Cannot find ${path}: ${hint}.`, { cause });
  });
}

/** Of a file that config.json names: beside it, anywhere (`file://`), or pulled (`hf://`). */
function pathOf(
  directory: string,
  field: string,
  name: string,
  hubCacheDirectory: string | undefined,
): string {
  if (name.startsWith('file://')) return fileURLToPath(name);
  const pulled = parseHubName(name);
  if (pulled === null) return resolve(directory, name);
  if (hubCacheDirectory !== undefined) {
    const snapshot = new CachedRepository(hubCacheDirectory, pulled.repository).find('main');
    if (snapshot !== null) return join(snapshot, pulled.path);
  }
  throw new CheckpointError(
    `config.json: ${field} points to Hugging Face (${name}), and the file is not in the cache. ` +
      `Pull the model again, or download the file into ${directory} and write "${basename(name)}" instead.`,
  );
}

/** The two must speak the same codes, and the model must hear some. */
function checkFit(languageModel: LanguageModelConfig, mimi: MimiConfig): void {
  const { codebooks, generatedCodebooks, audioCard } = languageModel;
  if (generatedCodebooks === codebooks) {
    throw new CheckpointError(
      `config.json: dep_q must be below n_q ${codebooks}, so that codebooks are left for the user; ` +
        `found ${generatedCodebooks}.`,
    );
  }
  const needed = Math.max(generatedCodebooks, codebooks - generatedCodebooks);
  if (needed > mimi.quantizer.codebooks) {
    throw new CheckpointError(
      `config.json: the model exchanges ${needed} codebooks with the codec, which has ` +
        `${mimi.quantizer.codebooks} (quantizer.n_q).`,
    );
  }
  if (audioCard !== mimi.quantizer.bins) {
    throw new CheckpointError(
      `config.json: card must equal the codec's quantizer.bins ${mimi.quantizer.bins}, found ${audioCard}.`,
    );
  }
}
