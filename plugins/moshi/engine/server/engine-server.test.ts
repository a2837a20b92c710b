/** The engine with the real ONNX Runtime and the demo model, over real sockets. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { buildModel } from '../../../../models/build.ts';
import { DEMO_LINES } from '../../../../models/test-support/demo-lines.ts';
import {
  fetchEngineHealth,
  fetchEngineMetrics,
  releaseReservation,
  reserveSlot,
} from '../../client/engine-http.ts';
import {
  decodeFrameMessage,
  encodeAudioMessage,
  type FrameMessage,
} from '../../protocol/frame-message.ts';
import {
  CLOSE_CODES,
  CONVERSATION_PATH,
  engineMessage,
  FRAME_SAMPLES,
  PROTOCOL_VERSION,
  type EngineMessage,
} from '../../protocol/messages.ts';
import { startEngineServer, type EngineServer } from './engine-server.ts';

const logger = pino({ level: 'silent' });
const GREEDY = { textTemperature: 0, audioTemperature: 0 };
const silence = new Float32Array(FRAME_SAMPLES);

let folder: string;
let modelDirectory: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-engine-'));
  ({ directory: modelDirectory } = await buildModel({
    checkpoint: 'demo',
    outputDirectory: folder,
    batches: [1, 2],
    kinds: ['frame'],
  }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function start(options: Partial<Parameters<typeof startEngineServer>[0]> = {}) {
  return startEngineServer({
    modelDirectory,
    url: 'ws://127.0.0.1:0',
    slots: 2,
    device: 'cpu',
    threads: 1,
    // Whatever else this machine does now.
    stepLimitMs: 10_000,
    logger,
    ...options,
  });
}

/** A client that says and remembers what a test tells it to. */
class TestClient {
  readonly socket: WebSocket;
  readonly messages: EngineMessage[] = [];
  readonly frames: FrameMessage[] = [];
  readonly closed: Promise<number>;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(
      url.startsWith('unix:')
        ? `ws+unix:${url.slice('unix:'.length)}:${CONVERSATION_PATH}`
        : `${url}${CONVERSATION_PATH}`,
      { headers },
    );
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
    this.socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.frames.push(decodeFrameMessage(data));
      else this.messages.push(engineMessage.parse(JSON.parse(data.toString())));
    });
  }

  async open(): Promise<this> {
    await new Promise((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('error', reject);
    });
    return this;
  }

  say(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  async start(options: object = {}): Promise<EngineMessage> {
    this.say({ type: 'start', protocol: PROTOCOL_VERSION, sampling: GREEDY, ...options });
    await until(() => this.messages.length > 0);
    return this.messages[0]!;
  }

  hear(samples: Float32Array): void {
    this.socket.send(encodeAudioMessage(samples));
  }

  /** Sends frames one by one, each after the answer to the one before. */
  async talk(frames: readonly Float32Array[]): Promise<FrameMessage[]> {
    const before = this.frames.length;
    for (const [index, frame] of frames.entries()) {
      this.hear(frame);
      await until(() => this.frames.length > before + index);
    }
    return this.frames.slice(before);
  }

  async leave(): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}

async function until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  for (let waitedMs = 0; !condition(); waitedMs += 2) {
    if (waitedMs > timeoutMs) throw new Error(`still not so: ${condition.toString()}`);
    await sleep(2);
  }
}

const errorCode = (client: TestClient): string | undefined => {
  const message = client.messages.at(-1);
  return message?.type === 'error' ? message.code : undefined;
};

describe('an engine', () => {
  let engine: EngineServer;
  beforeAll(async () => (engine = await start()));
  afterAll(() => engine.close());

  async function counted(name: string): Promise<number> {
    const lines = (await fetchEngineMetrics(engine.url)).split('\n');
    return Number(
      lines
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')
        .at(-1),
    );
  }

  async function expectEngineLives(): Promise<void> {
    await until(() => true);
    const client = await new TestClient(engine.url).open();
    expect(await client.start()).toMatchObject({ type: 'ready' });
    expect(await client.talk([silence])).toHaveLength(1);
    await client.leave();
  }

  test('greets in words and with a voice', async () => {
    const client = await new TestClient(engine.url).open();
    expect(await client.start()).toMatchObject({
      type: 'ready',
      protocol: PROTOCOL_VERSION,
      model: { name: 'demo', isDemo: true, maxDelay: 1 },
    });
    const frames = await client.talk(Array.from({ length: 50 }, () => silence));
    expect(frames.map((frame) => frame.text).join('')).toContain(DEMO_LINES.greet.slice(0, 10));
    expect(frames.map((frame) => frame.step)).toEqual(frames.map((_, index) => index));
    expect(frames.slice(0, 2).map((frame) => frame.hasAudio)).toEqual([false, true]);
    expect(frames[0]!.pcm.every((sample) => sample === 0)).toBe(true);
    expect(Math.max(...frames.flatMap((frame) => [...frame.pcm]))).toBeGreaterThan(0.02);
    await client.leave();
  });

  test('says the same after a reset, and with the same seed', async () => {
    const client = await new TestClient(engine.url).open();
    const input = Array.from({ length: 12 }, () => silence);
    await client.start({ seed: 7, sampling: { textTemperature: 1, audioTemperature: 1 } });
    const first = await client.talk(input);
    client.say({ type: 'reset' });
    await until(() => client.messages.at(-1)?.type === 'reset_done');
    const second = await client.talk(input);
    const said = (frames: FrameMessage[]): unknown =>
      frames.map(({ step, textToken, pcm }) => ({ step, textToken, pcm }));
    expect(said(second)).toEqual(said(first));
    await client.leave();
  });

  test('takes samples in any portions', async () => {
    const client = await new TestClient(engine.url).open();
    await client.start();
    for (let sent = 0; sent < FRAME_SAMPLES * 2; sent += 240) client.hear(new Float32Array(240));
    await until(() => client.frames.length === 2);
    await client.leave();
  });

  test('drops the oldest input of a client that sends faster than real time, and counts it', async () => {
    const client = await new TestClient(engine.url).open();
    await client.start();
    client.hear(new Float32Array(FRAME_SAMPLES * 30));
    await until(() => client.frames.length === 3);
    expect(client.frames.at(-1)!.droppedFrames).toBe(27);
    expect((await fetchEngineHealth(engine.url)).droppedFramesTotal).toBeGreaterThanOrEqual(27);
    expect(await counted('moshi_dropped_frames_total')).toBeGreaterThanOrEqual(27);
    await client.leave();
  });

  test('refuses the client that finds no free slot', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => new TestClient(engine.url).open()));
    for (const client of clients) await client.start();
    expect(clients.slice(0, 2).map((client) => client.messages[0]!.type)).toEqual([
      'ready',
      'ready',
    ]);
    expect(errorCode(clients[2]!)).toBe('full');
    expect(await clients[2]!.closed).toBe(CLOSE_CODES.full);
    await Promise.all(clients.slice(0, 2).map((client) => client.leave()));
    await expectEngineLives();
  });

  test.each([
    ['text that is no JSON', 'garbage', 'bad_message'],
    ['JSON that is no message', '{"type":"sing"}', 'bad_message'],
    ['an unknown protocol', '{"type":"start","protocol":99}', 'protocol_version'],
    [
      'an impossible temperature',
      `{"type":"start","protocol":${PROTOCOL_VERSION},"sampling":{"textTemperature":-1}}`,
      'bad_message',
    ],
    [
      'a start with a condition that the model does not have',
      JSON.stringify({
        type: 'start',
        protocol: PROTOCOL_VERSION,
        conditions: { description: 'very_good' },
      }),
      'bad_message',
    ],
    [
      'a start with guidance that the model runs without',
      JSON.stringify({ type: 'start', protocol: PROTOCOL_VERSION, guidance: 3 }),
      'bad_message',
    ],
    ['audio before the start', encodeAudioMessage(silence), 'bad_message'],
    ['bytes that are no audio', Buffer.from([9, 9, 9]), 'bad_message'],
  ] as const)('refuses %s and serves the others', async (_, message, code) => {
    const other = await new TestClient(engine.url).open();
    await other.start();
    const client = await new TestClient(engine.url).open();
    client.socket.send(message);
    expect(await client.closed).toBe(CLOSE_CODES[code]);
    expect(errorCode(client)).toBe(code);
    expect(await other.talk([silence, silence])).toHaveLength(2);
    await other.leave();
  });

  test('names the wrong fields of a message in one line', async () => {
    const client = await new TestClient(engine.url).open();
    client.socket.send(
      `{"type":"start","protocol":${PROTOCOL_VERSION},"seed":-1,"sampling":{"textTopK":0}}`,
    );
    await client.closed;
    const [answer] = client.messages;
    expect(answer).toMatchObject({ type: 'error', code: 'bad_message' });
    expect(JSON.stringify(answer)).toMatch(/sampling\.textTopK: [^\\]*; seed: [^\\]*$/);
  });

  test('refuses a message of 100 MB and serves the others', async () => {
    const other = await new TestClient(engine.url).open();
    await other.start();
    const client = await new TestClient(engine.url).open();
    client.socket.send(Buffer.alloc(100_000_000));
    expect(await client.closed).toBe(CLOSE_CODES.too_large);
    expect(await other.talk([silence])).toHaveLength(1);
    await other.leave();
  });

  test('ends the conversation whose input is no sound and none of the others', async () => {
    const other = await new TestClient(engine.url).open();
    await other.start();
    const client = await new TestClient(engine.url).open();
    await client.start();
    client.hear(new Float32Array(FRAME_SAMPLES).fill(3e38));
    client.hear(silence);
    expect(await client.closed).toBe(CLOSE_CODES.bad_message);
    const words = await other.talk(Array.from({ length: 50 }, () => silence));
    expect(words.map((frame) => frame.text).join('')).toContain(DEMO_LINES.greet.slice(0, 10));
    await other.leave();
    await expectEngineLives();
  });

  test('hangs up on a client that does not read', async () => {
    const client = await new TestClient(engine.url).open();
    await client.start();
    client.socket.pause();
    const timer = setInterval(() => client.hear(new Float32Array(FRAME_SAMPLES * 3)), 20);
    try {
      for (;;) {
        const { slotsUsed } = await fetchEngineHealth(engine.url);
        if (slotsUsed === 0) break;
        await sleep(50);
      }
    } finally {
      clearInterval(timer);
      client.socket.terminate();
    }
    expect(await counted('moshi_errors_total{code="slow_reader"}')).toBe(1);
    await expectEngineLives();
  }, 60_000);

  test('holds a slot for the client that has reserved it', async () => {
    expect(await reserveSlot(engine.url, 'a')).toBe('reserved');
    expect(await reserveSlot(engine.url, 'a')).toBe('reserved');
    expect(await reserveSlot(engine.url, 'b')).toBe('reserved');
    expect(await reserveSlot(engine.url, 'c')).toBe('full');
    const stranger = await new TestClient(engine.url).open();
    await stranger.start();
    expect(errorCode(stranger)).toBe('full');
    const guest = await new TestClient(engine.url).open();
    expect((await guest.start({ reservationKey: 'a' })).type).toBe('ready');
    expect((await fetchEngineHealth(engine.url)).slotsUsed).toBe(2);
    await releaseReservation(engine.url, 'b');
    expect((await fetchEngineHealth(engine.url)).slotsUsed).toBe(1);
    await guest.leave();
  });

  test('reports its counters to Prometheus', async () => {
    const response = await fetch(`${engine.url.replace('ws:', 'http:')}/metrics`);
    const text = await response.text();
    expect(text).toMatch(/moshi_slots 2/);
    expect(text).toMatch(/moshi_steps_total [1-9]/);
    expect(text).toMatch(/moshi_step_seconds_bucket/);
    expect(text).toMatch(/moshi_errors_total\{code="full"\}/);
  });
});

test('an engine with a token serves only those who show it', async () => {
  const engine = await start({ token: 'secret' });
  try {
    const answers: (string | undefined)[] = [];
    for (const authorization of ['', 'Bearer wrong', 'Bearer secret']) {
      answers.push(
        await new TestClient(engine.url, authorization === '' ? {} : { authorization })
          .open()
          .then(async (client) => (await client.start()).type)
          .catch((error: unknown) => String(error)),
      );
    }
    expect(answers).toEqual([
      expect.stringContaining('401'),
      expect.stringContaining('401'),
      'ready',
    ]);
    await expect(reserveSlot(engine.url, 'a', 'wrong')).rejects.toThrow();
    expect(await reserveSlot(engine.url, 'a', 'secret')).toBe('reserved');
  } finally {
    await engine.close();
  }
});

test('an engine that nobody outside may reach without a token does not start', async () => {
  await expect(start({ url: 'ws://0.0.0.0:7101' })).rejects.toThrow(/give it a token/);
});

test('an engine that is too slow refuses with what it measured, and promises nothing', async () => {
  const engine = await start({ stepLimitMs: 0.001 });
  try {
    const client = await new TestClient(engine.url).open();
    const answer = await client.start();
    expect(answer).toMatchObject({ type: 'error', code: 'overloaded' });
    expect(JSON.stringify(answer)).toMatch(/a step for 1 takes [\d.]+ ms .* at most 0.001 ms/);
    expect(await client.closed).toBe(CLOSE_CODES.overloaded);
    expect(await reserveSlot(engine.url, 'a')).toBe('overloaded');
    const health = await fetchEngineHealth(engine.url);
    expect(health).toMatchObject({ slotsTotal: 2, slotsUsable: 0, slotsUsed: 0 });
    expect(health.bytesPerConversation).toBeGreaterThan(100_000);
  } finally {
    await engine.close();
  }
});

test('a model with too few rows is refused', async () => {
  await expect(start({ slots: 3 })).rejects.toThrow(/3 conversations at once.*1, 2/);
});

test('graphs for another device are refused with what to do', async () => {
  const { directory } = await buildModel({
    checkpoint: 'demo',
    outputDirectory: folder,
    batches: [1],
    kinds: ['frame'],
    device: 'cuda',
  });
  await expect(start({ slots: 1, modelDirectory: directory })).rejects.toThrow(
    /made for cuda, not for cpu.*MOSHI_DEVICE=cpu/,
  );
});

describe('a unix socket', () => {
  test('is private, refuses a second engine, and survives a dead one', async () => {
    const path = join(folder, 'engine.sock');
    const engine = await start({ url: `unix:${path}` });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(start({ url: `unix:${path}` })).rejects.toThrow(/already listening on/);
    const client = await new TestClient(engine.url).open();
    expect((await client.start()).type).toBe('ready');
    await engine.close();
    expect(errorCode(client)).toBe('shutting_down');
    expect(await client.closed).toBe(CLOSE_CODES.shutting_down);

    // What a killed engine leaves: the file, and nobody behind it.
    await leaveDeadSocket(path);
    const next = await start({ url: `unix:${path}` });
    expect((await fetchEngineHealth(next.url)).status).toBe('ok');
    await next.close();
  });

  test('never replaces a file that is none', async () => {
    const path = join(folder, 'notes.txt');
    await writeFile(path, 'precious');
    await expect(start({ url: `unix:${path}` })).rejects.toThrow(/is no socket/);
  });
});

/** A socket file whose listener is gone. */
async function leaveDeadSocket(path: string): Promise<void> {
  const { fork } = await import('node:child_process');
  const script = join(folder, 'dead.mjs');
  await writeFile(
    script,
    `import { createServer } from 'node:net';
     createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'));`,
  );
  await new Promise((resolve) => fork(script, { execArgv: [] }).once('exit', resolve));
}
