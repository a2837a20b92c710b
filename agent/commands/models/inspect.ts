/** `models inspect`: what a checkpoint says of itself. */
import { resolveModel } from '../../../models/catalogue.ts';
import { inspectCheckpoint } from '../../../models/inspect.ts';
import type { CommandContext } from '../command-context.ts';
import { adaptersOf } from '../model-for-command.ts';

/** Reads the checkpoint; nothing is built. */
export async function inspectModel(
  context: CommandContext,
  format: { json: boolean },
): Promise<void> {
  const { hub, model } = context.config;
  const { directory, name } = resolveModel(model.name, hub.cacheDirectory);
  const adapters = adaptersOf(context.config);
  const facts = { name, ...(await inspectCheckpoint(directory, adapters, hub.cacheDirectory)) };
  if (format.json) {
    context.print(JSON.stringify(facts));
    return;
  }
  for (const [fact, value] of Object.entries(facts)) {
    context.print(`${fact}: ${typeof value === 'object' ? JSON.stringify(value) : value}`);
  }
}
