/** `worker`: answers LiveKit's calls for the agent until it is told to stop. */
import { requireLiveKit } from '../../config.ts';
import { runWorker } from '../../worker.ts';
import type { CommandContext } from '../command-context.ts';

export async function runWorkerCommand(context: CommandContext): Promise<void> {
  requireLiveKit(context.config);
  await runWorker(context.config);
}
