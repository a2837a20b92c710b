/**
 * Downloads one file under the name of its checksum. What a broken connection leaves is kept as
 * `.incomplete`, where the next attempt, or the next call, goes on; nothing gets its name before its
 * checksum is right.
 *
 * `@huggingface/hub` has a download of its own, which begins anew after every break and compares no
 * checksum; its lists of files and commits are used.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { reasonOf, type HubClient } from './hub-client.ts';
import { HubError } from './hub-error.ts';

/** Connections in a row that may break without a byte having come. */
const MAX_FRUITLESS_ATTEMPTS = 5;
const PAUSE_MS = 1_000;

export type BlobSource = {
  readonly repository: string;
  /** Name in the repository, for messages. */
  readonly fileName: string;
  readonly url: string;
  readonly bytes: number;
  /** SHA-256 of the content (large files), or the SHA-1 that git gives it. Hexadecimal. */
  readonly checksum: string;
};

/** What of the machine a test replaces. */
export type DownloadEffects = {
  readonly write: (file: FileHandle, bytes: Uint8Array) => Promise<void>;
  readonly pause: (milliseconds: number) => Promise<void>;
};

export const REAL_EFFECTS: DownloadEffects = {
  write: (file, bytes) => file.appendFile(bytes),
  pause: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};

/** Bytes of an earlier attempt. */
export async function incompleteBytes(path: string): Promise<number> {
  return (await stat(`${path}.incomplete`).catch(() => null))?.size ?? 0;
}

/**
 * @param path - Of the blob; its folder is made.
 * @param onBytes - Told how many bytes are there, from this attempt and earlier ones.
 * @throws HubError saying what stopped it; calling again goes on where it stopped.
 */
export async function downloadBlob(
  client: HubClient,
  source: BlobSource,
  path: string,
  onBytes: (bytes: number) => void,
  effects: DownloadEffects = REAL_EFFECTS,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const incomplete = `${path}.incomplete`;
  if ((await incompleteBytes(path)) > source.bytes) await rm(incomplete);
  const file = await open(incomplete, 'a');
  try {
    const received = await Received.resume(source, file, incomplete);
    onBytes(received.bytes);
    let fruitless = 0;
    while (received.bytes < source.bytes) {
      const before = received.bytes;
      const broken = await receive(client, source, file, received, onBytes, effects);
      if (broken === null) continue;
      fruitless = received.bytes > before ? 0 : fruitless + 1;
      if (fruitless === MAX_FRUITLESS_ATTEMPTS) {
        throw new HubError(
          `the connection to ${new URL(source.url).origin} keeps breaking at byte ${received.bytes} of ` +
            `${source.fileName} (${broken}). What is there is kept: pull again to go on.`,
        );
      }
      await effects.pause(PAUSE_MS);
    }
    if (received.checksum() !== source.checksum) {
      await rm(incomplete, { force: true });
      throw new HubError(
        `${source.fileName} of ${source.repository} arrived damaged: its checksum is ` +
          `${received.checksum()}, not ${source.checksum}. It was deleted; pull again, and if it happens ` +
          `again, set HF_ENDPOINT to another mirror.`,
      );
    }
  } finally {
    await file.close();
  }
  await rename(incomplete, path);
}

/** One connection. Returns null at its end, or why it broke. */
async function receive(
  client: HubClient,
  source: BlobSource,
  file: FileHandle,
  received: Received,
  onBytes: (bytes: number) => void,
  effects: DownloadEffects,
): Promise<string | null> {
  const patience = client.patience();
  try {
    const response = await client.fetch(
      source.repository,
      source.url,
      { headers: { range: `bytes=${received.bytes}-`, 'accept-encoding': 'identity' } },
      patience,
    );
    const isWhole = response.status !== 206;
    if (!isWhole && !startsAt(response, received.bytes)) {
      return `it sent ${response.headers.get('content-range') ?? 'no content-range'}`;
    }
    if (isWhole && received.bytes > 0) {
      // The server cannot go on in the middle: everything comes again.
      await file.truncate(0);
      received.restart();
    }
    const reader = response.body?.getReader();
    for (;;) {
      patience.renew();
      const chunk = await reader?.read().catch((error: unknown) => reasonOf(error));
      client.throwIfEnded();
      if (typeof chunk === 'string') return chunk;
      if (chunk?.done !== false) break;
      if (received.bytes + chunk.value.length > source.bytes) {
        return `it sends more than the ${source.bytes} bytes announced`;
      }
      await effects.write(file, chunk.value);
      received.add(chunk.value);
      onBytes(received.bytes);
    }
  } finally {
    patience.end();
  }
  return received.bytes < source.bytes ? 'it ended early' : null;
}

function startsAt(response: Response, offset: number): boolean {
  return response.headers.get('content-range')?.startsWith(`bytes ${offset}-`) === true;
}

/** How much of a file is there, and the checksum of it so far. */
class Received {
  readonly #source: BlobSource;
  #hash: Hash;
  bytes = 0;

  private constructor(source: BlobSource) {
    this.#source = source;
    this.#hash = startHash(source);
  }

  static async resume(source: BlobSource, file: FileHandle, path: string): Promise<Received> {
    const received = new Received(source);
    if ((await file.stat()).size > 0) {
      for await (const chunk of createReadStream(path)) received.add(chunk as Buffer);
    }
    return received;
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.bytes += bytes.length;
  }

  restart(): void {
    this.#hash = startHash(this.#source);
    this.bytes = 0;
  }

  checksum(): string {
    return this.#hash.copy().digest('hex');
  }
}

/** Git hashes a header with the content (git-scm.com/book/en/v2/Git-Internals-Git-Objects). */
function startHash({ checksum, bytes }: BlobSource): Hash {
  const SHA256_DIGITS = 64;
  return checksum.length === SHA256_DIGITS
    ? createHash('sha256')
    : createHash('sha1').update(`blob ${bytes}\0`);
}
