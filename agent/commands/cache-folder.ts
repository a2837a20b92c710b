/** The cache folder: made when it is missing, and named when it is what a command failed at. */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { CommandError } from './command-context.ts';

/** What a file system says about a place, not about the data: another place or more room helps. */
const PLACE_PROBLEMS = new Set([
  'EACCES',
  'EDQUOT',
  'EEXIST',
  'EIO',
  'ENOENT',
  'ENOSPC',
  'ENOTDIR',
  'EPERM',
  'EROFS',
]);
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/**
 * Does work that writes into the cache folder, which exists by then.
 *
 * @throws {CommandError} when the folder cannot be made or written to.
 */
export async function inCache<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    await makeFolder(directory);
    return await work();
  } catch (error) {
    if (isProblemOf(directory, error)) {
      const remedy = FULL.has(error.code)
        ? 'make room there'
        : 'make it a folder that this user may write to';
      throw new CommandError(
        `the cache folder ${directory} cannot be written to (${error.message}): ${remedy}, ` +
          'or set MOSHI_CACHE_DIRECTORY to another folder',
        { cause: error },
      );
    }
    throw error;
  }
}

/** One level at a time: Node's recursive `mkdir` never returns on some places, below /proc for one. */
async function makeFolder(directory: string): Promise<void> {
  if (await isFolder(directory)) {
    return;
  }
  const parent = path.dirname(directory);
  if (parent !== directory) {
    await makeFolder(parent);
  }
  try {
    await mkdir(directory);
  } catch (error) {
    // Another process may have been faster.
    if (!(await isFolder(directory))) {
      throw error;
    }
  }
}

async function isFolder(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function isProblemOf(directory: string, error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || !('code' in error) || !PLACE_PROBLEMS.has(String(error.code))) {
    return false;
  }
  // A failed write names no file; only a full disk fails like that.
  return 'path' in error ? isRelated(directory, String(error.path)) : FULL.has(String(error.code));
}

/** Whether one lies in the other: making the cache folder may fail at a parent of it. */
function isRelated(directory: string, file: string): boolean {
  const [a, b] = [`${directory}${path.sep}`, `${path.resolve(file)}${path.sep}`];
  return a.startsWith(b) || b.startsWith(a);
}
