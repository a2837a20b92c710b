/** Models that have a name, and what a name or path on the command line means. */
import { statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { CheckpointError } from './checkpoints/checkpoint-error.ts';
import type { ArchitectureName } from './generate/architectures.ts';
import { missingFiles } from './hub/checkpoint-files.ts';
import { CachedRepository, isRepositoryName } from './hub/hub-cache.ts';

/** Models that come with this repository: the folder of each, from here. */
const BUNDLED: Readonly<Record<string, string>> = {
  demo: 'demo',
  'demo-transcriber': 'demo/transcriber',
};

export type CatalogueEntry = {
  /** What people type. */
  readonly name: string;
  /** On Hugging Face; null for what comes with this repository. */
  readonly repository: string | null;
  /** What it does, in a few words. */
  readonly what: string;
  readonly layout: 'PyTorch' | 'MLX' | 'Candle';
  /** As stored. */
  readonly precision: 'f32' | 'bf16' | 'q8' | 'q4';
  readonly licence: string;
  /** Whether Hugging Face gives it only to accounts that accepted the licence. */
  readonly isGated: boolean;
  readonly languages: readonly string[];
  /** What its weights are like; null where the weights are here. */
  readonly architecture: ArchitectureName | null;
};

const KYUTAI = { licence: 'CC-BY-4.0', isGated: false } as const;
const PYTORCH = { layout: 'PyTorch', precision: 'bf16' } as const;

/** Files of one voice, as Kyutai publishes them for several programs. */
function moshi(voice: 'moshiko' | 'moshika', who: string): CatalogueEntry[] {
  const what = `converses, ${who} voice`;
  const variants = [
    ['', 'pytorch-bf16', 'PyTorch', 'bf16'],
    ['-q8', 'pytorch-q8', 'PyTorch', 'q8'],
    ['-mlx-bf16', 'mlx-bf16', 'MLX', 'bf16'],
    ['-mlx-q8', 'mlx-q8', 'MLX', 'q8'],
    ['-mlx-q4', 'mlx-q4', 'MLX', 'q4'],
    ['-candle-bf16', 'candle-bf16', 'Candle', 'bf16'],
    ['-candle-q8', 'candle-q8', 'Candle', 'q8'],
  ] as const;
  return variants.map(([suffix, files, layout, precision]) => ({
    name: `${voice}${suffix}`,
    repository: `kyutai/${voice}-${files}`,
    what,
    layout,
    precision,
    ...KYUTAI,
    languages: ['en'],
    architecture: 'moshi-7b',
  }));
}

function bundled(name: string, what: string): CatalogueEntry {
  return {
    name,
    repository: null,
    what,
    ...PYTORCH,
    licence: 'comes with this repository',
    isGated: false,
    languages: ['en'],
    architecture: null,
  };
}

/** Licences: the models' pages on Hugging Face. */
export const CATALOGUE: readonly CatalogueEntry[] = [
  bundled('demo', 'tiny model that shows the path'),
  bundled('demo-transcriber', 'tiny model that writes what the demo’s callers say, 2 s behind'),
  ...moshi('moshiko', 'male'),
  ...moshi('moshika', 'female'),
  {
    name: 'personaplex',
    repository: 'nvidia/personaplex-7b-v1',
    what: 'converses, in a voice and a role that it is given',
    ...PYTORCH,
    licence: 'NVIDIA Open Model License',
    isGated: true,
    languages: ['en'],
    architecture: 'personaplex-7b',
  },
  {
    name: 'stt-1b-en_fr',
    repository: 'kyutai/stt-1b-en_fr',
    what: 'transcribes, 0.5 s behind',
    ...PYTORCH,
    ...KYUTAI,
    languages: ['en', 'fr'],
    architecture: 'stt-1b',
  },
  {
    name: 'stt-1b-en_fr-candle',
    repository: 'kyutai/stt-1b-en_fr-candle',
    what: 'transcribes, 0.5 s behind, and tells pauses',
    layout: 'Candle',
    precision: 'bf16',
    ...KYUTAI,
    languages: ['en', 'fr'],
    architecture: 'stt-1b',
  },
  {
    name: 'stt-2.6b-en',
    repository: 'kyutai/stt-2.6b-en',
    what: 'transcribes, 2.5 s behind',
    ...PYTORCH,
    ...KYUTAI,
    languages: ['en'],
    architecture: 'stt-2.6b',
  },
  {
    name: 'hibiki-1b',
    repository: 'kyutai/hibiki-1b-pytorch-bf16',
    what: 'translates while it hears',
    ...PYTORCH,
    ...KYUTAI,
    languages: ['fr → en'],
    architecture: 'hibiki-1b',
  },
  {
    name: 'hibiki-2b',
    repository: 'kyutai/hibiki-2b-pytorch-bf16',
    what: 'translates while it hears',
    ...PYTORCH,
    ...KYUTAI,
    languages: ['fr → en'],
    architecture: 'hibiki-2b',
  },
];

export type ResolvedModel = {
  /** Folder of the checkpoint. */
  readonly directory: string;
  /** Short name to show people. */
  readonly name: string;
  /** Whether it is one of the tiny models that come with this repository. */
  readonly isDemo: boolean;
};

/**
 * @param nameOrPath - A name of the catalogue, the path of a folder, or a repository `owner/name`.
 * @param hubCacheDirectory - Where pulled models lie; without it only the demo and folders are found.
 * @throws CheckpointError saying which names exist, or how to get the weights.
 */
export function resolveModel(nameOrPath: string, hubCacheDirectory?: string): ResolvedModel {
  for (const [name, folder] of Object.entries(BUNDLED)) {
    const directory = join(import.meta.dirname, folder);
    if (nameOrPath === name || resolve(nameOrPath) === directory) {
      return { directory, name, isDemo: true };
    }
  }
  const listed = CATALOGUE.find(({ name }) => name === nameOrPath);
  const directory = resolve(nameOrPath);
  const isFolder = statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true;
  if (listed === undefined && isFolder) {
    return { directory, name: basename(directory), isDemo: false };
  }
  const repository = repositoryOf(nameOrPath);
  if (repository === null) {
    throw new CheckpointError(
      `There is no model ${JSON.stringify(nameOrPath)}. ` +
        `Use "demo", or another name that "models list" shows, a Hugging Face repository owner/name, or the path of ` +
        `a folder with a checkpoint as Kyutai publishes it (config.json, safetensors or GGUF, tokenizer); ` +
        `looked for the folder ${directory}.`,
    );
  }
  const found = findPulled(repository, hubCacheDirectory);
  if ('missing' in found) {
    throw new CheckpointError(
      `The weights of ${nameOrPath} are not here (${found.missing}): ` +
        `get them with "npm run --silent moshi -- models pull ${nameOrPath}".`,
    );
  }
  return { directory: found.directory, name: listed?.name ?? basename(repository), isDemo: false };
}

/** The repository that a name means, or null when it can mean none. */
export function repositoryOf(name: string): string | null {
  const listed = CATALOGUE.find((entry) => entry.name === name);
  if (listed !== undefined) return listed.repository;
  return isRepositoryName(name) ? name : null;
}

/** Where the files of a repository lie, or what of them is missing. */
export function findPulled(
  repository: string,
  hubCacheDirectory: string | undefined,
): { directory: string } | { missing: string } {
  if (hubCacheDirectory === undefined) return { missing: 'no cache was looked into' };
  const cached = new CachedRepository(hubCacheDirectory, repository);
  const directory = cached.find('main');
  if (directory === null) return { missing: `looked for ${cached.directory}` };
  const missing = missingFiles(directory);
  return missing.length === 0
    ? { directory }
    : { missing: `${directory} lacks ${missing.join(', ')}` };
}
