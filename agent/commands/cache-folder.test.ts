import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { inCache } from './cache-folder.ts';
import { CommandError } from './command-context.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-cache-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const nothing = (): Promise<void> => Promise.resolve();

test('makes the folder with its parents before the work', async () => {
  const cache = path.join(folder, 'a', 'b');
  await inCache(cache, async () => {
    expect((await stat(cache)).isDirectory()).toBe(true);
  });
});

test('makes one folder for two that start together', async () => {
  const cache = path.join(folder, 'a', 'b');
  await Promise.all([inCache(cache, nothing), inCache(cache, nothing)]);
  expect(await readdir(path.join(folder, 'a'))).toEqual(['b']);
});

test('says which folder is a file, and what to set', async () => {
  const file = path.join(folder, 'file');
  await writeFile(file, '');
  for (const cache of [file, path.join(file, 'below')]) {
    const failure = inCache(cache, nothing);
    await expect(failure).rejects.toThrow(CommandError);
    await expect(failure).rejects.toThrow(`the cache folder ${cache} cannot be written to`);
    await expect(failure).rejects.toThrow('MOSHI_CACHE_DIRECTORY');
  }
});

test.runIf(process.platform === 'linux')(
  'comes back from a place where nobody can make folders',
  async () => {
    await expect(inCache('/proc/moshi/cache', nothing)).rejects.toThrow('/proc/moshi/cache cannot');
  },
);

test.runIf(process.platform === 'linux')('asks for room on a full disk', async () => {
  const failure = inCache(folder, () => writeFile('/dev/full', 'x'));
  await expect(failure).rejects.toThrow('make room there');
});

test('passes other failures on', async () => {
  const missing = inCache(folder, async () => {
    await stat('/no/such/recording');
  });
  await expect(missing).rejects.not.toThrow(CommandError);
  await expect(
    inCache(folder, () => Promise.reject(new Error('the model is broken'))),
  ).rejects.toThrow(/^the model is broken$/);
});
