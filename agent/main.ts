/** What runs in the process of one job: LiveKit's worker imports the default export. */
import { defineAgent, log } from '@livekit/agents';
import { loadConfig, readEnvironment } from './config.ts';
import { Call } from './room/call.ts';
import { prepareEars } from './room/participant-ear.ts';
import { WARM_PROCESS_MESSAGE } from './room/warm-process.ts';

export default defineAgent({
  prewarm: () => {
    // The framework tells of these on a level that nobody reads.
    process.on('unhandledRejection', (reason) => {
      log().error({ error: reason }, 'a promise was rejected and nobody took care of it');
    });
    prepareEars();
    log().info(WARM_PROCESS_MESSAGE);
  },
  entry: async (context) => {
    const { engine, transcriber, persona } = loadConfig(readEnvironment());
    const call = new Call({
      context,
      engineUrl: engine.url,
      engineToken: engine.token,
      ...(transcriber !== null && {
        transcriber: { engineUrl: transcriber.url, engineToken: engine.token },
      }),
      persona,
      logger: log(),
    });
    await call.join();
  },
});
