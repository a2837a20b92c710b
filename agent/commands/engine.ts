/** `engine`: serves conversations until it is told to stop or its device fails. */
import { startEngineServer } from '../../plugins/moshi/engine/engine-server.ts';
import { CommandError, type CommandContext } from './command-context.ts';
import { defaultThreads } from './default-threads.ts';
import { requireVoice } from './model-abilities.ts';
import { buildForEngine } from './model-for-command.ts';
import { listenForSignals, whenAborted } from './until-signal.ts';

export async function runEngine(context: CommandContext): Promise<void> {
  const { config, logger } = context;
  const { stop } = listenForSignals();
  await requireVoice(context);
  const model = await buildForEngine(context);
  const engine = await startEngineServer({
    modelDirectory: model.directory,
    url: config.engine.url,
    ...(config.engine.token !== undefined && { token: config.engine.token }),
    slots: config.engine.slots,
    device: config.engine.device,
    threads: config.engine.threads ?? defaultThreads(),
    logger,
  });
  logger.info({ url: engine.url, model: model.manifest.name }, 'the engine is ready');
  const reason = await Promise.race([whenAborted(stop).then(() => null), engine.failed]);
  await engine.close();
  if (reason !== null) {
    // The supervisor starts a fresh engine; this one has lost its device and could only refuse.
    throw new CommandError(`the engine stopped: ${reason}`);
  }
}
