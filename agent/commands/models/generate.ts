/** `models generate`: random weights of a true architecture. */
import { architecture, type ArchitectureName } from '../../../models/generate/architectures.ts';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import type { CommandContext } from '../command-context.ts';
import { Progress } from '../progress.ts';

export interface GenerateModelOptions {
  like: ArchitectureName;
  /** 32 bits. */
  seed: number;
  /** Folder to make. */
  output: string;
  json: boolean;
}

const BYTES_PER_MEGABYTE = 1e6;

export async function generateModel(
  context: CommandContext,
  options: GenerateModelOptions,
): Promise<void> {
  let progress: Progress | undefined;
  const generated = await generateCheckpoint({
    architecture: architecture(options.like),
    seed: options.seed,
    directory: options.output,
    onProgress: (written, total) => {
      progress ??= new Progress({
        unit: 'MB',
        total: Math.ceil(total / BYTES_PER_MEGABYTE),
        stream: process.stderr,
        clock: () => performance.now(),
      });
      progress.update(Math.round(written / BYTES_PER_MEGABYTE));
    },
  });
  progress?.finish();
  const { directory, parameters, bytes } = generated;
  context.print(
    options.json
      ? JSON.stringify({ like: options.like, seed: options.seed, directory, parameters, bytes })
      : `${directory}: random weights like ${options.like}, ` +
          `${(parameters / 1e6).toFixed(1)} million parameters, ${(bytes / 1e9).toFixed(2)} GB`,
  );
}
