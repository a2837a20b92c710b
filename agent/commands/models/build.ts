/** `models build`: the graphs that an engine runs. */
import type { CommandContext } from '../command-context.ts';
import { buildForEngine } from '../model-for-command.ts';

export async function buildModelCommand(
  context: CommandContext,
  format: { json: boolean },
): Promise<void> {
  const { directory, manifest } = await buildForEngine(context);
  const batches = manifest.graphs.map(({ batch }) => batch);
  if (format.json) {
    context.print(JSON.stringify({ name: manifest.name, directory, batches }));
  } else {
    context.print(`${manifest.name} for ${batches.join(', ')} conversations: ${directory}`);
  }
}
