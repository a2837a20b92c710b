/** `engine`: serves conversations until it is told to stop. */
import { startEngineServer } from '../../plugins/moshi/engine/engine-server.ts';
import type { CommandContext } from './command-context.ts';
import { defaultThreads } from './default-threads.ts';
import { buildForEngine } from './model-for-command.ts';
import { listenForSignals, whenAborted } from './until-signal.ts';

export async function runEngine(context: CommandContext): Promise<void> {
  const { config, logger } = context;
  const { stop } = listenForSignals();
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
  await whenAborted(stop);
  await engine.close();
}
