/** `models list | build | inspect`. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { resolveModel } from '../../models/build.ts';
import type { CommandContext } from './command-context.ts';
import { buildForEngine, buildGraphs } from './model-for-command.ts';

/** Models with a name of their own; any other is the path of its folder. */
const SHORT_NAMES = ['demo'];

export interface OutputFormat {
  json: boolean;
}

export function listModels(context: CommandContext, format: OutputFormat): Promise<void> {
  const models = SHORT_NAMES.map((name) => ({ ...resolveModel(name) }));
  if (format.json) {
    context.print(JSON.stringify(models));
  } else {
    for (const { name, directory, isDemo } of models) {
      context.print(`${name}  ${isDemo ? 'tiny model that shows the path  ' : ''}${directory}`);
    }
    context.print(
      'Any folder with a Moshi checkpoint is a model, too: PyTorch, MLX, Candle or GGUF files as Kyutai publishes them.',
    );
  }
  return Promise.resolve();
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
  const checkpoint = resolveModel(context.config.model.name);
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
