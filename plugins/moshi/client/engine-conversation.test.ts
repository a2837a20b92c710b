import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { encodeFrameMessage } from '../protocol/frame-message.ts';
import { FRAME_SAMPLES, PROTOCOL_VERSION } from '../protocol/messages.ts';
import { EngineConversation } from './engine-conversation.ts';
import type { EngineConversationEvents, EngineConversationOptions } from './engine-conversation.ts';
import { StubEngine, readyText, refuse, stubFrame } from '../test-support/engine-stub.ts';
import { ManualClock } from '../test-support/manual-clock.ts';

const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) {
    await close();
  }
});

async function startStub(
  where: number | string = 0,
  script: Parameters<typeof StubEngine.start>[1] = {},
): Promise<StubEngine> {
  const engine = await StubEngine.start(where, script);
  closers.push(() => engine.kill());
  return engine;
}

function converse(options: EngineConversationOptions): EngineConversation {
  const conversation = new EngineConversation({ random: () => 0.5, ...options });
  closers.push(() => conversation.close());
  conversation.connect();
  return conversation;
}

/** What the next event of this kind says. */
function next<Name extends keyof EngineConversationEvents>(
  conversation: EngineConversation,
  name: Name,
): Promise<EngineConversationEvents[Name][0]> {
  return new Promise((resolve) => {
    conversation.once(name, ((told: EngineConversationEvents[Name][0]) => resolve(told)) as never);
  });
}

describe('a conversation', () => {
  test('says what it wants, hears that the engine is ready, and gets a frame per 1,920 samples', async () => {
    const engine = await startStub(0, { frame: (step) => ({ text: ` word${step}` }) });
    const conversation = converse({
      engineUrl: engine.url,
      engineToken: 'secret',
      reservationKey: 'job-1',
      sampling: { textTemperature: 0 },
      seed: 7,
    });
    const { ready } = await next(conversation, 'ready');
    expect(ready.model.name).toBe('stub');
    expect(engine.authorizations).toEqual(['Bearer secret']);
    expect(engine.received).toEqual([
      {
        type: 'start',
        protocol: PROTOCOL_VERSION,
        reservationKey: 'job-1',
        sampling: { textTemperature: 0 },
        seed: 7,
      },
    ]);
    const texts: string[] = [];
    conversation.on('frame', (frame) => texts.push(frame.text));
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES * 4 + 5));
    await vi.waitUntil(() => texts.length === 4);
    expect(texts).toEqual([' word0', ' word1', ' word2', ' word3']);
  });

  test('sends whole frames, of whatever portions they came in, and begins a new one after a reset', async () => {
    const engine = await startStub();
    const conversation = converse({ engineUrl: engine.url });
    await next(conversation, 'ready');
    const messages: number[] = [];
    for (const socket of engine.sockets) {
      socket.on('message', (data: Buffer, isBinary) => isBinary && messages.push(data.length));
    }
    for (let sent = 0; sent < 4_000; sent += 480) {
      conversation.pushSamples(new Float32Array(480));
    }
    await vi.waitUntil(() => messages.length === 2);
    conversation.reset();
    await next(conversation, 'reset_done');
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    await next(conversation, 'frame');
    expect(messages).toEqual([1, 1, 1].map(() => 4 + FRAME_SAMPLES * 4));
    expect(engine.heardSamples).toBe(3 * FRAME_SAMPLES);
  });

  test('reaches a unix socket whose path has blanks and colons', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'moshi test: '));
    const engine = await startStub(join(folder, 'engine.sock'));
    const conversation = converse({ engineUrl: engine.url });
    await next(conversation, 'ready');
    expect(conversation.isReady).toBe(true);
  });

  test('drops input while no engine is there, counts it, and sends nothing of it later', async () => {
    const engine = await startStub();
    const conversation = new EngineConversation({ engineUrl: engine.url });
    closers.push(() => conversation.close());
    conversation.pushSamples(new Float32Array(4_800));
    conversation.connect();
    conversation.pushSamples(new Float32Array(480));
    await next(conversation, 'ready');
    expect(conversation.droppedSamples).toBe(5_280);
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    await next(conversation, 'frame');
    expect(engine.heardSamples).toBe(FRAME_SAMPLES);
  });

  test('drops input that an engine which does not read would get late', async () => {
    const engine = await startStub(0, {
      connection: (socket) => {
        socket.send(readyText());
        socket.pause();
      },
    });
    const conversation = converse({ engineUrl: engine.url });
    await next(conversation, 'ready');
    const minute = new Float32Array(60 * 24_000);
    conversation.pushSamples(minute);
    conversation.pushSamples(minute);
    expect(conversation.droppedSamples).toBeGreaterThan(24_000);
  });

  test('drops frames of the old conversation after a reset', async () => {
    const engine = await startStub();
    const conversation = converse({ engineUrl: engine.url });
    await next(conversation, 'ready');
    const steps: number[] = [];
    conversation.on('frame', (frame) => steps.push(frame.step));
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES * 3));
    conversation.reset();
    await next(conversation, 'reset_done');
    expect(steps).toEqual([]);
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    await next(conversation, 'frame');
    expect(steps).toEqual([0]);
  });

  test('tells nothing more once it is closed', async () => {
    const engine = await startStub();
    const conversation = converse({ engineUrl: engine.url });
    await next(conversation, 'ready');
    const told = vi.fn();
    conversation.on('reconnecting', told).on('failed', told).on('frame', told);
    conversation.close();
    await vi.waitUntil(() => engine.sockets.size === 0);
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    await delay(50);
    expect(told).not.toHaveBeenCalled();
  });
});

describe('an engine that transcribes', () => {
  const word = { type: 'word', text: 'yes', startMs: 160 } as const;
  const turnEnd = { type: 'turn_end', atMs: 800 } as const;

  test('tells words and ends of turns', async () => {
    const engine = await startStub(0, { heard: (step) => (step === 0 ? [word] : [turnEnd]) });
    const conversation = converse({ engineUrl: engine.url, transcribes: true });
    await next(conversation, 'ready');
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    expect(await next(conversation, 'word')).toEqual(word);
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    expect(await next(conversation, 'turn_end')).toEqual(turnEnd);
  });

  test('tells no words of the old conversation after a reset', async () => {
    const engine = await startStub(0, { heard: (step) => [{ ...word, startMs: step }] });
    const conversation = converse({ engineUrl: engine.url, transcribes: true });
    await next(conversation, 'ready');
    const starts: number[] = [];
    conversation.on('word', ({ startMs }) => starts.push(startMs));
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES * 3));
    conversation.reset();
    await next(conversation, 'reset_done');
    conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    await next(conversation, 'word');
    expect(starts).toEqual([0]);
  });

  test.each([
    ['is refused by who wants it to speak', { heard: () => [] }, false, 'only listens'],
    ['is what one that speaks is not', {}, true, 'speaks and does not transcribe'],
  ])('%s, for good', async (_, script, transcribes, message) => {
    const engine = await startStub(0, script);
    const conversation = converse({ engineUrl: engine.url, transcribes });
    const error = await next(conversation, 'failed');
    expect(error.problem).toBe('wrong_model');
    expect(error.message).toContain(message);
    expect(error.message).toContain(engine.url);
  });
});

describe('an engine that goes away', () => {
  test('is found again within 3 s of its return', async () => {
    const clock = new ManualClock();
    const first = await startStub();
    const conversation = converse({ engineUrl: first.url, clock });
    await next(conversation, 'ready');
    const lost = next(conversation, 'reconnecting');
    await first.kill();
    const { delayMs, error } = await lost;
    expect(delayMs).toBe(0);
    expect(error.problem).toBe('closed');
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const again = next(conversation, 'reconnecting');
      clock.advance(1_000);
      const event = await again;
      expect(event.error.problem).toBe('unreachable');
      expect(event.delayMs).toBeLessThanOrEqual(1_000);
    }
    await startStub(first.port);
    const ready = next(conversation, 'ready');
    clock.advance(1_000);
    await ready;
    expect(conversation.isReady).toBe(true);
  });

  test('is given up when the budget is spent, with the reason', async () => {
    const clock = new ManualClock();
    const engine = await startStub();
    const { url } = engine;
    await engine.kill();
    const conversation = converse({ engineUrl: url, clock, retry: { outageMs: 5_000 } });
    const failed = next(conversation, 'failed');
    let attempts = 0;
    conversation.on('reconnecting', () => {
      attempts += 1;
      setImmediate(() => clock.advance(1_000));
    });
    const error = await failed;
    expect(error.problem).toBe('unreachable');
    expect(error.message).toContain(url);
    expect(attempts).toBe(5);
  });

  test('is noticed when it stays connected but answers nothing', async () => {
    const clock = new ManualClock();
    const engine = await startStub(0, {
      connection: (socket) => {
        socket.send(readyText());
        socket.pause();
      },
    });
    const conversation = converse({ engineUrl: engine.url, clock });
    await next(conversation, 'ready');
    const lost = next(conversation, 'reconnecting');
    clock.advance(6_000);
    const { error } = await lost;
    expect(error.problem).toBe('timeout');
  });

  test('is noticed when it accepts the connection and never gets ready', async () => {
    const clock = new ManualClock();
    const connection = vi.fn();
    const engine = await startStub(0, { connection });
    const conversation = converse({ engineUrl: engine.url, clock });
    await vi.waitUntil(() => connection.mock.calls.length === 1);
    const lost = next(conversation, 'reconnecting');
    clock.advance(5_000);
    const { error } = await lost;
    expect(error.problem).toBe('timeout');
  });
});

describe('an engine that refuses', () => {
  test.each(['unauthorized', 'protocol_version'] as const)(
    'with %s is not asked again',
    async (code) => {
      const engine = await startStub(0, { connection: (socket) => refuse(socket, code) });
      const conversation = converse({ engineUrl: engine.url });
      const error = await next(conversation, 'failed');
      expect(error.problem).toBe(code);
      await delay(50);
      expect(engine.authorizations).toHaveLength(1);
    },
  );

  test('by a bare close code is understood as well', async () => {
    const engine = await startStub(0, { connection: (socket) => socket.close(4004) });
    const conversation = converse({ engineUrl: engine.url });
    const error = await next(conversation, 'failed');
    expect(error.message).toContain('MOSHI_ENGINE_TOKEN');
  });

  test('because all slots are taken is asked again', async () => {
    let visits = 0;
    const engine = await startStub(0, {
      connection: (socket) => {
        visits += 1;
        if (visits < 3) {
          refuse(socket, 'full');
        } else {
          socket.send(readyText());
        }
      },
    });
    const conversation = converse({ engineUrl: engine.url });
    const problems: string[] = [];
    conversation.on('reconnecting', ({ error }) => problems.push(error.problem));
    await next(conversation, 'ready');
    expect(problems).toEqual(['full', 'full']);
  });

  test('because it speaks a newer protocol is not asked again', async () => {
    const engine = await startStub(0, {
      connection: (socket) => socket.send(readyText({ protocol: PROTOCOL_VERSION + 1 })),
    });
    const conversation = converse({ engineUrl: engine.url });
    const error = await next(conversation, 'failed');
    expect(error.problem).toBe('protocol_version');
  });
});

describe('garbage from the engine', () => {
  const notFinite = stubFrame(0);
  notFinite.pcm[100] = Number.NaN;
  const garbage: Record<string, (socket: WebSocket) => void> = {
    'text that is no JSON': (socket) => socket.send('hello'),
    'a message of no known type': (socket) => socket.send('{"type":"surprise"}'),
    'ready without a model': (socket) => socket.send('{"type":"ready","protocol":1}'),
    'a second ready': (socket) => [0, 1].forEach(() => socket.send(readyText())),
    'a frame before ready': (socket) => socket.send(encodeFrameMessage(stubFrame(0))),
    'a word before ready': (socket) => socket.send('{"type":"word","text":"yes","startMs":0}'),
    'a frame with a sample that is not finite': (socket) => {
      socket.send(readyText());
      socket.send(encodeFrameMessage(notFinite));
    },
    'bytes that are no frame': (socket) => {
      socket.send(readyText());
      socket.send(new Uint8Array(333).fill(7));
    },
    'a message of 100 MB': (socket) => {
      socket.send(readyText());
      socket.send(new Uint8Array(100_000_000));
    },
  };

  test.each(Object.entries(garbage))(
    'such as %s ends the connection with a clear error and is tried again',
    async (_name, send) => {
      const engine = await startStub(0, { connection: send });
      const clock = new ManualClock();
      const conversation = converse({ engineUrl: engine.url, clock });
      const { error } = await next(conversation, 'reconnecting');
      expect(['not_an_engine', 'closed']).toContain(error.problem);
      expect(error.message).toContain(engine.url);
      expect(conversation.isReady).toBe(false);
      await vi.waitUntil(() => engine.sockets.size === 0);
    },
  );

  test('such as a web page instead of a WebSocket is an error, not a crash', async () => {
    const { createServer } = await import('node:http');
    const server = createServer((_request, response) => response.end('<html>'));
    server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n<html>'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    const address = server.address() as { port: number };
    const conversation = converse({
      engineUrl: `ws://127.0.0.1:${address.port}`,
      clock: new ManualClock(),
    });
    const { error } = await next(conversation, 'reconnecting');
    expect(error.problem).toBe('not_an_engine');
  });
});
