/** Which model a name means: the built-in one, or a folder. */
import { statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { CheckpointError } from './checkpoints/checkpoint-error.ts';

const DEMO_NAME = 'demo';

export type ResolvedModel = {
  /** Folder of the checkpoint. */
  readonly directory: string;
  /** Short name to show people. */
  readonly name: string;
  /** Whether it is the tiny model that comes with this repository. */
  readonly isDemo: boolean;
};

/** @throws CheckpointError saying which names exist. */
export function resolveModel(nameOrPath: string): ResolvedModel {
  const demo = join(import.meta.dirname, DEMO_NAME);
  if (nameOrPath === DEMO_NAME || resolve(nameOrPath) === demo) {
    return { directory: demo, name: DEMO_NAME, isDemo: true };
  }
  const directory = resolve(nameOrPath);
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new CheckpointError(
      `There is no model ${JSON.stringify(nameOrPath)}. ` +
        `Use "${DEMO_NAME}", or the path of a folder with a checkpoint as Kyutai publishes it ` +
        `(config.json, safetensors or GGUF, tokenizer); looked for the folder ${directory}.`,
    );
  }
  return { directory, name: basename(directory), isDemo: false };
}
