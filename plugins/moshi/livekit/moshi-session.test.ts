import { initializeLogger, llm } from '@livekit/agents';
import { AudioFrame } from '@livekit/rtc-node';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StubEngine } from '../test-support/engine-stub.ts';
import type { StubEngineScript } from '../test-support/engine-stub.ts';
import { ManualClock } from '../test-support/manual-clock.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import type { TurnEndMessage, WordMessage } from '../protocol/messages.ts';
import { MoshiModel } from './moshi-model.ts';
import type { MoshiFrame, MoshiSession, MoshiState } from './moshi-session.ts';
import type { TranscriberOptions } from './user-transcriber.ts';
import type { UserTurn, UserWord } from './user-turns.ts';
import type { TimedWord } from './word-assembler.ts';

initializeLogger({ pretty: false, level: 'silent' });

const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) {
    await close();
  }
});

type Heard = Pick<llm.InputTranscriptionCompleted, 'itemId' | 'transcript' | 'isFinal'>;

type Told = {
  session: MoshiSession;
  clock: ManualClock;
  engine: StubEngine;
  frames: MoshiFrame[];
  words: TimedWord[];
  states: MoshiState[];
  errors: llm.RealtimeModelError[];
  reconnects: number;
  /** What the framework is told of the caller, in order. */
  caller: ('started' | 'stopped' | Heard)[];
  userWords: UserWord[];
  userTurns: UserTurn[];
};

async function openSession(
  script: StubEngineScript = {},
  outageMs = 60_000,
  transcriber?: TranscriberOptions,
): Promise<Told> {
  const engine = await StubEngine.start(0, script);
  closers.push(() => engine.kill());
  const clock = new ManualClock();
  const retry = { outageMs };
  const session = new MoshiModel({ engineUrl: engine.url, clock, retry, transcriber }).session();
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
    caller: [],
    userWords: [],
    userTurns: [],
  };
  session.on('input_speech_started', () => told.caller.push('started'));
  session.on('input_speech_stopped', () => told.caller.push('stopped'));
  session.on('input_audio_transcription_completed', ({ itemId, transcript, isFinal }) =>
    told.caller.push({ itemId, transcript, isFinal }),
  );
  session.on('moshi_user_word', (word) => told.userWords.push(word));
  session.on('moshi_user_turn', (turn) => told.userTurns.push(turn));
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

describe('what the caller says', () => {
  const word = (text: string, startMs: number): WordMessage => ({ type: 'word', text, startMs });
  const turnEnd = (atMs: number): TurnEndMessage => ({ type: 'turn_end', atMs });

  /** A session whose transcriber tells this in these steps of its own. */
  async function openHeard(
    heard:
      Record<number, (WordMessage | TurnEndMessage)[]> | (() => (WordMessage | TurnEndMessage)[]),
  ): Promise<{ told: Told; transcriber: StubEngine }> {
    const transcriber = await StubEngine.start(0, {
      heard: typeof heard === 'function' ? heard : (stepIndex) => heard[stepIndex] ?? [],
    });
    closers.push(() => transcriber.kill());
    const told = await openSession({}, 60_000, { engineUrl: transcriber.url });
    await untilWritten(told);
    return { told, transcriber };
  }

  /** Until a sample is not dropped any more: what the transcriber says is milliseconds to the call. */
  async function untilWritten({ session }: Told): Promise<void> {
    await vi.waitUntil(() => {
      const before = session.droppedTranscriberSamples;
      session.pushSamples(new Float32Array(1));
      return session.droppedTranscriberSamples === before;
    });
  }

  const transcripts = (told: Told): Heard[] =>
    told.caller.filter((event) => typeof event === 'object');

  test('is told while it comes, and once more when the turn is over', async () => {
    const { told } = await openHeard({
      3: [word('How', 80)],
      5: [word('are', 240)],
      9: [turnEnd(640)],
      12: [word('Well', 900)],
    });
    await step(told, 13);
    await vi.waitUntil(() => told.caller.length === 7);
    const [first] = transcripts(told);
    const next = transcripts(told).at(-1)!;
    const itemId = first!.itemId;
    expect(next.itemId).not.toBe(itemId);
    expect(told.caller).toEqual([
      'started',
      { itemId, transcript: 'How', isFinal: false },
      { itemId, transcript: 'How are', isFinal: false },
      'stopped',
      { itemId, transcript: 'How are', isFinal: true },
      'started',
      { itemId: next.itemId, transcript: 'Well', isFinal: false },
    ]);
    expect(told.userWords).toEqual([
      { turnId: itemId, text: ' How', startMs: 80 },
      { turnId: itemId, text: ' are', startMs: 240 },
      { turnId: next.itemId, text: ' Well', startMs: 900 },
    ]);
    expect(told.userTurns).toEqual([{ turnId: itemId, text: ' How are', startMs: 80, endMs: 640 }]);
  });

  test('is finished after three seconds without a word where the model hears no end', async () => {
    const said: WordMessage[] = [];
    const { told } = await openHeard(() => said.splice(0));
    for (const [index, text] of ['How', 'are'].entries()) {
      said.push(word(text, 80));
      told.session.pushSamples(new Float32Array(FRAME_SAMPLES));
      await vi.waitUntil(() => told.userWords.length === index + 1);
      told.clock.advance(2_900);
      expect(told.userTurns).toEqual([]);
    }
    told.clock.advance(100);
    expect(told.userTurns).toMatchObject([{ text: ' How are' }]);
    expect(told.caller.at(-1)).toMatchObject({ transcript: 'How are', isFinal: true });
  });

  const endings: Record<string, (session: MoshiSession) => unknown> = {
    'a reset': (session) => session.reset(),
    'the close': (session) => session.close(),
    'the end of the agent': (session) => session.finishUserTurn(),
  };
  test.each(Object.entries(endings))('is finished by %s, and no second time', async (_, end) => {
    const { told } = await openHeard({ 3: [word('How', 80)] });
    await step(told, 4);
    await vi.waitUntil(() => told.userWords.length === 1);
    await end(told.session);
    expect(told.userTurns).toMatchObject([{ text: ' How', startMs: 80, endMs: 320 }]);
    told.clock.advance(5_000);
    expect(told.userTurns).toHaveLength(1);
  });

  test('lies on the clock of the output, also after a reset', async () => {
    const { told, transcriber } = await openHeard({ 1: [word('yes', 80)] });
    await step(told, 3);
    told.clock.advance(1_000);
    told.session.reset();
    await vi.waitUntil(() => told.reconnects === 1 && transcriber.received.length === 2);
    await step(told, 2);
    await vi.waitUntil(() => told.userWords.length === 2);
    expect(told.frames.at(-1)).toMatchObject({ step: 1, startMs: 1_080 });
    expect(told.userWords.map(({ startMs }) => startMs)).toEqual([80, 1_080]);
  });

  test('goes on where the silence of a lost microphone is heard', async () => {
    const { told, transcriber } = await openHeard({ 10: [word('late', 700)] });
    await step(told, 1);
    for (let tick = 0; tick < 15; tick += 1) {
      told.clock.advance(80);
    }
    await vi.waitUntil(() => told.userWords.length === 1);
    expect(transcriber.heardSamples).toBeGreaterThan(10 * FRAME_SAMPLES);
  });

  test('is nobody else’s trouble: an engine that is not there is tried for ever', async () => {
    const transcriber = await StubEngine.start(0, { heard: () => [word('yes', 80)] });
    await transcriber.kill();
    const told = await openSession({}, 60_000, { engineUrl: transcriber.url });
    await step(told, 2);
    for (let second = 0; second < 90; second += 1) {
      const frames = told.frames.length;
      told.clock.advance(1_000);
      await vi.waitUntil(() => told.frames.length > frames, { interval: 1 });
    }
    expect(told.session.droppedTranscriberSamples).toBeGreaterThanOrEqual(2 * FRAME_SAMPLES);
    const returned = await StubEngine.start(transcriber.port, { heard: () => [word('yes', 80)] });
    closers.push(() => returned.kill());
    await vi.waitUntil(() => {
      told.clock.advance(1_000);
      return returned.received.length > 0;
    });
    await untilWritten(told);
    told.session.pushSamples(new Float32Array(FRAME_SAMPLES));
    await vi.waitUntil(() => told.userWords.length > 0);
    expect(told.userWords[0]!.startMs).toBeGreaterThan(160);
    expect(told.errors).toEqual([]);
    expect(told.states.map(({ state }) => state)).toEqual(['connecting', 'ready']);
  });

  test('costs nobody a word when its engine dies: the turn is told as far as it came', async () => {
    const { told, transcriber } = await openHeard({ 3: [word('How', 80)] });
    await step(told, 4);
    await vi.waitUntil(() => told.userWords.length === 1);
    await transcriber.kill();
    await step(told, 3);
    told.clock.advance(3_000);
    expect(told.userTurns).toMatchObject([{ text: ' How' }]);
    expect(told.errors).toEqual([]);
  });

  test('is not written down by an engine that speaks, and the call goes on', async () => {
    const speaking = await StubEngine.start(0);
    closers.push(() => speaking.kill());
    const told = await openSession({}, 60_000, { engineUrl: speaking.url });
    await vi.waitUntil(() => speaking.sockets.size === 0);
    await step(told, 2);
    expect(told.errors).toEqual([]);
  });
});
