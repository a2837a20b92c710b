/**
 * The words of callers in a real room: a second engine process writes down what is said. Its model has
 * random weights, so the words mean nothing; that they come, whose they are and when they end is looked at.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { initializeLogger, voice } from '@livekit/agents';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { generateCheckpoint } from '../../models/generate/generate-checkpoint.ts';
import { DEMO_LINES } from '../../models/test-support/demo-lines.ts';
import { UNUSUAL_TRANSCRIPTION } from '../../models/test-support/unusual-architecture.ts';
import { fetchEngineHealth } from '../../plugins/moshi/index.ts';
import { readWav } from '../commands/wav/wav.ts';
import { REPOSITORY_DIRECTORY } from '../config.ts';
import type { RoomEvent } from '../events/room-events.ts';
import { Caller, type HeardText } from '../testing/caller.ts';
import { hasProgram } from '../testing/requirements.ts';
import { Stack } from '../testing/stack.ts';

const hasServer = hasProgram('livekit-server', '--version', 'transcripts.e2e.test.ts');
const QUESTION = path.join(REPOSITORY_DIRECTORY, 'agent/testing/questions/what-is-your-name.wav');
const { greet: GREETING, name: NAME } = DEMO_LINES;
/** From the last word to the end of a turn that nobody has heard the end of, and the way to the room. */
const FINISHED_MS = 5_000;

/** In the framework's protobuf messages. */
const ROLE_USER = 2;

type RoomSide = Parameters<typeof voice.RemoteSession.fromRoom>[1];

initializeLogger({ pretty: false, level: 'silent' });

type UserEvent = Extract<RoomEvent, { type: 'user_transcript_delta' | 'user_transcript_final' }>;

describe.skipIf(!hasServer)('what callers say', () => {
  let folder: string;
  let stack: Stack;
  const callers: Caller[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'moshi-transcripts-'));
    const checkpoint = path.join(folder, 'listener');
    await generateCheckpoint({
      architecture: UNUSUAL_TRANSCRIPTION,
      seed: 23,
      directory: checkpoint,
    });
    stack = new Stack({
      port: 7320,
      mediaPort: 50_320,
      cacheDirectory: path.join(REPOSITORY_DIRECTORY, '.cache'),
      transcriber: { checkpoint, cacheDirectory: path.join(folder, 'cache') },
    });
    await stack.start();
  });
  afterEach(async () => {
    await Promise.all(callers.splice(0).map((caller) => caller.leave()));
  });
  afterAll(async () => {
    await stack.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function call(room: string, identity: string): Promise<Caller> {
    const caller = new Caller(identity);
    callers.push(caller);
    await caller.join(stack.livekitUrl, await stack.token(room, identity));
    return caller;
  }

  async function ask(caller: Caller): Promise<void> {
    const { samples, sampleRate } = await readWav(QUESTION);
    await caller.say(samples, sampleRate);
  }

  /** Waits until the agent has said this. */
  async function hear(caller: Caller, text: string, fromMs: number): Promise<void> {
    await vi
      .waitUntil(() => caller.textSince(fromMs).includes(text), { timeout: 15_000 })
      .catch(() => {
        throw new Error(`expected "${text}", read "${caller.textSince(fromMs)}"`);
      });
  }

  function userEvents<Type extends UserEvent['type']>(
    caller: Caller,
    type: Type,
    fromMs = 0,
  ): Extract<UserEvent, { type: Type }>[] {
    return caller.events
      .filter(({ atMs }) => atMs >= fromMs)
      .map(({ event }) => event)
      .filter((event) => event.type === type) as Extract<UserEvent, { type: Type }>[];
  }

  function captionsOf(caller: Caller, identity: string): HeardText[] {
    return caller.texts.filter(({ sender }) => sender === identity);
  }

  /** What the framework remembers of the conversation, as its own clients ask for it. */
  async function historyOf(caller: Caller): Promise<{ isUser: boolean; text: string }[]> {
    const agent = [...caller.room.remoteParticipants.values()][0];
    // Of the agent's side of the room nothing is asked but who is spoken to.
    const side: unknown = { linkedParticipant: agent };
    const session = voice.RemoteSession.fromRoom(caller.room, side as RoomSide);
    await session.start();
    try {
      const { items } = await session.fetchChatHistory();
      return items.flatMap(({ item }) => {
        if (item.case !== 'message') {
          return [];
        }
        const role: number = item.value.role;
        return item.value.content.map(({ payload }) => ({
          isUser: role === ROLE_USER,
          text: String(payload.value),
        }));
      });
    } finally {
      await session.close();
    }
  }

  test('come as captions of their own and as events, and killing who writes them down harms nothing', async () => {
    const caller = await call('words', 'visitor-1');
    await hear(caller, GREETING, 0);
    await vi.waitUntil(() => userEvents(caller, 'user_transcript_delta').length >= 3, {
      timeout: 30_000,
    });
    await stack.killTranscriber();

    // The turn is told as far as it came.
    await vi.waitUntil(
      () =>
        userEvents(caller, 'user_transcript_final').length > 0 &&
        captionsOf(caller, 'visitor-1').some(({ isFinal }) => isFinal),
      { timeout: FINISHED_MS },
    );
    const words = userEvents(caller, 'user_transcript_delta');
    const final = userEvents(caller, 'user_transcript_final').at(-1)!;
    expect(words.every(({ identity }) => identity === 'visitor-1')).toBe(true);
    expect(final.identity).toBe('visitor-1');
    const ofTurn = words.filter(({ segmentId }) => segmentId === final.segmentId);
    expect(ofTurn.map(({ text }) => text).join('')).toBe(final.text);
    expect(final.startMs).toBe(ofTurn[0]!.startMs);
    expect(final.endMs).toBeGreaterThanOrEqual(ofTurn.at(-1)!.startMs);

    const captions = captionsOf(caller, 'visitor-1');
    const last = captions.findLast(({ isFinal }) => isFinal)!;
    expect(last.text).toBe(final.text.trim());
    expect(last.segmentId).toMatch(/^SG_/);
    const growing = captions.filter(
      ({ segmentId, isFinal }) => segmentId === last.segmentId && !isFinal,
    );
    expect(growing.length).toBeGreaterThanOrEqual(ofTurn.length);
    expect(last.text.startsWith(growing[0]!.text)).toBe(true);

    expect(await historyOf(caller)).toContainEqual({ isUser: true, text: final.text.trim() });

    // The conversation goes on, nobody is told of an error, and the slot is there when it comes back.
    const askedMs = performance.now();
    await ask(caller);
    await hear(caller, NAME, askedMs);
    expect(caller.events.filter(({ event }) => event.type === 'error')).toEqual([]);
    expect(stack.worker?.output).toContain('nobody writes down what is said');

    await stack.startTranscriber();
    const returnedMs = performance.now();
    await vi.waitUntil(() => userEvents(caller, 'user_transcript_delta', returnedMs).length > 0, {
      timeout: 30_000,
    });
  });

  test('are those of who is heard: of the next caller when the first has left', async () => {
    const first = await call('relay', 'visitor-2');
    await hear(first, GREETING, 0);
    await vi.waitUntil(() => captionsOf(first, 'visitor-2').length > 0, { timeout: 30_000 });
    const second = await call('relay', 'visitor-3');
    callers.splice(callers.indexOf(first), 1);
    await first.leave();
    const leftMs = performance.now();
    await hear(second, GREETING, leftMs);
    await vi.waitUntil(() => captionsOf(second, 'visitor-3').length > 0, { timeout: 30_000 });
    const words = userEvents(second, 'user_transcript_delta', leftMs);
    const identities = words.map(({ identity }) => identity);
    expect(identities).toContain('visitor-3');
    expect(identities.slice(identities.indexOf('visitor-3'))).not.toContain('visitor-2');
    callers.splice(callers.indexOf(second), 1);
    await second.leave();
    await vi.waitUntil(
      async () => (await fetchEngineHealth(stack.transcriberUrl)).slotsUsed === 0,
      { timeout: 20_000, interval: 250 },
    );
  });
});
