/** `models list | build | inspect`. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import {
  CATALOGUE,
  findPulled,
  resolveModel,
  type CatalogueEntry,
} from '../../models/catalogue.ts';
import type { CommandContext } from './command-context.ts';
import { buildForEngine, buildGraphs } from './model-for-command.ts';

export interface OutputFormat {
  json: boolean;
}

/** One model of the catalogue, as `models list --json` prints it. */
export type ListedModel = CatalogueEntry & {
  /** Folder of the weights, or null where they must be pulled first. */
  directory: string | null;
};

export function listModels(context: CommandContext, format: OutputFormat): Promise<void> {
  const models = CATALOGUE.map((entry): ListedModel => ({
    ...entry,
    directory: directoryOf(entry, context.config.hub.cacheDirectory),
  }));
  if (format.json) {
    context.print(JSON.stringify(models));
    return Promise.resolve();
  }
  for (const { name, what, languages, licence, isGated, directory } of models) {
    const state = directory ?? (isGated ? 'not here, gated' : 'not here');
    context.print(`${name}  ${what} (${languages.join(', ')}), ${licence}; ${state}`);
  }
  context.print(
    '"models pull NAME" fetches one, from Hugging Face. Any repository owner/name in one of Kyutai’s ' +
      'layouts is a model, too, and any folder with such files: PyTorch, MLX, Candle or GGUF.',
  );
  return Promise.resolve();
}

function directoryOf({ name, repository }: CatalogueEntry, cacheDirectory: string): string | null {
  if (repository === null) return resolveModel(name).directory;
  const found = findPulled(repository, cacheDirectory);
  return 'directory' in found ? found.directory : null;
}

export async function buildModelCommand(
  context: CommandContext,
  format: OutputFormat,
): Promise<void> {
  const { directory, manifest } = await buildForEngine(context);
  const batches = manifest.graphs.map(({ batch }) => batch);
  if (format.json) {
    context.print(JSON.stringify({ name: manifest.name, directory, batches }));
  } else {
    context.print(`${manifest.name} for ${batches.join(', ')} conversations: ${directory}`);
  }
}

export async function inspectModel(context: CommandContext, format: OutputFormat): Promise<void> {
  const checkpoint = resolveModel(context.config.model.name, context.config.hub.cacheDirectory);
  const { directory, manifest } = await buildGraphs(context, ['frame'], [1]);
  const [graph] = manifest.graphs;
  const facts = {
    name: manifest.name,
    kind: manifest.kind,
    checkpoint: checkpoint.directory,
    built: directory,
    generatedCodebooks: manifest.generatedCodebooks,
    heardCodebooks: manifest.heardCodebooks,
    maxDelay: manifest.maxDelay,
    textCard: manifest.textCard,
    audioCard: manifest.audioCard,
    sampling: manifest.sampling,
    conditions: manifest.conditions,
    guidance: manifest.guidance,
    stateBytesPerConversation: (graph?.states ?? [])
      .map(({ rowShape, type }) => rowShape.reduce((size, n) => size * n, BYTES[type]))
      .reduce((sum, bytes) => sum + bytes, 0),
    graphBytes: graph === undefined ? 0 : (await stat(path.join(directory, graph.file))).size,
  };
  if (format.json) {
    context.print(JSON.stringify(facts));
    return;
  }
  for (const [name, value] of Object.entries(facts)) {
    context.print(`${name}: ${typeof value === 'object' ? JSON.stringify(value) : value}`);
  }
}

const BYTES = { float32: 4, int64: 8, bool: 1 };
