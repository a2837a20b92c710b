/** Fetches LiveKit's release archive, and runs nothing whose checksum is not the published one. */
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { extract } from 'tar';
import { findChecksum, RELEASE_ADDRESS } from './release.ts';

/** The archive of 1.13.5 has about 25 MB; anything far larger is not it. */
const MAX_ARCHIVE_BYTES = 200_000_000;

export interface DownloadOptions {
  /** File name from `releaseArchiveName`. */
  archive: string;
  /** Path of the executable to write. */
  target: string;
  /** Folder of the release, without a slash at the end. */
  address?: string;
  signal?: AbortSignal;
}

/** The archive could not be fetched, or is not what the release says it is. */
export class DownloadError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DownloadError';
  }
}

/**
 * Downloads and unpacks the server. The target appears only when complete, under a name of its own
 * until then: a broken connection leaves nothing behind that looks like a server.
 *
 * @throws {DownloadError} when the file is missing, incomplete or has another checksum.
 */
export async function downloadRelease(options: DownloadOptions): Promise<void> {
  const address = options.address ?? RELEASE_ADDRESS;
  const checksums = (await fetchBytes(`${address}/checksums.txt`, options.signal)).toString('utf8');
  const expected = findChecksum(checksums, options.archive);
  if (expected === null) {
    throw new DownloadError(`${address}/checksums.txt does not list ${options.archive}`);
  }
  const archive = await fetchBytes(`${address}/${options.archive}`, options.signal);
  const found = createHash('sha256').update(archive).digest('hex');
  if (found !== expected) {
    throw new DownloadError(
      `${address}/${options.archive} has SHA-256 ${found}, its release says ${expected}: not used`,
    );
  }
  const directory = path.dirname(options.target);
  await mkdir(directory, { recursive: true });
  const scratch = await mkdtemp(path.join(directory, 'unpack-'));
  try {
    const file = path.join(scratch, `${randomUUID()}.tar.gz`);
    await writeFile(file, archive);
    await extract({
      file,
      cwd: scratch,
      filter: (entry) => path.basename(entry) === 'livekit-server',
    });
    const binary = path.join(scratch, 'livekit-server');
    await chmod(binary, 0o755).catch((error: unknown) => {
      throw new DownloadError(`${options.archive} holds no livekit-server`, { cause: error });
    });
    await rename(binary, options.target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function fetchBytes(url: string, signal: AbortSignal | undefined): Promise<Buffer> {
  try {
    const response = await fetch(url, signal === undefined ? {} : { signal });
    if (!response.ok) {
      throw new DownloadError(`${url} answered ${response.status} ${response.statusText}`);
    }
    const parts: Buffer[] = [];
    let sizeBytes = 0;
    const reader = response.body?.getReader();
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
      sizeBytes += part.value.length;
      if (sizeBytes > MAX_ARCHIVE_BYTES) {
        await reader?.cancel();
        throw new DownloadError(`${url} is larger than ${MAX_ARCHIVE_BYTES} bytes`);
      }
      parts.push(Buffer.from(part.value));
    }
    return Buffer.concat(parts);
  } catch (error) {
    if (error instanceof DownloadError) {
      throw error;
    }
    throw new DownloadError(`${url} could not be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** fetch hides what happened ("fetch failed") in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
