/** What a checkpoint consists of: read from its files, nothing is built. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkTensors } from './build.ts';
import { memoryFacts, type MemoryFacts } from './catalogue-facts.ts';
import { openCheckpoint, type AdapterChoice } from './checkpoints/checkpoint.ts';
import type { GenerationConfig } from './checkpoints/language-model-config.ts';
import { VOICES_FOLDER } from './hub/checkpoint-files.ts';
import type { ModelKind } from './manifest.ts';
import { codecParameterCount, parameterCounts, type ParameterCounts } from './model-size.ts';
import { readSentencePieceModel } from './tokenizer/sentencepiece.ts';

const FRAMES_PER_SECOND = 12.5;

export type CheckpointFacts = MemoryFacts & {
  readonly kind: ModelKind;
  readonly directory: string;
  /** Of the language model's file: PyTorch, MLX, Candle, GGUF … */
  readonly layout: string;
  /** Its tensors by type, as the file spells it. */
  readonly storedTypes: Readonly<Record<string, number>>;
  /** What the matrices are computed in unless asked otherwise. */
  readonly precision: string;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** Numbers in use, by part. */
  readonly parameters: ParameterCounts & { readonly codec: number };
  /** How far back the model hears itself and others. */
  readonly context: { readonly frames: number; readonly seconds: number };
  /** In frames: text, then each codebook. */
  readonly delays: readonly number[];
  readonly codebooks: { readonly generated: number; readonly heard: number };
  readonly tokenizer: { readonly pieces: number; readonly algorithm: string };
  readonly conditions: readonly {
    readonly name: string;
    readonly values: readonly string[];
    /** What conversations get that ask for none; null where that is no value. */
    readonly default: string | null;
  }[];
  /** What the checkpoint itself says about sampling (`lm_gen_config`). */
  readonly generation: GenerationConfig;
  /** Keys of config.json that are passed over. */
  readonly ignoredSettings: readonly string[];
  /** Strength of classifier-free guidance, or null for models without. */
  readonly guidance: number | null;
  /** Strength of the adapters that are merged, or null where there are none. */
  readonly adapterScaling: number | null;
  /** Voices that come with the model, by name. */
  readonly voices: readonly string[];
};

/** @throws CheckpointError naming what is missing, malformed or not implemented. */
export async function inspectCheckpoint(
  directory: string,
  adapters: AdapterChoice,
  hubCacheDirectory: string,
): Promise<CheckpointFacts> {
  const checkpoint = await openCheckpoint(directory, null, adapters, hubCacheDirectory);
  checkTensors(checkpoint);
  const { languageModel: config, mimi, stored } = checkpoint;
  const names = await namesInFolder(checkpoint.directory);
  const files = await Promise.all(
    checkpoint.paths.map(async (path) => ({
      name: names.get(path) ?? basename(path),
      bytes: (await stat(path).catch(() => null))?.size ?? 0,
    })),
  );
  const { pieces, algorithm } = await readSentencePieceModel(checkpoint.tokenizerPath);
  const { context } = config.temporal;
  return {
    kind: config.kind,
    directory: checkpoint.directory,
    layout: stored.layout,
    storedTypes: stored.types,
    precision: checkpoint.precision,
    files: files.filter(({ bytes }) => bytes > 0),
    parameters: { ...parameterCounts(config), codec: codecParameterCount(mimi) },
    context: { frames: context, seconds: context / FRAMES_PER_SECOND },
    delays: config.delays,
    codebooks: {
      generated: config.generatedCodebooks,
      heard: config.codebooks - config.generatedCodebooks,
    },
    tokenizer: { pieces: pieces.length, algorithm },
    conditions: config.conditions.map(({ name, values, defaultRow }) => ({
      name,
      values,
      default: values[defaultRow] ?? null,
    })),
    generation: config.generation,
    ignoredSettings: config.ignoredSettings,
    guidance: config.guidance,
    adapterScaling: checkpoint.adapterScaling,
    voices: await voicesOf(checkpoint.directory),
    ...memoryFacts(config, mimi),
  };
}

/** By the real path of each file: in a cache it is called by its checksum there. */
async function namesInFolder(directory: string): Promise<ReadonlyMap<string, string>> {
  const entries = await Promise.all(
    (await readdir(directory)).map(
      async (name) => [await realpath(join(directory, name)).catch(() => name), name] as const,
    ),
  );
  return new Map(entries);
}

async function voicesOf(directory: string): Promise<string[]> {
  const files = await readdir(join(directory, VOICES_FOLDER)).catch(() => []);
  return files.flatMap((file) => (file.endsWith('.pt') ? [basename(file, '.pt')] : [])).sort();
}
