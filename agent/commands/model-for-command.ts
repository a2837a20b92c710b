/** Finds the configured model and builds the graphs a command needs, if they are not there yet. */
import path from 'node:path';
import {
  buildModel,
  resolveModel,
  type AdapterChoice,
  type ModelSource,
} from '../../models/build.ts';
import type { GraphDescription, ModelManifest, Precision } from '../../models/manifest.ts';
import { readLanguageModelConfig } from '../../models/checkpoints/language-model-config.ts';
import { precisionNeeds } from '../../models/precision-needs.ts';
import type { Device } from '../../plugins/moshi/engine/onnxruntime/execution-provider.ts';
import type { Config } from '../config.ts';
import { inCache } from './cache-folder.ts';
import { chooseDevice, freeDeviceMemory, halfPrecisions } from './machine/choose-device.ts';
import {
  choosePrecision,
  isSmall,
  type PrecisionAnswer,
  type PrecisionQuestion,
} from './machine/choose-precision.ts';
import { CommandError, type CommandContext } from './command-context.ts';
import { engineThreads } from './machine/engine-threads.ts';
import { measureReadBandwidth } from './machine/memory-bandwidth.ts';

/** 192 MB, read in some hundredths of a second. */
const PROBE_MATRICES = 3;

export interface BuiltModel {
  /** Folder with `manifest.json`. */
  directory: string;
  manifest: ModelManifest;
  /** What is to run it. */
  device: Device;
  /** Why it will not run well here; null if nothing says so. */
  warning: string | null;
}

/** Where to say what was chosen for large models, and why. */
export interface ChoiceReport {
  note: (line: string) => void;
  warn: (line: string) => void;
}

/** One graph per power of two up to the slots, and one for all of them. */
export function batchSizes(slots: number): number[] {
  const sizes: number[] = [];
  for (let size = 1; size < slots; size *= 2) {
    sizes.push(size);
  }
  return [...sizes, slots];
}

export function buildForEngine(
  context: CommandContext,
  report: ChoiceReport = onTerminal(context),
): Promise<BuiltModel> {
  return buildGraphs(context, ['frame'], batchSizes(context.config.engine.slots), report);
}

export async function buildGraphs(
  context: CommandContext,
  kinds: GraphDescription['kind'][],
  batches: number[],
  report: ChoiceReport = onTerminal(context),
): Promise<BuiltModel> {
  const { config } = context;
  const outputDirectory = path.join(config.cacheDirectory, 'models');
  const { name, source } = sourceOf(config);
  const { checkpoint } = source;
  const { ignoredSettings } = await readLanguageModelConfig(checkpoint);
  if (ignoredSettings.length > 0) {
    report.note(`config.json has settings that nobody here knows: ${ignoredSettings.join(', ')}`);
  }
  const device = await chooseDevice(config.engine.device);
  // The codec alone has one precision.
  const choice = kinds.includes('frame')
    ? await precisionFor(context, source, device, Math.max(...batches))
    : { precision: null, warning: null, reason: null };
  if (choice.reason !== null) {
    report.note(`precision ${choice.reason}`);
  }
  if (choice.warning !== null) {
    report.warn(`warning: ${choice.warning}`);
  }
  const built = await inCache(outputDirectory, () =>
    buildModel({
      ...source,
      outputDirectory,
      batches,
      kinds,
      name,
      device,
      ...(choice.precision !== null && { precision: choice.precision }),
    }),
  );
  return { ...built, device, warning: choice.warning };
}

/** Finds the configured model's files, and judges by figures alone how it would run here. */
export async function judgeModel({
  config,
}: CommandContext): Promise<PrecisionAnswer & { checkpoint: string }> {
  const { source } = sourceOf(config);
  const { precision: wish } = config.model;
  const device = await chooseDevice(config.engine.device);
  const wished = wish === 'auto' ? {} : { precision: wish };
  const halves = await halfPrecisions(device);
  const needs = await precisionNeeds({ ...source, ...wished, device, halves }, isSmall);
  const answer = choosePrecision({
    needs,
    conversations: config.engine.slots,
    ...(await machineFigures(config, device)),
  });
  return { ...answer, checkpoint: source.checkpoint };
}

function sourceOf(config: Config): { name: string; source: ModelSource } {
  const { cacheDirectory: hubCacheDirectory } = config.hub;
  const { directory: checkpoint, name } = resolveModel(config.model.name, hubCacheDirectory);
  const { guidance, context: steps, attentionSinks, keyValueType } = config.model;
  const source = {
    checkpoint,
    hubCacheDirectory,
    adapters: adaptersOf(config),
    keyValueType,
    ...(guidance !== undefined && { guidance }),
    ...(steps !== undefined && { context: steps }),
    ...(attentionSinks !== undefined && { attentionSinks }),
  };
  return { name, source };
}

async function machineFigures(
  config: Config,
  device: Device,
): Promise<Pick<PrecisionQuestion, 'device' | 'freeBytes' | 'bytesPerSecond'>> {
  const { threads } = engineThreads(config.engine);
  return {
    device,
    freeBytes: await freeDeviceMemory(device),
    bytesPerSecond: device === 'cpu' ? await measureReadBandwidth(threads, PROBE_MATRICES) : null,
  };
}

/** @returns no reason where nothing was chosen: for small models, and where somebody has said it. */
async function precisionFor(
  { config }: CommandContext,
  source: ModelSource,
  device: Device,
  conversations: number,
): Promise<{ precision: Precision | null; warning: string | null; reason: string | null }> {
  const { precision: wish, keyValueType } = config.model;
  const asksForHalves = wish === 'f16' || keyValueType === 'f16';
  const halves =
    wish === 'auto' || (asksForHalves && device === 'webgpu') ? await halfPrecisions(device) : [];
  if (asksForHalves && device === 'webgpu' && !halves.includes('f16')) {
    throw new CommandError(
      'this adapter does not compute with numbers of 16 bits (f16): leave precision and the type of keys and values to "auto"',
    );
  }
  if (wish !== 'auto') {
    return { precision: wish, warning: null, reason: null };
  }
  const needs = await precisionNeeds({ ...source, device, halves }, isSmall);
  const [first] = needs;
  if (first === undefined || isSmall(first)) {
    return { precision: first?.precision ?? null, warning: null, reason: null };
  }
  return choosePrecision({ needs, conversations, ...(await machineFigures(config, device)) });
}

function onTerminal({ remark }: CommandContext): ChoiceReport {
  return { note: remark, warn: remark };
}

/** Adapters that the settings name in place of the checkpoint's own. */
export function adaptersOf({ model: { adapters, adapterScaling } }: Config): AdapterChoice {
  return {
    ...(adapters !== undefined && { path: adapters }),
    ...(adapterScaling !== undefined && { scaling: adapterScaling }),
  };
}
