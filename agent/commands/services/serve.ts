/** `serve`: tokens, join links, health and the page, until it is told to stop. */
import path from 'node:path';
import { fetchEngineHealth } from '../../../plugins/moshi/client/engine-http.ts';
import { requireLiveKit } from '../../config.ts';
import { createServer } from '../../server/server.ts';
import { buildWebPage } from '../../server/build-web.ts';
import { inCache } from '../cache-folder.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { listenForSignals, whenAborted } from '../until-signal.ts';

export async function runServe(context: CommandContext): Promise<void> {
  const { config, logger } = context;
  const livekit = requireLiveKit(config);
  const { stop } = listenForSignals();
  const outputDirectory = path.join(config.cacheDirectory, 'web');
  const { directory: pageDirectory } = await inCache(outputDirectory, () =>
    buildWebPage({ outputDirectory }),
  );
  const server = createServer({
    livekit,
    pageDirectory,
    publicUrl: config.server.publicUrl,
    logger,
    fetchEngineHealth: () => fetchEngineHealth(config.engine.url, config.engine.token),
  });
  try {
    await server.listen({ host: config.server.host, port: config.server.port });
  } catch (error) {
    throw listenError(error, config.server);
  }
  await whenAborted(stop);
  await server.close();
}

function listenError(error: unknown, server: { host: string; port: number }): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const remedies: Record<string, string> = {
    EADDRINUSE: `port ${server.port} of ${server.host} is taken: set MOSHI_HTTP_PORT to a free one`,
    EACCES: `port ${server.port} needs rights this process lacks: set MOSHI_HTTP_PORT above 1023`,
    EADDRNOTAVAIL: `${server.host} is no address of this machine: set MOSHI_HTTP_HOST to one`,
  };
  const remedy = remedies[String(code)];
  return remedy === undefined ? error : new CommandError(remedy, { cause: error });
}
