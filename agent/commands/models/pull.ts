/** `models pull`: fetches weights from Hugging Face. */
import { repositoryOf } from '../../../models/catalogue.ts';
import { pullModel } from '../../../models/hub/pull.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { Progress } from '../progress.ts';

export interface PullModelOptions {
  /** Branch, tag or commit. */
  revision: string;
  json: boolean;
}

const BYTES_PER_MEGABYTE = 1e6;

/** @throws {CommandError} when the name means no repository. */
export async function pullModelCommand(
  context: CommandContext,
  options: PullModelOptions,
): Promise<void> {
  const { name } = context.config.model;
  const repository = repositoryOf(name);
  if (repository === null) {
    throw new CommandError(
      `there is nothing to pull for ${JSON.stringify(name)}: give a name that "models list" shows, or a ` +
        'repository owner/name on Hugging Face',
    );
  }
  let progress: Progress | undefined;
  const ending = new AbortController();
  const pulled = await pullModel({
    repository,
    revision: options.revision,
    settings: context.config.hub,
    signal: ending.signal,
    onProgress: (bytes, totalBytes) => {
      progress ??= new Progress({
        unit: 'MB',
        total: Math.ceil(totalBytes / BYTES_PER_MEGABYTE),
        stream: process.stderr,
        clock: () => performance.now(),
      });
      progress.update(Math.round(bytes / BYTES_PER_MEGABYTE));
    },
  }).finally(() => progress?.finish());
  const { directory, commit, bytes, fetchedBytes } = pulled;
  context.print(
    options.json
      ? JSON.stringify({ repository, commit, directory, bytes, fetchedBytes })
      : `${repository}: ${
          fetchedBytes === 0 ? 'was here already' : `${(fetchedBytes / 1e9).toFixed(2)} GB fetched`
        }, ${directory}`,
  );
}
