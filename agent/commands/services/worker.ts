/** `worker`: answers LiveKit's calls for the agent until it is told to stop. */
import { requireLiveKit } from '../../config.ts';
import { runWorker } from '../../worker.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { requireModels } from '../model-abilities.ts';

export async function runWorkerCommand(context: CommandContext): Promise<void> {
  requireLiveKit(context.config);
  await requireModels(context).catch((error: unknown) => {
    // Weights that are not here are where the engines are, and those tell.
    if (error instanceof CommandError) {
      throw error;
    }
  });
  await runWorker(context.config);
}
