/** A device whose first step never ends, in native code as a driver would hang. */
import koffi from 'koffi';
import { parentPort, workerData } from 'node:worker_threads';

const FRAME_SAMPLES = 1_920;

const port = parentPort;
if (port === null) {
  throw new Error('hanging-device.mjs runs as a worker thread only');
}
const bytes = (count) => new SharedArrayBuffer(count * workerData.slots);
port.on('message', (request) => {
  if (typeof request === 'number') {
    koffi.load(null).func('unsigned int sleep(unsigned int)')(1_000_000);
  }
});
port.postMessage({
  type: 'ready',
  batches: [workerData.slots],
  idleStepMs: new Map([[workerData.slots, 1]]),
  buffers: {
    pcm: bytes(FRAME_SAMPLES * 4),
    execMask: bytes(1),
    forcedText: bytes(8),
    forcedCodes: bytes(8),
    pcmOut: bytes(FRAME_SAMPLES * 4),
    textToken: bytes(8),
    frameTokens: bytes(8),
    embedding: null,
    hasEmbedding: null,
    pauses: bytes(4),
  },
  runtimeVersion: 'none',
});
