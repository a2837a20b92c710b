/**
 * Turns a checkpoint into a folder that the engine can run: graphs, vocabulary and manifest.
 *
 * The result depends on nothing but the checkpoint's files, the options and this code, and its folder
 * is named after a digest of the three: what exists is reused, and builders that run at the same time
 * make the same folder, of which the first one stays.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  copyFile,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { codecCodebooks, mimiDecodeGraph, mimiEncodeGraph } from './architectures/codec-graphs.ts';
import { drawWidths, frameGraph } from './architectures/frame-graph.ts';
import { countPauseHeads, transcriptionGraph } from './architectures/transcription-graph.ts';
import { CheckpointError } from './checkpoints/checkpoint-error.ts';
import { openCheckpoint, type AdapterChoice, type Checkpoint } from './checkpoints/checkpoint.ts';
import { HalfWeights } from './checkpoints/half-weights.ts';
import type { HalfType } from './checkpoints/safetensors.ts';
import { personaPlexPrompt } from './checkpoints/personaplex-config.ts';
import {
  readLanguageModelConfig,
  type TranscriptionConfig,
} from './checkpoints/language-model-config.ts';
import {
  MANIFEST_FORMAT_VERSION,
  modelManifest,
  type Device,
  type GraphDescription,
  type ModelKind,
  type ModelManifest,
  type Precision,
  type SamplingOptions,
} from './manifest.ts';
import { KEY_VALUE_TYPES } from './model-size.ts';
import type { GraphBuilder } from './onnx/graph-builder.ts';
import { resolveModel } from './catalogue.ts';
import { readSentencePieceModel } from './tokenizer/sentencepiece.ts';

export { resolveModel, type ResolvedModel } from './catalogue.ts';
export type { AdapterChoice } from './checkpoints/checkpoint.ts';
export { CheckpointError } from './checkpoints/checkpoint-error.ts';

/** Which model, and how it computes. */
export type ModelSource = {
  /** A name of the catalogue, a repository, or the folder of a checkpoint. */
  readonly checkpoint: string;
  /** Where pulled models lie; see `resolveModel`. */
  readonly hubCacheDirectory?: string;
  /**
   * Of the language model's matrices; if absent, that of a checkpoint that `models quantize` wrote,
   * else float32. Matrices whose width is no multiple of 32 stay plain. What listens in
   * the codec is always float32; where matrices are rounded for a CPU, its voice has some of 8 bits, too.
   * 16 bits are for GPUs; WebGPU's adapters may lack float16 and all lack bfloat16.
   */
  readonly precision?: Precision;
  /** Low-rank adapters in place of those that the checkpoint names. */
  readonly adapters?: AdapterChoice;
  /** Strength of classifier-free guidance, 1 for none; the checkpoint's own if absent. */
  readonly guidance?: number;
  /**
   * Steps that a conversation remembers, at most the checkpoint's own: keys and values take memory,
   * and reading them takes time, in proportion.
   */
  readonly context?: number;
  /** Of these, so many are the first of the conversation, which it never forgets; none if absent. */
  readonly attentionSinks?: number;
  /** What is to run the graphs; the CPU if absent. */
  readonly device?: Device;
  readonly keyValueType?: KeyValueWish;
};

export type BuildOptions = ModelSource & {
  /** Built models are folders in here. */
  readonly outputDirectory: string;
  /** Each graph is made once for every batch size. */
  readonly batches: readonly number[];
  readonly kinds: readonly GraphDescription['kind'][];
  /** Whether the frame graph also gives hidden state, logits and heard codes. */
  readonly probes?: boolean;
  /** Name to show people; that of the folder if absent. */
  readonly name?: string;
};

/**
 * How the transformer over time keeps its keys and values: in 32, 16 or 8 bits. `auto`, the default, is
 * 16 bits where the matrices are rounded as coarsely anyway and the device surely computes with them,
 * else 32. The codec's rings and those of the depth transformer are always of 32.
 */
export type KeyValueWish = 'auto' | 'f32' | 'f16' | 'int8';

const KEY_VALUE_NUMBERS = { f32: 'float32', f16: 'float16', int8: 'int8' } as const;

/**
 * What products are computed in where that is not float32. CUDA's kernel for blocks of 8 and 4 bits takes
 * its time from the type of what it multiplies them with; bfloat16 would keep fewer of their bits.
 */
const COMPUTED_IN: Readonly<Record<Device, Partial<Record<Precision, HalfType>>>> = {
  cpu: {},
  cuda: { bf16: 'bfloat16', f16: 'float16', q8: 'float16', q4: 'float16', 'q4-128': 'float16' },
  webgpu: { f16: 'float16' },
};

const SAMPLE_RATE = 24000;
const FRAME_SAMPLES = 1920;
const FRAMES_PER_SECOND = SAMPLE_RATE / FRAME_SAMPLES;

/** The reference's defaults (kyutai-labs/moshi@e6a55d2 moshi/moshi/models/lm.py, `LMGen`). */
const REFERENCE_SAMPLING: SamplingOptions = {
  textTemperature: 0.7,
  audioTemperature: 0.8,
  textTopK: 25,
  audioTopK: 250,
};

/** What kind of model a checkpoint is, from its configuration alone. @throws CheckpointError. */
export async function readModelKind(
  nameOrPath: string,
  hubCacheDirectory?: string,
): Promise<ModelKind> {
  const { directory } = resolveModel(nameOrPath, hubCacheDirectory);
  const { kind } = await readLanguageModelConfig(directory);
  return kind;
}

/**
 * Builds a model, or finds what an earlier call built from the same.
 * @returns the absolute folder of manifest.json, and its content.
 * @throws CheckpointError when the checkpoint cannot be used.
 */
export async function buildModel(
  options: BuildOptions,
): Promise<{ directory: string; manifest: ModelManifest }> {
  const model = resolveModel(options.checkpoint, options.hubCacheDirectory);
  const checkpoint = await openForBuild(options);
  const name = options.name ?? model.name;
  const digest = await buildDigest(checkpoint, name, options);
  const outputDirectory = resolve(options.outputDirectory);
  const directory = join(outputDirectory, `${name.replaceAll(/[^\w.-]/g, '_')}-${digest}`);
  const existing = await readManifest(directory);
  if (existing !== null) return { directory, manifest: existing };

  const draft = join(outputDirectory, `.draft-${randomUUID()}`);
  await mkdir(draft, { recursive: true });
  try {
    const weightsDirectory =
      checkpoint.weightsDirectory ??
      (await gatherWeights(checkpoint, options.kinds.includes('frame'), draft, directory));
    const graphs: GraphDescription[] = [];
    for (const kind of new Set(options.kinds)) {
      for (const batch of new Set(options.batches)) {
        const graph = composeGraph(
          checkpoint,
          kind,
          batch,
          options.probes ?? false,
          options.device,
        );
        const { bytes, signature } = graph.finish();
        const file = `${kind}-${batch}.onnx`;
        await writeFile(join(draft, file), bytes);
        graphs.push({ kind, batch, file, ...signature });
      }
    }
    const vocabularyFile = 'vocabulary.json';
    const { pieces } = await readSentencePieceModel(checkpoint.tokenizerPath);
    const vocabulary = pieces.map(({ piece, kind }) => ({ piece, kind }));
    await writeFile(join(draft, vocabularyFile), JSON.stringify(vocabulary));
    const tokenizerFile = 'tokenizer.model';
    await copyFile(checkpoint.tokenizerPath, join(draft, tokenizerFile));
    const manifest = modelManifest.parse({
      ...describeModel(checkpoint),
      device: options.device ?? 'cpu',
      name,
      isDemo: model.isDemo,
      weightsDirectory,
      vocabularyFile,
      tokenizerFile,
      graphs,
    } satisfies ModelManifest);
    await writeFile(join(draft, 'manifest.json'), JSON.stringify(manifest, null, 1));
    await publish(draft, directory);
    return { directory, manifest };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** The checkpoint as a build with these options reads it. @throws CheckpointError. */
export async function openForBuild(options: ModelSource): Promise<Checkpoint> {
  const { adapters, hubCacheDirectory } = options;
  const { directory } = resolveModel(options.checkpoint, hubCacheDirectory);
  const { precision: wish = null, device = 'cpu' } = options;
  const isHalf = wish === 'bf16' || wish === 'f16';
  if (isHalf && COMPUTED_IN[device][wish] === undefined) {
    throw new CheckpointError(
      `precision ${wish} needs a device with kernels for it, which ${device} is not; ` +
        `use ${device === 'cpu' ? 'f32' : 'f32, f16'}, q8 or q4.`,
    );
  }
  const stored = isHalf ? 'f32' : wish;
  const opened = await openCheckpoint(directory, stored, adapters, hubCacheDirectory);
  const checkpoint = computedOn(device, isHalf ? { ...opened, precision: wish } : opened);
  const guided = withGuidance(checkpoint, options.guidance);
  return withKeyValueType(
    withSinks(withContext(guided, options.context), options.attentionSinks ?? 0),
    options,
  );
}

function computedOn(device: Device, checkpoint: Checkpoint): Checkpoint {
  // A GPU reads the voice's matrices in no time, and without rounding what they are multiplied with.
  const convertedVoice = device === 'cpu' ? checkpoint.convertedVoice : null;
  const type = COMPUTED_IN[device][checkpoint.precision];
  if (type === undefined) return { ...checkpoint, convertedVoice };
  const languageModelWeights = new HalfWeights(checkpoint.languageModelWeights, type);
  return { ...checkpoint, convertedVoice, languageModelWeights };
}

/** @throws CheckpointError where 8 bits are asked for and cannot be. */
function withKeyValueType(
  checkpoint: Checkpoint,
  { keyValueType: wish = 'auto', device = 'cpu' }: Pick<ModelSource, 'keyValueType' | 'device'>,
): Checkpoint {
  const { languageModel, precision } = checkpoint;
  if (wish === 'int8' && device !== 'cpu') {
    throw new CheckpointError(
      `keys and values of 8 bits are for the CPU, not for ${device}; use f16, f32 or auto.`,
    );
  }
  // An adapter that computes with float16 is known of only where somebody asks for it.
  const surelyHasHalves = device !== 'webgpu' || precision === 'f16';
  const chosen = surelyHasHalves ? KEY_VALUE_TYPES[precision] : 'f32';
  const keyValueType = KEY_VALUE_NUMBERS[wish === 'auto' ? chosen : wish];
  const temporal = { ...languageModel.temporal, keyValueType } as const;
  return { ...checkpoint, languageModel: { ...languageModel, temporal } };
}

/** @throws CheckpointError when the model has nothing to be guided by. */
function withGuidance(checkpoint: Checkpoint, strength: number | undefined): Checkpoint {
  if (strength === undefined) return checkpoint;
  const { languageModel } = checkpoint;
  if (strength !== 1 && languageModel.conditions.length === 0) {
    throw new CheckpointError(
      `${checkpoint.directory}: guidance ${strength} needs a model with conditions; this one has none.`,
    );
  }
  const guidance = strength === 1 ? null : strength;
  return { ...checkpoint, languageModel: { ...languageModel, guidance } };
}

/** @throws CheckpointError when the model was not trained on as much. */
function withContext(checkpoint: Checkpoint, steps: number | undefined): Checkpoint {
  if (steps === undefined) return checkpoint;
  const { languageModel } = checkpoint;
  const { temporal } = languageModel;
  if (!Number.isInteger(steps) || steps < 1 || steps > temporal.context) {
    throw new CheckpointError(
      `${checkpoint.directory}: the context must be 1 to ${temporal.context} steps of 80 ms, which the ` +
        `model was trained on; found ${steps}.`,
    );
  }
  const shorter = { ...languageModel, temporal: { ...temporal, context: steps } };
  return { ...checkpoint, languageModel: shorter };
}

/** @throws CheckpointError when nothing is left of the context for what is said now. */
function withSinks(checkpoint: Checkpoint, sinks: number): Checkpoint {
  if (sinks === 0) return checkpoint;
  const { languageModel } = checkpoint;
  const { temporal } = languageModel;
  if (!Number.isInteger(sinks) || sinks < 0 || sinks >= temporal.context) {
    throw new CheckpointError(
      `${checkpoint.directory}: of a context of ${temporal.context} steps at most ` +
        `${temporal.context - 1} can be attention sinks; found ${sinks}.`,
    );
  }
  return {
    ...checkpoint,
    languageModel: { ...languageModel, temporal: { ...temporal, sinks } },
  };
}

/**
 * Looks for every tensor of the model in its files, without reading the numbers.
 *
 * @throws CheckpointError naming one that is missing, or has another shape or type.
 */
export function checkTensors(checkpoint: Checkpoint): void {
  composeGraph(checkpoint, 'frame', 1, false).finish();
}

/** One graph of a model. */
export function composeGraph(
  checkpoint: Checkpoint,
  kind: GraphDescription['kind'],
  batch: number,
  probes: boolean,
  device: Device = 'cpu',
): GraphBuilder {
  switch (kind) {
    case 'frame': {
      const { transcription } = checkpoint.languageModel;
      return transcription === null
        ? frameGraph(checkpoint, batch, probes, device)
        : transcriptionGraph(checkpoint, transcription, batch, probes, device);
    }
    case 'mimi-encode':
      return mimiEncodeGraph(checkpoint, batch, device);
    case 'mimi-decode':
      return mimiDecodeGraph(checkpoint, batch, device);
  }
}

function describeModel(
  checkpoint: Checkpoint,
): Omit<
  ModelManifest,
  'name' | 'device' | 'isDemo' | 'weightsDirectory' | 'vocabularyFile' | 'tokenizerFile' | 'graphs'
> {
  const { languageModel: config } = checkpoint;
  const { generation } = config;
  const widths = drawWidths(config);
  const greedy = generation.use_sampling === false;
  return {
    formatVersion: MANIFEST_FORMAT_VERSION,
    kind: config.kind,
    sampleRate: SAMPLE_RATE,
    frameSamples: FRAME_SAMPLES,
    generatedCodebooks: config.generatedCodebooks,
    heardCodebooks: config.codebooks - config.generatedCodebooks,
    codecCodebooks: codecCodebooks(checkpoint),
    maxDelay: config.maxDelay,
    textCard: config.textCard,
    audioCard: config.audioCard,
    paddingToken: config.paddingToken,
    endOfPaddingToken: config.endOfPaddingToken,
    sampling: {
      textTemperature: greedy ? 0 : (generation.temp_text ?? REFERENCE_SAMPLING.textTemperature),
      audioTemperature: greedy ? 0 : (generation.temp ?? REFERENCE_SAMPLING.audioTemperature),
      textTopK: Math.min(generation.top_k_text ?? REFERENCE_SAMPLING.textTopK, widths.text),
      audioTopK: Math.min(generation.top_k ?? REFERENCE_SAMPLING.audioTopK, widths.audio),
    },
    noise: { textWidth: widths.text, audioWidth: widths.audio },
    precision: checkpoint.precision,
    conditions: config.conditions.map(({ name, values, defaultRow }) => ({
      name,
      values: [...values],
      default: defaultRow,
    })),
    guidance: config.guidance,
    endOfStreamToken: config.endOfStreamToken,
    prompt: config.kind === 'personaplex' ? personaPlexPrompt(config) : null,
    embeddingWidth: config.kind === 'personaplex' ? config.temporal.dimension : null,
    ...(config.transcription === null
      ? { pauses: null, transcription: null }
      : describeTranscription(checkpoint, config.transcription)),
  };
}

/**
 * Horizons of the four heads that Kyutai trains: kyutai-labs/delayed-streams-modeling
 * scripts/stt_from_mic_rust_server.py (`PAUSE_PREDICTION_HEAD_INDEX`).
 */
const PAUSE_HORIZONS_SECONDS = [0.5, 1, 2, 3];

/** Silence beyond the delay, after the last sound (run_inference.py). */
const FLUSH_SECONDS = 1;

function describeTranscription(
  checkpoint: Checkpoint,
  transcription: TranscriptionConfig,
): Pick<ModelManifest, 'pauses' | 'transcription'> {
  const { delaySeconds, silencePrefixSeconds, pauseClasses: classes } = transcription;
  const heads = countPauseHeads(checkpoint, transcription);
  const horizonsSeconds = heads === PAUSE_HORIZONS_SECONDS.length ? PAUSE_HORIZONS_SECONDS : null;
  return {
    pauses: heads === 0 ? null : { heads, classes, horizonsSeconds },
    transcription: {
      delayFrames: Math.floor(delaySeconds * FRAMES_PER_SECOND),
      leadingSilenceSamples: Math.floor(silencePrefixSeconds * SAMPLE_RATE),
      trailingSilenceSamples: Math.floor((delaySeconds + FLUSH_SECONDS) * SAMPLE_RATE),
    },
  };
}

/**
 * Hard links, or copies across file systems, of weight files that lie in different folders, and what is
 * converted of them; codec graphs do without the language model's.
 */
async function gatherWeights(
  { weightFiles, converted, convertedVoice }: Checkpoint,
  needsLanguageModel: boolean,
  draft: string,
  directory: string,
): Promise<string> {
  const folder = 'weights';
  await mkdir(join(draft, folder));
  for (const { path, fileName } of weightFiles) {
    const target = join(draft, folder, fileName);
    await link(path, target).catch(() => copyFile(path, target));
  }
  for (const file of [needsLanguageModel ? converted : null, convertedVoice]) {
    await file?.weights.write(join(draft, folder, file.fileName));
  }
  return join(directory, folder);
}

/** Renames the finished draft; when another builder was faster, its folder is the same. */
async function publish(draft: string, directory: string): Promise<void> {
  try {
    await rename(draft, directory);
  } catch (error) {
    if ((await readManifest(directory)) !== null) return;
    // Whatever is there is no built model: something that was damaged later.
    await rm(directory, { recursive: true, force: true });
    await rename(draft, directory).catch(() => {
      throw error;
    });
  }
}

/** The manifest of a complete build, or null. */
async function readManifest(directory: string): Promise<ModelManifest | null> {
  try {
    const json: unknown = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8'));
    const manifest = modelManifest.parse(json);
    const files = [
      manifest.vocabularyFile,
      manifest.tokenizerFile,
      ...manifest.graphs.map(({ file }) => file),
    ];
    await Promise.all(files.map((file) => stat(join(directory, file))));
    return manifest;
  } catch {
    return null;
  }
}

async function buildDigest(
  checkpoint: Checkpoint,
  name: string,
  options: BuildOptions,
): Promise<string> {
  const stamps = await Promise.all(
    checkpoint.paths.map(async (path) => {
      const found = await stat(path).catch(() => null);
      return [path, found?.size ?? null, found?.mtimeMs ?? null];
    }),
  );
  const { batches, kinds, probes = false, device = 'cpu' } = options;
  const { guidance, temporal } = checkpoint.languageModel;
  const { precision, adapterScaling } = checkpoint;
  const identity = JSON.stringify({
    stamps,
    name,
    batches,
    kinds,
    probes,
    device,
    guidance,
    context: temporal.context,
    attentionSinks: temporal.sinks ?? 0,
    keyValueType: temporal.keyValueType,
    precision,
    adapterScaling,
  });
  const hash = createHash('sha256').update(identity);
  await hashSources(hash, import.meta.dirname);
  return hash.digest('hex').slice(0, 16);
}

/** A change of this code makes other graphs: its text is the version of the builder. */
async function hashSources(hash: ReturnType<typeof createHash>, folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await hashSources(hash, path);
    else if (/\.[jt]s$/.test(entry.name) && !entry.name.includes('.test.')) {
      hash.update(entry.name).update(await readFile(path));
    }
  }
}
