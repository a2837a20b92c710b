/** Folders of checkpoints that we write: complete or not there. */
import { mkdir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CheckpointError } from './checkpoint-error.ts';

/**
 * Makes a folder whose files `write` puts into a draft beside it. Whatever fails or interrupts `write`,
 * nothing is left; what a killed process has left goes with the next try.
 *
 * @param folder - Empty, or not there; appears when everything is written.
 * @param bytes - That the files will take.
 * @throws CheckpointError when the folder holds something or the disk has no room.
 */
export async function makeCheckpointFolder<T>(
  folder: string,
  bytes: number,
  write: (draft: string) => Promise<T>,
): Promise<T> {
  const directory = resolve(folder);
  await refuseOccupied(directory);
  const parent = dirname(directory);
  await mkdir(parent, { recursive: true });
  await requireRoom(parent, bytes);
  const draft = join(parent, `.${basename(directory)}.incomplete`);
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft);
  try {
    const result = await write(draft);
    await rmdir(directory).catch(() => undefined);
    await rename(draft, directory);
    return result;
  } catch (cause) {
    if (isFull(cause)) {
      throw new CheckpointError(`The disk of ${directory} is full; the checkpoint was removed.`, {
        cause,
      });
    }
    throw cause;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function refuseOccupied(directory: string): Promise<void> {
  const names = await readdir(directory).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new CheckpointError(`Cannot write a checkpoint into ${directory}.`, { cause });
  });
  if (names.length > 0) {
    throw new CheckpointError(
      `${directory} is not empty: name a folder that does not exist, or remove it first.`,
    );
  }
}

async function requireRoom(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  if (free < bytes) {
    throw new CheckpointError(
      `The checkpoint takes ${gigabytes(bytes)}, the disk of ${directory} has ${gigabytes(free)} left.`,
    );
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
}
