import { initializeLogger, llm, voice } from '@livekit/agents';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MoshiModel, MoshiSession, sessionOptions } from '../index.ts';
import { StubEngine } from '../test-support/engine-stub.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import type { TurnEndMessage, WordMessage } from '../protocol/messages.ts';
import {
  CaptionedAgent,
  TestLoudspeaker,
  TestMicrophone,
} from '../test-support/agent-session-io.ts';

/**
 * The framework's own `AgentSession`, unchanged and without a room, around the model. The engine is
 * a stub that says "Hello world." from step 10 on and "Good bye." from step 40 on; another writes down
 * that the caller says "How are you" while the first sentence sounds.
 */
initializeLogger({ pretty: false, level: 'silent' });

const TEXT: Record<number, string> = {
  10: ' Hel',
  11: 'lo',
  14: ' world.',
  40: ' Good',
  43: ' bye.',
};
const SOUND = new Float32Array(FRAME_SAMPLES).map((_, index) => 0.3 * Math.sin(index * 0.1));
/** Steps in which the stub's voice sounds: from two frames after the first word's token. */
function sounds(step: number): boolean {
  return (step >= 12 && step < 20) || (step >= 42 && step < 50);
}

/** What is written down of the caller, by step: half a second after it is said. */
const HEARD: Record<number, (WordMessage | TurnEndMessage)[]> = {
  13: [{ type: 'word', text: 'How', startMs: 500 }],
  15: [{ type: 'word', text: 'are', startMs: 700 }],
  17: [{ type: 'word', text: 'you', startMs: 900 }],
  24: [{ type: 'turn_end', atMs: 1_400 }],
};

const microphone = { level: 0.1, rate: 48_000 };
let engine: StubEngine;
let transcriber: StubEngine;
let session: voice.AgentSession;
let agent: CaptionedAgent;
let input: TestMicrophone;
let output: TestLoudspeaker;
/** Peak of what the engine heard, per step. */
let heardPeaks: number[];
/** Of the agent and of the caller. */
let messages: llm.ChatMessage[];
let userMessages: llm.ChatMessage[];
let agentStates: string[];
let userStates: string[];
let transcripts: { transcript: string; isFinal: boolean }[];
let errors: unknown[];

class AttentiveAgent extends CaptionedAgent {
  override onExit(): Promise<void> {
    if (this.duplexSession instanceof MoshiSession) {
      this.duplexSession.finishUserTurn();
    }
    return Promise.resolve();
  }
}

const script = {
  frame: (step: number, heard: Float32Array) => {
    heardPeaks.push(heard.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
    const text = TEXT[step];
    return {
      ...(text !== undefined && { text, textToken: 100 }),
      ...(sounds(step) && { pcm: SOUND }),
    };
  },
};

beforeEach(async () => {
  heardPeaks = [];
  messages = [];
  userMessages = [];
  agentStates = [];
  userStates = [];
  transcripts = [];
  errors = [];
  engine = await StubEngine.start(0, script);
  transcriber = await StubEngine.start(0, { heard: (step) => HEARD[step] ?? [] });
  const model = new MoshiModel({
    engineUrl: engine.url,
    transcriber: { engineUrl: transcriber.url },
  });
  const realtimeModel: llm.RealtimeModel = new llm.DuplexRealtimeAdapter(model);
  session = new voice.AgentSession({ llm: realtimeModel, ...sessionOptions });
  input = new TestMicrophone();
  output = new TestLoudspeaker();
  session.input.audio = input;
  session.output.audio = output;
  session.on(voice.AgentSessionEventTypes.ConversationItemAdded, ({ item }) => {
    if (item.type === 'message') {
      (item.role === 'user' ? userMessages : messages).push(item);
    }
  });
  session.on(voice.AgentSessionEventTypes.AgentStateChanged, ({ newState }) =>
    agentStates.push(newState),
  );
  session.on(voice.AgentSessionEventTypes.UserStateChanged, ({ newState }) =>
    userStates.push(newState),
  );
  session.on(voice.AgentSessionEventTypes.UserInputTranscribed, ({ transcript, isFinal }) =>
    transcripts.push({ transcript, isFinal }),
  );
  session.on(voice.AgentSessionEventTypes.Error, ({ error }) => errors.push(error));
  agent = new AttentiveAgent({ instructions: 'ignored by Moshi' });
  await session.start({ agent, record: false });
});

afterEach(async () => {
  await input.close();
  await session.close();
  await engine.kill();
  await transcriber.kill();
});

/** A caller who hums without a pause. */
function hum(): void {
  const seconds = 30;
  input.speak(
    new Float32Array(seconds * microphone.rate).map(
      (_, index) => microphone.level * Math.sin(index * 0.05),
    ),
    microphone.rate,
  );
}

async function untilStep(step: number): Promise<void> {
  await vi.waitUntil(() => heardPeaks.length > step, { timeout: 10_000 });
}

async function untilMessages(count: number): Promise<void> {
  await vi.waitUntil(() => messages.length >= count, { timeout: 10_000 });
}

test('each utterance becomes voice, words as they come, one message, and states', async () => {
  hum();
  await untilMessages(2);
  expect(
    messages.map((message) => [message.role, message.textContent, message.interrupted]),
  ).toEqual([
    ['assistant', ' Hello world.', false],
    ['assistant', ' Good bye.', false],
  ]);
  expect(agent.captions.map((word) => word.text)).toEqual([' Hello', ' world.', ' Good', ' bye.']);
  expect(agentStates.filter((state) => state !== 'initializing')).toEqual([
    'listening',
    'speaking',
    'listening',
    'speaking',
    'listening',
  ]);
  expect(errors).toEqual([]);
}, 20_000);

test('no sample of the voice is lost: the gate opens before the sound', async () => {
  hum();
  await untilMessages(1);
  const loud = output.frames.filter((frame) => frame.data.some((sample) => sample !== 0));
  expect(loud).toHaveLength(8);
  expect(output.frames.indexOf(loud[0]!)).toBeGreaterThanOrEqual(2);
  for (const frame of output.frames) {
    expect(frame.data.buffer.byteLength).toBe(frame.data.byteLength);
  }
}, 20_000);

test('the model hears the caller also while it speaks, and is not cut off by it', async () => {
  hum();
  await untilMessages(2);
  // The first steps hold the onset of the resampler.
  expect(Math.min(...heardPeaks.slice(2))).toBeGreaterThan(0.9 * microphone.level);
  expect(messages.every((message) => !message.interrupted)).toBe(true);
}, 20_000);

test('the model finishes its sentence when the caller drops out of the call', async () => {
  hum();
  await untilStep(13);
  input.mute();
  await untilMessages(2);
  expect(messages[1]?.textContent).toBe(' Good bye.');
}, 20_000);

test('an engine that restarts in mid-call costs an error and the call goes on', async () => {
  hum();
  await untilStep(15);
  await engine.kill();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  engine = await StubEngine.start(engine.port, script);
  const returnedMs = performance.now();
  await vi.waitUntil(() => engine.heardSamples > 0, { timeout: 3_000 });
  expect(performance.now() - returnedMs).toBeLessThan(3_000);
  await untilMessages(2);
  expect(messages.at(-1)?.textContent).toBe(' Hello world.');
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatchObject({ recoverable: true });
}, 20_000);

test('another agent takes over the running conversation, not a new slot', async () => {
  hum();
  await untilStep(3);
  session.updateAgent(new voice.Agent({ instructions: 'somebody else' }));
  await untilMessages(1);
  expect(engine.authorizations).toHaveLength(1);
  expect(messages[0]?.textContent).toBe(' Hello world.');
}, 20_000);

test('asking for a reply does no harm: the model decides for itself', async () => {
  hum();
  await untilStep(1);
  await session.generateReply({ instructions: 'Say hello.' }).waitForPlayout();
  await untilMessages(1);
  expect(messages[0]?.textContent).toBe(' Hello world.');
}, 20_000);

test('closing the session leaves the engine', async () => {
  hum();
  await untilStep(1);
  expect(engine.sockets.size).toBe(1);
  await session.close();
  await vi.waitUntil(() => engine.sockets.size === 0);
}, 20_000);

test('the caller’s words come while they are said and are one message, before the answer to them', async () => {
  hum();
  await untilMessages(2);
  await vi.waitUntil(() => userMessages.length === 1);
  expect(transcripts).toEqual([
    { transcript: 'How', isFinal: false },
    { transcript: 'How are', isFinal: false },
    { transcript: 'How are you', isFinal: false },
    { transcript: 'How are you', isFinal: true },
  ]);
  expect(userStates).toEqual(['speaking', 'listening']);
  // Said before the agent began to speak, though it was written down while it spoke.
  expect(
    session.history.items.flatMap((item) => (item.type === 'message' ? [item.textContent] : [])),
  ).toEqual(['How are you', ' Hello world.', ' Good bye.']);
  // Nobody is cut off by what the caller says.
  expect(messages.every((message) => !message.interrupted)).toBe(true);
  expect(agentStates.filter((state) => state !== 'initializing')).toEqual([
    'listening',
    'speaking',
    'listening',
    'speaking',
    'listening',
  ]);
}, 20_000);

test('what was said last is in the history when the session is closed in mid-turn', async () => {
  hum();
  await vi.waitUntil(() => transcripts.at(-1)?.transcript === 'How are', { timeout: 10_000 });
  await session.close();
  expect(userMessages[0]?.textContent).toBe('How are');
}, 20_000);

test('a transcriber that dies in mid-call changes nothing for the rest', async () => {
  hum();
  await vi.waitUntil(() => transcripts.length > 0, { timeout: 10_000 });
  await transcriber.kill();
  await untilMessages(2);
  expect(messages.map((message) => message.textContent)).toEqual([' Hello world.', ' Good bye.']);
  await vi.waitUntil(() => userMessages.length === 1, { timeout: 4_000 });
  expect(userMessages[0]?.textContent).toMatch(/^How/);
  expect(errors).toEqual([]);
}, 20_000);
