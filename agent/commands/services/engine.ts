/** `engine`: serves conversations, or writes them down, until it is told to stop or its device fails. */
import { writeSync } from 'node:fs';
import {
  startEngineServer,
  type EngineServer,
} from '../../../plugins/moshi/engine/server/engine-server.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { buildForEngine } from '../model-for-command.ts';
import { SystemPrompts } from '../prompts/system-prompts.ts';
import { listenForSignals, whenAborted } from '../until-signal.ts';

export async function runEngine(context: CommandContext): Promise<void> {
  const { config, logger } = context;
  const { stop } = listenForSignals();
  const threads = engineThreads(config.engine);
  const model = await buildForEngine(context, {
    note: (line) => logger.info(line),
    warn: (line) => logger.warn(line),
  });
  const engine = await startEngineServer({
    modelDirectory: model.directory,
    url: config.engine.url,
    ...(config.engine.token !== undefined && { token: config.engine.token }),
    slots: config.engine.slots,
    device: model.device,
    ...threads,
    prompts: await SystemPrompts.open(context, model),
    logger,
  });
  logger.info({ url: engine.url, model: model.manifest.name }, 'the engine is ready');
  await serveUntil(stop, engine);
}

/**
 * Returns after `stop`.
 *
 * A supervisor starts a fresh engine when this one has lost its device and could only refuse.
 *
 * @throws CommandError with the reason if the engine gives up. A device that never lets go keeps a
 * process from exiting: then the process ends by SIGKILL, after the reason is written.
 */
export async function serveUntil(stop: AbortSignal, engine: EngineServer): Promise<void> {
  const reason = await Promise.race([whenAborted(stop).then(() => null), engine.failed]);
  const isFree = await engine.close();
  if (!isFree) {
    const why = reason ?? 'the device did not let go';
    writeSync(process.stderr.fd, `error: the engine is killed: ${why}\n`);
    process.kill(process.pid, 'SIGKILL');
  }
  if (reason !== null) {
    throw new CommandError(`the engine stopped: ${reason}`);
  }
}
