/** The model that a benchmark measures: the configured one, or random weights of an architecture. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { buildModel } from '../../../models/build.ts';
import { architecture, type ArchitectureName } from '../../../models/generate/architectures.ts';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import type { Device, Precision } from '../../../models/manifest.ts';
import { inCache } from '../cache-folder.ts';
import type { CommandContext } from '../command-context.ts';

/** Folder or name of the model; random weights are written into the cache once. */
export async function benchModel(
  context: CommandContext,
  like: ArchitectureName | null,
): Promise<string> {
  if (like === null) {
    return context.config.model.name;
  }
  const folder = path.join(context.config.cacheDirectory, 'generated');
  const directory = path.join(folder, like);
  await inCache(folder, async () => {
    const exists = await stat(path.join(directory, 'config.json')).then(
      () => true,
      () => false,
    );
    if (!exists) {
      context.remark(`writing random weights like ${like} into ${directory} …`);
      await generateCheckpoint({ architecture: architecture(like), seed: 0, directory });
    }
  });
  return directory;
}

/** Folder of the frame graphs for these batch sizes. */
export async function buildBenchModel(
  context: CommandContext,
  {
    checkpoint,
    precision,
    batches,
    device = 'cpu',
  }: { checkpoint: string; precision: Precision; batches: number[]; device?: Device },
): Promise<string> {
  const outputDirectory = path.join(context.config.cacheDirectory, 'models');
  const { guidance, context: steps, keyValueType } = context.config.model;
  const { directory } = await inCache(outputDirectory, () =>
    buildModel({
      checkpoint,
      outputDirectory,
      batches,
      kinds: ['frame'],
      precision,
      keyValueType,
      device,
      ...(guidance !== undefined && { guidance }),
      ...(steps !== undefined && { context: steps }),
    }),
  );
  return directory;
}
