import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress } from 'node:zlib';

const REPOSITORY = path.resolve(import.meta.dirname, '../..');

/** What the page is made of; a change in any of them makes a new one. */
const SOURCES = ['agent/web', 'agent/events', 'agent/server/build-web.ts', 'package-lock.json'];

const compress = promisify(brotliCompress);

/** Holds the digest of the sources a built page came from. */
const STAMP_FILE = '.sources';

export interface BuiltPage {
  directory: string;
  /** Nothing had changed since the page in `directory` was built. */
  isReused: boolean;
}

/**
 * Builds the join page into a folder, unless that already holds a page from the same sources. The
 * folder is replaced in one step: a server that reads it never sees half a page.
 *
 * @throws when the sources do not build; the folder is then as it was.
 */
export async function buildWebPage(options: { outputDirectory: string }): Promise<BuiltPage> {
  const directory = path.resolve(options.outputDirectory);
  const stamp = await digestSources();
  if ((await readStamp(directory)) === stamp) {
    return { directory, isReused: true };
  }
  const fresh = `${directory}.${process.pid}.new`;
  const old = `${directory}.${process.pid}.old`;
  await mkdir(path.dirname(directory), { recursive: true });
  try {
    // Loaded only when there is something to build: it takes longer than all the rest of a start.
    const { build } = await import('vite');
    await build({
      configFile: path.join(REPOSITORY, 'agent/web/vite.config.ts'),
      logLevel: 'warn',
      build: { outDir: fresh, emptyOutDir: true },
    });
    await compressAssets(path.join(fresh, 'assets'));
    await writeFile(path.join(fresh, STAMP_FILE), stamp);
    await rename(directory, old).catch(ignoreAbsence);
    await rename(fresh, directory);
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(old, { recursive: true, force: true });
  }
  return { directory, isReused: false };
}

/** Puts a Brotli twin beside every text file, which the server prefers for browsers that read it. */
async function compressAssets(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/\.(js|css|svg)$/.test(name)) {
      const file = path.join(directory, name);
      await writeFile(`${file}.br`, await compress(await readFile(file)));
    }
  }
}

async function digestSources(): Promise<string> {
  const digest = createHash('sha256');
  for (const source of SOURCES) {
    for (const file of await listFiles(path.join(REPOSITORY, source))) {
      digest.update(`${path.relative(REPOSITORY, file)}\0`);
      digest.update(await readFile(file));
      digest.update('\0');
    }
  }
  return digest.digest('hex');
}

/** All files under a path in a lasting order, tests left out; none if there is no such path. */
async function listFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(
    (error: unknown) => {
      if (codeOf(error) === 'ENOTDIR') {
        return null;
      }
      ignoreAbsence(error);
      return [];
    },
  );
  return entries === null
    ? [root]
    : entries
        .filter((entry) => entry.isFile() && !/\.test\.tsx?$/.test(entry.name))
        .map((entry) => path.join(entry.parentPath, entry.name))
        .sort();
}

async function readStamp(directory: string): Promise<string | undefined> {
  return readFile(path.join(directory, STAMP_FILE), 'utf8').catch(ignoreAbsence);
}

function ignoreAbsence(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') {
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
