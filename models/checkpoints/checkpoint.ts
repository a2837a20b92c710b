/**
 * Opens a folder in Kyutai's PyTorch layout: configuration, weights, codec and tokenizer.
 *
 * Resolution of names as kyutai-labs/moshi@e6a55d2 moshi/moshi/models/loaders.py (CheckpointInfo).
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from './checkpoint-error.ts';
import { readLanguageModelConfig, type LanguageModelConfig } from './language-model-config.ts';
import { readMimiConfig, type MimiConfig } from './mimi-config.ts';
import { SafetensorsFile } from './safetensors.ts';

export type LanguageModel = {
  readonly languageModel: LanguageModelConfig;
  readonly languageModelWeights: SafetensorsFile;
};

export type Checkpoint = LanguageModel & {
  readonly directory: string;
  readonly mimi: MimiConfig;
  readonly mimiWeights: SafetensorsFile;
  /** Folder of both weight files, or null when they lie in different ones. */
  readonly weightsDirectory: string | null;
  readonly tokenizerPath: string;
  /** Every file that the result depends on. */
  readonly paths: readonly string[];
};

/** @throws CheckpointError naming what is missing, malformed or not implemented. */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  const directory = resolve(folder);
  const isDirectory = await stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory) throw new CheckpointError(`${directory} is not a folder with a checkpoint.`);
  const languageModel = await readLanguageModelConfig(directory);
  const { files } = languageModel;
  const mimiConfigPath =
    files.mimiConfig === null ? null : locate(directory, 'mimi_config_name', files.mimiConfig);
  const mimi = await readMimiConfig(mimiConfigPath);
  checkFit(languageModel, mimi);
  const tokenizerPath = locate(directory, 'tokenizer_name', files.tokenizer);
  const modelPath = await followLinks(directory, locate(directory, 'moshi_name', files.model));
  const mimiPath = await followLinks(directory, locate(directory, 'mimi_name', files.mimi));
  // Caches keep each file behind a link. Graphs must name plain files of one folder: that of the
  // real files if they share one, else one that the build makes, under names that cannot clash.
  const together = dirname(modelPath) === dirname(mimiPath);
  const [languageModelWeights, mimiWeights] = together
    ? await Promise.all([SafetensorsFile.open(modelPath), SafetensorsFile.open(mimiPath)])
    : await Promise.all([
        SafetensorsFile.open(modelPath, 'language-model.safetensors'),
        SafetensorsFile.open(mimiPath, 'mimi.safetensors'),
      ]);
  checkLayout(languageModelWeights);
  const configPath = join(directory, 'config.json');
  return {
    directory,
    languageModel,
    mimi,
    languageModelWeights,
    mimiWeights,
    weightsDirectory: together ? dirname(modelPath) : null,
    tokenizerPath,
    paths: [
      configPath,
      ...(mimiConfigPath === null ? [] : [mimiConfigPath]),
      tokenizerPath,
      languageModelWeights.path,
      mimiWeights.path,
    ],
  };
}

/** Other stacks publish the same models under other tensor names and types. */
function checkLayout(weights: SafetensorsFile): void {
  const names = weights.names();
  const foreign = [
    { layout: 'quantised MLX', found: names.find((name) => name.endsWith('.scales')) },
    { layout: 'MLX', found: names.find((name) => name.startsWith('depformer.slices.')) },
    { layout: 'Candle', found: names.find((name) => /^depformer\.\d+\./.test(name)) },
    { layout: 'transformers', found: names.find((name) => name.startsWith('decoder.model.')) },
  ].find(({ found }) => found !== undefined);
  if (foreign === undefined) return;
  throw new CheckpointError(
    `${weights.path}: this is the ${foreign.layout} layout (tensor ${String(foreign.found)}), which is ` +
      `not implemented; use Kyutai's PyTorch files, for example moshiko-pytorch-bf16.`,
  );
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

function locate(directory: string, field: string, name: string): string {
  if (name.startsWith('file://')) return fileURLToPath(name);
  if (name.startsWith('hf://')) {
    throw new CheckpointError(
      `config.json: ${field} points to Hugging Face (${name}). ` +
        `Download it into ${directory} and write "${basename(name)}" instead.`,
    );
  }
  if (name.endsWith('.gguf')) {
    throw new CheckpointError(
      `config.json: ${field} names a GGUF file (${name}), which is not implemented; ` +
        `use Kyutai's PyTorch safetensors.`,
    );
  }
  return resolve(directory, name);
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
