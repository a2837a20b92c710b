/** The key and secret of the LiveKit server that this project starts for itself. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

const serverKeys = z.object({ apiKey: z.string().min(1), apiSecret: z.string().min(32) });
export type ServerKeys = z.infer<typeof serverKeys>;

/**
 * Reads the keys kept in the cache or makes new ones. They outlive a restart so that tokens and
 * open pages do, too; only the owner may read the file.
 */
export async function loadServerKeys(directory: string): Promise<ServerKeys> {
  const file = path.join(directory, 'keys.json');
  try {
    return serverKeys.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    const keys = { apiKey: 'moshi', apiSecret: randomBytes(32).toString('hex') };
    await mkdir(directory, { recursive: true });
    await writePrivateFile(file, `${JSON.stringify(keys)}\n`);
    return keys;
  }
}

/** Writes a file that only its owner can read, also where it existed with other rights. */
export async function writePrivateFile(file: string, content: string): Promise<void> {
  await writeFile(file, content, { mode: 0o600 });
  await chmod(file, 0o600);
}
