/** Fetches the files of a model from Hugging Face into the cache that all its tools share. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { listFiles, modelInfo } from '@huggingface/hub';
import { extract } from 'tar';
import {
  filesOfCheckpoint,
  missingFiles,
  parseHubName,
  VOICES_ARCHIVE,
  VOICES_FOLDER,
} from './checkpoint-files.ts';
import {
  downloadBlob,
  incompleteBytes,
  REAL_EFFECTS,
  type BlobSource,
  type DownloadEffects,
} from './download-blob.ts';
import { CachedRepository, checkRelative } from './hub-cache.ts';
import { HubClient, type HubSettings } from './hub-client.ts';
import { HubError } from './hub-error.ts';

/** Room left on the disk beyond the files, bytes. */
const SPARE_BYTES = 64 * 2 ** 20;

const CHECKSUM = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

export type PullOptions = {
  /** `owner/name`. */
  readonly repository: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  readonly settings: HubSettings;
  readonly signal: AbortSignal;
  /** Told how many bytes of all files are there. */
  readonly onProgress: (bytes: number, totalBytes: number) => void;
  readonly effects?: PullEffects;
};

/** What of the machine a test replaces. */
export type PullEffects = DownloadEffects & {
  /** Room on the disk of a folder, bytes. */
  readonly freeBytes: (folder: string) => Promise<number>;
};

const MACHINE: PullEffects = {
  ...REAL_EFFECTS,
  freeBytes: async (folder) => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
};

export type PulledModel = {
  /** Folder of the checkpoint: the snapshot. */
  readonly directory: string;
  readonly commit: string;
  /** Of all files of the checkpoint. */
  readonly bytes: number;
  /** What had to be fetched now. */
  readonly fetchedBytes: number;
};

type Listing = { readonly commit: string; readonly files: ReadonlyMap<string, ListedFile> };
type ListedFile = { readonly bytes: number; readonly checksum: string };
type WantedFile = {
  readonly cached: CachedRepository;
  readonly commit: string;
  readonly source: BlobSource;
};

/** @throws HubError saying what to do. */
export async function pullModel(options: PullOptions): Promise<PulledModel> {
  const { settings, revision } = options;
  const effects = options.effects ?? MACHINE;
  const cached = new CachedRepository(settings.cacheDirectory, options.repository);
  checkRelative(revision);
  if (settings.isOffline) return findOffline(cached, revision);
  try {
    return await pull(options, cached, effects);
  } catch (error) {
    throw explainPlace(error, settings.cacheDirectory);
  }
}

function findOffline(cached: CachedRepository, revision: string): PulledModel {
  const directory = cached.find(revision);
  const missing = directory === null ? ['anything'] : missingFiles(directory);
  if (directory === null || missing.length > 0) {
    throw new HubError(
      `${cached.directory} lacks ${missing.join(', ')} of ${cached.name}, and HF_HUB_OFFLINE forbids to ` +
        `fetch it: unset HF_HUB_OFFLINE, or copy the cache from a machine that has it.`,
    );
  }
  const commit = directory.slice(-40);
  return { directory, commit, bytes: 0, fetchedBytes: 0 };
}

async function pull(
  { repository, revision, settings, signal, onProgress }: PullOptions,
  cached: CachedRepository,
  effects: PullEffects,
): Promise<PulledModel> {
  const token = settings.token ?? (await readToken(settings.tokenFile));
  const { endpoint } = settings;
  const client = new HubClient({ endpoint, token, signal, pause: effects.pause });
  const listings = new Map<string, Listing>();
  const listing = await list(client, repository, revision);
  listings.set(repository, listing);
  const blobSource = (name: string, { files, commit }: Listing, fileName: string): BlobSource => {
    const file = files.get(fileName);
    if (file === undefined) {
      throw new HubError(
        `${name} has no file ${fileName}, which its config.json asks for: is it a Moshi-family model ` +
          `in one of Kyutai's layouts?`,
      );
    }
    const path = fileName.split('/').map(encodeURIComponent).join('/');
    const url = `${endpoint}/${name}/resolve/${commit}/${path}`;
    return { repository: name, fileName, url, ...file };
  };

  let config: unknown = null;
  if (listing.files.has('config.json')) {
    const source = blobSource(repository, listing, 'config.json');
    const blob = cached.blob(source.checksum);
    if (!existsSync(blob)) await downloadBlob(client, source, blob, () => undefined, effects);
    config = parseConfig(await readFile(blob, 'utf8'), repository);
  }
  const wanted: WantedFile[] = [];
  for (const fileName of filesOfCheckpoint(config, (name) => listing.files.has(name))) {
    if (fileName.startsWith('file://')) continue;
    const elsewhere = parseHubName(fileName);
    const name = elsewhere?.repository ?? repository;
    const path = elsewhere?.path ?? fileName;
    const home = name === repository ? cached : new CachedRepository(settings.cacheDirectory, name);
    const files = listings.get(name) ?? (await list(client, name, 'main'));
    listings.set(name, files);
    wanted.push({ cached: home, commit: files.commit, source: blobSource(name, files, path) });
  }

  const totalBytes = wanted.reduce((sum, { source }) => sum + source.bytes, 0);
  const missing = wanted.filter(
    ({ cached: home, source }) => !existsSync(home.blob(source.checksum)),
  );
  let fetchedBytes = 0;
  for (const { cached: home, source } of missing) {
    fetchedBytes += source.bytes - (await incompleteBytes(home.blob(source.checksum)));
  }
  await checkRoom(settings.cacheDirectory, fetchedBytes, effects);
  let doneBytes = totalBytes - missing.reduce((sum, { source }) => sum + source.bytes, 0);
  for (const { cached: home, commit, source } of wanted) {
    const blob = home.blob(source.checksum);
    if (!existsSync(blob)) {
      const before = doneBytes;
      await downloadBlob(
        client,
        source,
        blob,
        (bytes) => onProgress(before + bytes, totalBytes),
        effects,
      );
      doneBytes += source.bytes;
    }
    await home.link(commit, source.fileName, source.checksum);
  }
  for (const [name, { commit }] of listings) {
    const isOwn = name === repository;
    const home = isOwn ? cached : new CachedRepository(settings.cacheDirectory, name);
    await home.setRevision(isOwn ? revision : 'main', commit);
  }
  const directory = cached.snapshot(listing.commit);
  await unpackVoices(directory);
  return { directory, commit: listing.commit, bytes: totalBytes, fetchedBytes };
}

/** Files of one revision, by name. */
async function list(client: HubClient, repository: string, revision: string): Promise<Listing> {
  const options = {
    hubUrl: client.endpoint,
    fetch: (input: string | URL | Request, init?: RequestInit) =>
      client.fetch(repository, input, init),
  };
  const { sha } = await modelInfo({
    ...options,
    name: repository,
    revision,
    additionalFields: ['sha'],
  });
  const files = new Map<string, ListedFile>();
  for await (const entry of listFiles({
    ...options,
    repo: { type: 'model', name: repository },
    revision: sha,
    recursive: true,
  })) {
    const checksum = entry.lfs?.oid ?? entry.oid ?? '';
    if (entry.type !== 'file' || !CHECKSUM.test(checksum)) continue;
    files.set(entry.path, { bytes: entry.lfs?.size ?? entry.size, checksum });
  }
  return { commit: sha, files };
}

function parseConfig(text: string, repository: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HubError(`config.json of ${repository} is not JSON.`, { cause });
  }
}

async function readToken(path: string): Promise<string | undefined> {
  const token = await readFile(path, 'utf8').catch(() => '');
  return token.trim() === '' ? undefined : token.trim();
}

async function checkRoom(folder: string, bytes: number, effects: PullEffects): Promise<void> {
  if (bytes === 0) return;
  await mkdir(folder, { recursive: true });
  const free = await effects.freeBytes(folder);
  if (free < bytes + SPARE_BYTES) {
    throw new HubError(
      `${gigabytes(bytes)} are to be fetched, but the disk of ${folder} has ${gigabytes(free)} left: ` +
        `make room there, or set HF_HOME to a folder on a larger disk.`,
    );
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`;
}

/** Where the reference unpacks them: beside the archive (NVIDIA/personaplex, moshi/moshi/offline.py). */
async function unpackVoices(snapshot: string): Promise<void> {
  const archive = join(snapshot, VOICES_ARCHIVE);
  if (!existsSync(archive)) return;
  const unpacked = await readdir(join(snapshot, VOICES_FOLDER)).catch(() => []);
  if (unpacked.length > 0) return;
  await extract({
    file: archive,
    cwd: snapshot,
    filter: (path, entry) =>
      /^(\.\/)?voices\/[\w-]+\.pt$/.test(path) && 'type' in entry && entry.type === 'File',
  });
}

/** What the file system refuses says nothing about the cache by itself. */
function explainPlace(error: unknown, folder: string): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new HubError(
      `the disk of ${folder} is full. What has arrived is kept: make room, or set HF_HOME to a folder ` +
        `on a larger disk, and pull again.`,
      { cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new HubError(
      `${folder} may not be written to (${error instanceof Error ? error.message : code}): give this ` +
        `user the right to, or set HF_HOME to a folder of its own.`,
      { cause: error },
    );
  }
  return error;
}
