/** An engine whose device hangs: arguments are the folder of the model and the URL to listen at. */
import { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { DeviceThread } from '../../plugins/moshi/engine/device/device-thread.ts';
import { startEngineServer } from '../../plugins/moshi/engine/server/engine-server.ts';
import { serveUntil } from '../commands/services/engine.ts';

const [modelDirectory, url] = process.argv.slice(2);
if (modelDirectory === undefined || url === undefined) {
  throw new Error('Give the folder of a built model and the URL to listen at.');
}
const engine = await startEngineServer({
  modelDirectory,
  url,
  slots: 1,
  device: 'cpu',
  threads: 1,
  hangingStepMs: 300,
  logger: pino({ level: 'silent' }),
  openDevice: (options) =>
    DeviceThread.open(
      options,
      new Worker(new URL('hanging-device.mjs', import.meta.url), { workerData: options }),
    ),
});
process.stdout.write(`listening at ${engine.url}\n`);
await serveUntil(new AbortController().signal, engine);
