/** Finds the configured model and builds the graphs a command needs, if they are not there yet. */
import path from 'node:path';
import { buildModel, resolveModel, type AdapterChoice } from '../../models/build.ts';
import type { GraphDescription, ModelManifest } from '../../models/manifest.ts';
import type { Config } from '../config.ts';
import { inCache } from './cache-folder.ts';
import type { CommandContext } from './command-context.ts';

export interface BuiltModel {
  /** Folder with `manifest.json`. */
  directory: string;
  manifest: ModelManifest;
}

/** One graph per power of two up to the slots, and one for all of them. */
export function batchSizes(slots: number): number[] {
  const sizes: number[] = [];
  for (let size = 1; size < slots; size *= 2) {
    sizes.push(size);
  }
  return [...sizes, slots];
}

export function buildForEngine(context: CommandContext): Promise<BuiltModel> {
  return buildGraphs(context, ['frame'], batchSizes(context.config.engine.slots));
}

export async function buildGraphs(
  context: CommandContext,
  kinds: GraphDescription['kind'][],
  batches: number[],
): Promise<BuiltModel> {
  const { config } = context;
  const outputDirectory = path.join(config.cacheDirectory, 'models');
  const { directory, name } = resolveModel(config.model.name, config.hub.cacheDirectory);
  const { guidance } = config.model;
  return inCache(outputDirectory, () =>
    buildModel({
      checkpoint: directory,
      hubCacheDirectory: config.hub.cacheDirectory,
      outputDirectory,
      batches,
      kinds,
      name,
      ...(guidance !== undefined && { guidance }),
      adapters: adaptersOf(config),
    }),
  );
}

/** Adapters that the settings name in place of the checkpoint's own. */
export function adaptersOf({ model: { adapters, adapterScaling } }: Config): AdapterChoice {
  return {
    ...(adapters !== undefined && { path: adapters }),
    ...(adapterScaling !== undefined && { scaling: adapterScaling }),
  };
}
