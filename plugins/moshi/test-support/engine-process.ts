/** An engine in a process of its own: arguments are the folder of the model and the URL. */
import { pino } from 'pino';
import { startEngineServer } from '../engine/server/engine-server.ts';

const [modelDirectory, url] = process.argv.slice(2);
if (modelDirectory === undefined || url === undefined) {
  throw new Error('Give the folder of a built model and the URL to listen at.');
}
await startEngineServer({
  modelDirectory,
  url,
  slots: 1,
  device: 'cpu',
  threads: 1,
  logger: pino({ level: 'warn' }),
});
