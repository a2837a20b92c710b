/**
 * The folder in which Hugging Face's tools keep what they download, and in which they find what
 * others have: `models--OWNER--NAME/` with `blobs/` named by checksum, `snapshots/COMMIT/` of links to
 * them, and `refs/NAME`, files that hold a commit
 * (huggingface/huggingface_hub, docs/source/en/guides/manage-cache.md).
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm, symlink, writeFile, copyFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { randomUUID } from 'node:crypto';
import { HubError } from './hub-error.ts';

const COMMIT = /^[0-9a-f]{40}$/;
const REPOSITORY = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;

/** Whether a name can be that of a repository: `owner/name`. */
export function isRepositoryName(name: string): boolean {
  return REPOSITORY.test(name) && !name.includes('--') && !name.includes('..');
}

export class CachedRepository {
  readonly name: string;
  readonly directory: string;

  /** @param name - `owner/name`. */
  constructor(cacheDirectory: string, name: string) {
    if (!isRepositoryName(name)) {
      throw new HubError(`${JSON.stringify(name)} is no name of a repository (owner/name).`);
    }
    this.name = name;
    this.directory = join(cacheDirectory, `models--${name.replace('/', '--')}`);
  }

  blob(checksum: string): string {
    return join(this.directory, 'blobs', checksum);
  }

  snapshot(commit: string): string {
    return join(this.directory, 'snapshots', commit);
  }

  /** The folder of a revision (branch, tag or commit), or null when none of it is here. */
  find(revision: string): string | null {
    checkRelative(revision);
    let commit = revision;
    if (!COMMIT.test(revision)) {
      try {
        commit = readFileSync(join(this.directory, 'refs', revision), 'utf8').trim();
      } catch {
        return null;
      }
      if (!COMMIT.test(commit)) return null;
    }
    const snapshot = this.snapshot(commit);
    return existsSync(snapshot) ? snapshot : null;
  }

  /** Lets a revision mean a commit, for everybody who looks. */
  async setRevision(revision: string, commit: string): Promise<void> {
    checkRelative(revision);
    if (revision === commit) return;
    const path = join(this.directory, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    await replace(path, (draft) => writeFile(draft, commit));
  }

  /** Gives a blob its name in a snapshot. */
  async link(commit: string, fileName: string, checksum: string): Promise<void> {
    checkRelative(fileName);
    const path = join(this.snapshot(commit), fileName);
    await mkdir(dirname(path), { recursive: true });
    const blob = this.blob(checksum);
    await replace(path, (draft) =>
      // Where links are not allowed (Windows), Hugging Face's tools copy, too.
      symlink(relative(dirname(path), blob), draft).catch(() => copyFile(blob, draft)),
    );
  }
}

/** Writes beside the path, then renames: whoever reads meets the old or the new, never a part. */
async function replace(path: string, write: (draft: string) => Promise<void>): Promise<void> {
  const draft = `${path}.${randomUUID()}.draft`;
  try {
    await write(draft);
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

/** @throws HubError for names from outside that lead out of their folder. */
export function checkRelative(name: string): void {
  const parts = name.split('/');
  const isSafe =
    !name.includes('\\') &&
    !name.includes('\0') &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..');
  if (!isSafe) throw new HubError(`${JSON.stringify(name)} is no name of a file or revision.`);
}
