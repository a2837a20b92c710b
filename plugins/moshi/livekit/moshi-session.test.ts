import { initializeLogger, llm } from '@livekit/agents';
import { AudioFrame } from '@livekit/rtc-node';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StubEngine } from '../test-support/engine-stub.ts';
import type { StubEngineScript } from '../test-support/engine-stub.ts';
import { ManualClock } from '../test-support/manual-clock.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import { MoshiModel } from './moshi-model.ts';
import type { MoshiFrame, MoshiSession, MoshiState } from './moshi-session.ts';
import type { TimedWord } from './word-assembler.ts';

initializeLogger({ pretty: false, level: 'silent' });

const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) {
    await close();
  }
});

type Told = {
  session: MoshiSession;
  clock: ManualClock;
  engine: StubEngine;
  frames: MoshiFrame[];
  words: TimedWord[];
  states: MoshiState[];
  errors: llm.RealtimeModelError[];
  reconnects: number;
};

async function openSession(script: StubEngineScript = {}, outageMs = 60_000): Promise<Told> {
  const engine = await StubEngine.start(0, script);
  closers.push(() => engine.kill());
  const clock = new ManualClock();
  const session = new MoshiModel({ engineUrl: engine.url, clock, retry: { outageMs } }).session();
  closers.push(() => session.close());
  const told: Told = {
    session,
    clock,
    engine,
    frames: [],
    words: [],
    states: [],
    errors: [],
    reconnects: 0,
  };
  session.on('moshi_frame', (frame) => told.frames.push(frame));
  session.on('moshi_word', (word) => told.words.push(word));
  session.on('moshi_state', (state) => told.states.push(state));
  session.on('error', (error) => told.errors.push(error));
  session.on('session_reconnected', () => (told.reconnects += 1));
  await session._updateSession('', llm.ChatContext.empty(), llm.ToolContext.empty());
  await waitForState(told, 'ready');
  return told;
}

async function waitForState(told: Told, state: MoshiState['state']): Promise<void> {
  await vi.waitUntil(() => told.states.at(-1)?.state === state);
}

/** Hears so many frames of silence and waits for the answers. */
async function step(told: Told, count: number): Promise<void> {
  const until = told.frames.length + count;
  told.session.pushSamples(new Float32Array(FRAME_SAMPLES * count));
  await vi.waitUntil(() => told.frames.length === until);
}

function says(words: Record<number, string>): StubEngineScript {
  return {
    frame: (stepIndex) => {
      const text = words[stepIndex];
      return text === undefined ? {} : { text, textToken: 100 };
    },
  };
}

describe('the framework', () => {
  test('is not connected to an engine before it has configured the session', async () => {
    const engine = await StubEngine.start(0);
    closers.push(() => engine.kill());
    const session = new MoshiModel({ engineUrl: engine.url }).session();
    await session.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(engine.authorizations).toEqual([]);
  });

  test('may hand over instructions, items, tools and options as often as it likes', async () => {
    const { session } = await openSession();
    const tools = llm.ToolContext.empty();
    for (let time = 0; time < 2; time += 1) {
      await session._updateInstructions('Be brief.');
      await session._appendItems();
      await session._updateTools(tools);
      session._updateOptions();
    }
    expect(session.tools).toBe(tools);
  });

  test('is told that the model decides for itself when to speak', async () => {
    const { session } = await openSession();
    expect(() => session._generateReply('Say hello.')).toThrow(/decides for itself/);
  });

  test('may close twice', async () => {
    const { session, engine } = await openSession();
    await session.close();
    await session.close();
    await vi.waitUntil(() => engine.sockets.size === 0);
  });

  test('gets metrics whose durations add up to the time of the conversation', async () => {
    const told = await openSession();
    const durations: number[] = [];
    told.session.on('metrics_collected', (event) => {
      if (event.type === 'realtime_model_metrics') {
        durations.push(event.sessionDurationMs ?? 0);
      }
    });
    told.clock.advance(25_000);
    await told.session.close();
    expect(durations).toEqual([10_000, 10_000, 5_000]);
  });
});

describe('output', () => {
  test('has whole words on the clock of the audio, which lags the text by the model delay', async () => {
    const told = await openSession(says({ 2: ' hel', 3: 'lo', 5: ' you' }));
    const deltas: llm.DuplexOutputTranscriptDelta[] = [];
    told.session.on('transcript_delta', (delta) => deltas.push(delta));
    await step(told, 8);
    expect(told.frames.map((frame) => frame.startMs)).toEqual([
      0, 80, 160, 240, 320, 400, 480, 560,
    ]);
    expect(told.words).toEqual([
      { text: ' hello', startMs: (2 + 2) * 80, endMs: (4 + 2) * 80 },
      { text: ' you', startMs: (5 + 2) * 80, endMs: (6 + 2) * 80 },
    ]);
    expect(deltas).toEqual(told.words);
  });

  test('has every frame in the stream, silence included, each with a buffer of its own', async () => {
    const told = await openSession({
      frame: () => ({ pcm: new Float32Array(FRAME_SAMPLES).fill(0.5) }),
    });
    await step(told, 5);
    const reader = told.session.audioStream.getReader();
    const buffers = new Set();
    for (let index = 0; index < 5; index += 1) {
      const { value } = await reader.read();
      expect(value?.startMs).toBe(index * 80);
      expect(value?.frame.data.length).toBe(FRAME_SAMPLES);
      expect(value?.frame.data[7]).toBe(16_384);
      buffers.add(value?.frame.data.buffer);
    }
    expect(buffers.size).toBe(5);
  });

  test('is dropped and counted when nobody reads it', async () => {
    const told = await openSession();
    await step(told, 30);
    expect(told.session.unreadFrames).toBe(5);
    expect(told.frames).toHaveLength(30);
  });

  test('is speech from before a word sounds, so that a soft onset is not clipped', async () => {
    const told = await openSession(says({ 4: ' hi' }));
    await step(told, 16);
    const speech = told.frames.map((frame) => frame.isSpeech);
    expect(speech.indexOf(true)).toBe(4);
    expect(speech.slice(4, 7)).toEqual([true, true, true]);
    expect(speech.at(-1)).toBe(false);
  });
});

describe('input', () => {
  test.each([
    [48_000, 1],
    [44_100, 2],
    [16_000, 1],
    [8_000, 1],
  ])('of %i Hz and %i channels reaches the engine as 24 kHz mono', async (rate, channels) => {
    const levels: number[] = [];
    const told = await openSession({
      frame: (_step, heard) => {
        levels.push(Math.max(...heard));
        return {};
      },
    });
    const samplesPerChannel = rate / 100;
    for (let index = 0; index < 100; index += 1) {
      const data = new Int16Array(samplesPerChannel * channels).fill(16_384);
      told.session.pushAudio(new AudioFrame(data, rate, channels, samplesPerChannel));
    }
    // A second, as far as it fills whole frames.
    await vi.waitUntil(() => told.engine.heardSamples >= 12 * FRAME_SAMPLES);
    expect(told.engine.heardSamples).toBeLessThanOrEqual(24_000);
    expect(levels.at(-1)).toBeCloseTo(0.5, 3);
  });

  test('is replaced by silence when the caller is gone, so that the model goes on', async () => {
    const told = await openSession();
    told.clock.advance(2_000);
    expect(told.frames).toHaveLength(0);
    await step(told, 1);
    for (let tick = 0; tick < 25; tick += 1) {
      told.clock.advance(80);
    }
    await vi.waitUntil(() => told.frames.length === 1 + 23);
  });
});

describe('an engine that restarts', () => {
  test('costs a recoverable error and nothing else; time goes on', async () => {
    const told = await openSession();
    await step(told, 3);
    told.clock.advance(240);
    await told.engine.kill();
    await waitForState(told, 'reconnecting');
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const count = told.states.length;
      told.clock.advance(1_000);
      await vi.waitUntil(() => told.states.length > count);
    }
    expect(told.states.at(-1)?.message).toContain('No engine answers');
    const engine = await StubEngine.start(told.engine.port);
    closers.push(() => engine.kill());
    told.clock.advance(1_000);
    await waitForState(told, 'ready');
    expect(told.errors.map((error) => error.recoverable)).toEqual([true]);
    expect(told.reconnects).toBe(1);
    await step(told, 2);
    expect(told.frames.map((frame) => frame.startMs)).toEqual([0, 80, 160, 4_240, 4_320]);
  });

  test('and never comes back ends the session with an error that is not recoverable', async () => {
    const told = await openSession({}, 2_000);
    await told.engine.kill();
    await waitForState(told, 'reconnecting');
    while (told.states.at(-1)?.state !== 'failed') {
      const count = told.states.length;
      told.clock.advance(1_000);
      await vi.waitUntil(() => told.states.length > count);
    }
    expect(told.errors.map((error) => error.recoverable)).toEqual([true, false]);
    expect(told.states.at(-1)?.message).toContain(told.engine.url);
  });

  test('does not end the process when nobody listens to errors', async () => {
    const told = await openSession();
    told.session.removeAllListeners('error');
    await told.engine.kill();
    await waitForState(told, 'reconnecting');
  });
});

test('a reset starts an empty conversation and the clock goes on', async () => {
  const told = await openSession(says({ 2: ' hel' }));
  await step(told, 3);
  told.clock.advance(1_000);
  const sentBefore = told.engine.received.length;
  told.session.reset();
  await vi.waitUntil(() => told.reconnects === 1);
  expect(told.engine.received.slice(sentBefore)).toEqual([{ type: 'reset' }]);
  await step(told, 1);
  expect(told.frames.at(-1)).toMatchObject({ step: 0, startMs: 1_000 });
  expect(told.words).toEqual([]);
});
