/**
 * Which files of a repository make a checkpoint: what its config.json names, and nothing else, for
 * repositories hold READMEs, web clients and the same weights in other formats, too.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { weightsFileName } from '../checkpoints/weights-file-name.ts';
import { HubError } from './hub-error.ts';

/** Voices that PersonaPlex ships with its weights. */
export const VOICES_ARCHIVE = 'voices.tgz';
export const VOICES_FOLDER = 'voices';

const name = z.string().min(1);
/** The keys that name files (moshi/moshi/models/loaders.py, `CheckpointInfo.from_hf_repo`). */
const fileNames = z.object({
  moshi_name: name.optional(),
  mimi_name: name.default('tokenizer-e351c8d8-checkpoint125.safetensors'),
  mimi_config_name: name.nullish(),
  tokenizer_name: name.default('tokenizer_spm_32k_3.model'),
  lora_name: name.nullish(),
});

/**
 * @param config - Content of config.json; null where there is none.
 * @param has - Whether the repository has a file.
 * @returns names as config.json spells them: plain, `hf://owner/name/path`, or `file://…`.
 * @throws HubError when config.json names files in a way nobody understands.
 */
export function filesOfCheckpoint(
  config: unknown,
  has: (fileName: string) => boolean,
): readonly string[] {
  const parsed = fileNames.safeParse(config ?? {});
  if (!parsed.success) {
    throw new HubError(`config.json cannot be used: ${z.prettifyError(parsed.error)}`);
  }
  const { moshi_name, mimi_name, mimi_config_name, tokenizer_name, lora_name } = parsed.data;
  const optional = [mimi_config_name, lora_name].filter((file) => typeof file === 'string');
  return [
    ...(config === null ? [] : ['config.json']),
    tokenizer_name,
    ...optional,
    mimi_name,
    moshi_name ?? weightsFileName(has),
    ...(has(VOICES_ARCHIVE) ? [VOICES_ARCHIVE] : []),
  ];
}

/** A file of another repository, as `hf://owner/name/path` names it, or null for other names. */
export function parseHubName(fileName: string): { repository: string; path: string } | null {
  if (!fileName.startsWith('hf://')) return null;
  const [owner = '', repository = '', ...path] = fileName.slice('hf://'.length).split('/');
  return { repository: `${owner}/${repository}`, path: path.join('/') };
}

/** Names of files that a snapshot lacks to be a checkpoint; those of other repositories left out. */
export function missingFiles(snapshot: string): readonly string[] {
  const has = (fileName: string): boolean => existsSync(join(snapshot, fileName));
  let config: unknown = null;
  if (has('config.json')) {
    try {
      config = JSON.parse(readFileSync(join(snapshot, 'config.json'), 'utf8'));
    } catch {
      return ['config.json'];
    }
  }
  return filesOfCheckpoint(config, has).filter(
    (fileName) => !/^(hf|file):\/\//.test(fileName) && !has(fileName),
  );
}
