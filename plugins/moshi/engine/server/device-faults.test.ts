/** What clients and operators of an engine see when its device fails, over real sockets and threads. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { buildModel } from '../../../../models/build.ts';
import type { ModelManifest } from '../../../../models/manifest.ts';
import { EngineConversation } from '../../client/engine-conversation.ts';
import type { EngineConnectionError } from '../../client/engine-connection-error.ts';
import { fetchEngineHealth, fetchEngineMetrics } from '../../client/engine-http.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { DeviceThread } from '../device/device-thread.ts';
import type { FrameBuffers } from '../stepping/frame-tensors.ts';
import { startEngineServer, type EngineServer } from './engine-server.ts';

let folder: string;
let modelDirectory: string;
let manifest: ModelManifest;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-faults-'));
  ({ directory: modelDirectory, manifest } = await buildModel({
    checkpoint: 'demo',
    outputDirectory: folder,
    batches: [1],
    kinds: ['frame'],
  }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const options = () => ({
  modelDirectory,
  url: 'ws://127.0.0.1:0',
  slots: 1,
  device: 'cpu' as const,
  threads: 1,
  logger: pino({ level: 'silent' }),
});

/** A thread whose device takes conversations, and then does with every step what `onStep` says. */
function faultyThread(onStep: string): Worker {
  const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
  const codebooks = manifest.generatedCodebooks + manifest.heardCodebooks;
  const buffers: FrameBuffers = {
    pcm: shared(4 * FRAME_SAMPLES),
    execMask: shared(1),
    forcedText: shared(8),
    forcedCodes: shared(8 * codebooks),
    pcmOut: shared(4 * FRAME_SAMPLES),
    textToken: shared(8),
    frameTokens: shared(8 * (1 + manifest.generatedCodebooks)),
    embedding: null,
    hasEmbedding: null,
    pauses: null,
  };
  const script = `
    const { parentPort, workerData } = require('node:worker_threads');
    const reply = (message) => parentPort.postMessage(message);
    parentPort.on('message', (request) => {
      if (typeof request === 'number') { ${onStep} }
      if (request.type === 'close') parentPort.close();
    });
    reply({ type: 'ready', batches: [1], idleStepMs: new Map([[1, 1]]), buffers: workerData, runtimeVersion: '' });
  `;
  return new Worker(script, { eval: true, workerData: buffers });
}

/** Speaks to the engine until it says why it ends the conversation. */
async function converse(engine: EngineServer): Promise<EngineConnectionError> {
  const conversation = new EngineConversation({ engineUrl: engine.url });
  try {
    return await new Promise((resolve) => {
      conversation.once('ready', () => conversation.pushSamples(new Float32Array(FRAME_SAMPLES)));
      conversation.once('reconnecting', ({ error }) => resolve(error));
      conversation.once('failed', resolve);
      conversation.connect();
    });
  } finally {
    conversation.close();
  }
}

async function countOf(engine: EngineServer, fault: string): Promise<number> {
  const text = await fetchEngineMetrics(engine.url);
  return Number(new RegExp(`moshi_faults_total\\{fault="${fault}"\\} (\\d+)`).exec(text)?.[1]);
}

test('a device that is lost fails three steps in a row, and then the engine gives up', async () => {
  const lost = 'CUDA failure 719: unspecified launch failure';
  const engine = await startEngineServer({
    ...options(),
    openDevice: (given) =>
      DeviceThread.open(
        given,
        faultyThread(`reply({ type: 'step_failed', fault: 'step_failed', message: '${lost}' })`),
      ),
  });
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect(await converse(engine)).toMatchObject({
        problem: 'model_failed',
        message: expect.stringContaining(lost) as string,
      });
    }
    expect(await engine.failed).toContain(lost);
    expect(await countOf(engine, 'step_failed')).toBe(3);
    expect(await countOf(engine, 'device_lost')).toBe(1);
    expect((await fetchEngineHealth(engine.url)).status).toBe('failed');
    expect(await converse(engine)).toMatchObject({ problem: 'model_failed' });
  } finally {
    expect(await engine.close()).toBe(true);
  }
});

test('a step without memory or sound ends its conversation alone, and is counted', async () => {
  const engine = await startEngineServer({
    ...options(),
    openDevice: (given) =>
      DeviceThread.open(
        given,
        faultyThread(`
          globalThis.steps = (globalThis.steps ?? 0) + 1;
          if (steps === 1) reply({ type: 'step_failed', fault: 'out_of_memory', message: 'Failed to allocate memory' });
          else reply([1, 0, 0]);
        `),
      ),
  });
  try {
    expect(await converse(engine)).toMatchObject({
      problem: 'model_failed',
      message: expect.stringContaining('Failed to allocate memory') as string,
    });
    expect(await converse(engine)).toMatchObject({
      problem: 'model_failed',
      message: expect.stringContaining('no sound') as string,
    });
    expect(await countOf(engine, 'out_of_memory')).toBe(1);
    expect(await countOf(engine, 'row_failed')).toBe(1);
    expect(await countOf(engine, 'step_failed')).toBe(0);
    expect(await countOf(engine, 'device_lost')).toBe(0);
    expect((await fetchEngineHealth(engine.url)).status).toBe('ok');
  } finally {
    expect(await engine.close()).toBe(true);
  }
});

test('a thread that dies within a step ends its conversation and the engine at once', async () => {
  const engine = await startEngineServer({
    ...options(),
    openDevice: (given) =>
      DeviceThread.open(given, faultyThread(`throw new Error('the device fell off the bus')`)),
  });
  try {
    expect(await converse(engine)).toMatchObject({
      problem: 'model_failed',
      message: expect.stringContaining('fell off the bus') as string,
    });
    expect(await engine.failed).toContain('fell off the bus');
    expect(await countOf(engine, 'device_lost')).toBe(1);
    expect(await countOf(engine, 'step_hung')).toBe(0);
  } finally {
    expect(await engine.close()).toBe(true);
  }
});

test('a machine without room for the weights is told how much is missing, and loads nothing', async () => {
  let opened = false;
  const start = startEngineServer({
    ...options(),
    availableBytes: () => 2e6,
    openDevice: (given) => {
      opened = true;
      return DeviceThread.open(given);
    },
  });
  await expect(start).rejects.toThrow(
    /Not enough memory: .* for 1 conversations .* and .* for weights and workspaces are needed, 2\.0 MB are free/,
  );
  expect(opened).toBe(false);
});

test('weights that left no room for conversations are given back', async () => {
  const free = [1e12, 1_000];
  let closed: Promise<unknown> = Promise.reject(new Error('no device was opened'));
  closed.catch(() => undefined);
  const start = startEngineServer({
    ...options(),
    availableBytes: () => free.shift() ?? 0,
    openDevice: (given) => {
      const worker = faultyThread('');
      closed = new Promise((resolve) => worker.once('exit', resolve));
      return DeviceThread.open(given, worker);
    },
  });
  await expect(start).rejects.toThrow(/Not enough memory: .* are needed, 0\.0 MB are free/);
  await closed;
});
