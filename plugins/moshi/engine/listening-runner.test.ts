/** Models that only listen on the engine's own path: no voice, pauses beside the text. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { buildModel } from '../../../models/build.ts';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import { randomFloats, uniform } from '../../../models/test-support/random.ts';
import { UNUSUAL_TRANSCRIPTION } from '../../../models/test-support/unusual-architecture.ts';
import { HeardFrames } from '../../../agent/commands/speech/heard-frames.ts';
import { readWav } from '../../../agent/commands/wav/wav.ts';
import type { EngineConnectionError } from '../client/engine-connection-error.ts';
import { EngineConversation } from '../client/engine-conversation.ts';
import { fetchEngineHealth, fetchEngineMetrics } from '../client/engine-http.ts';
import { FRAME_SAMPLES, type WordMessage } from '../protocol/messages.ts';
import { openModelDirectory, readVocabulary } from './model/model-directory.ts';
import { openRunner, type FrameResult, type Runner } from './runner.ts';
import { startEngineServer, type EngineServer } from './server/engine-server.ts';
import { transcribes, Transcription } from './text/transcription.ts';

const FRAMES = 10;
/** Whole frames of the 1.33 s of silence that a file of this model has after its sound. */
const TRAILING_FRAMES = 16;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-listening-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function build(name: string, heads: number): Promise<string> {
  const checkpoint = join(folder, name);
  const config = { ...UNUSUAL_TRANSCRIPTION.config, extra_heads_num_heads: heads };
  const architecture = { ...UNUSUAL_TRANSCRIPTION, config };
  await generateCheckpoint({ architecture, seed: 3, directory: checkpoint });
  const { directory } = await buildModel({
    checkpoint,
    outputDirectory: join(folder, 'built'),
    batches: [1, 2],
    kinds: ['frame'],
  });
  return directory;
}

async function open(name: string, heads: number): Promise<Runner> {
  return openRunner({ modelDirectory: await build(name, heads), slots: 2 });
}

const speech = Array.from({ length: FRAMES }, (_, frame) =>
  randomFloats(uniform(frame + 1), FRAME_SAMPLES, 0.3),
);
const SAMPLED = { textTemperature: 1 };
const GREEDY = { textTemperature: 0 };
const { samples } = await readWav(
  join(import.meta.dirname, '../../../models/fixtures/audio/a.wav'),
);
const recording = samples.subarray(0, 60 * FRAME_SAMPLES);

test('gives text and pauses without a voice, the same alone, among others and after a move', async () => {
  const runner = await open('with-heads', 3);
  const run = (row: number, neighbour: number | null, movesAt = FRAMES): FrameResult[] => {
    runner.start(row, { sampling: SAMPLED, seed: 5 });
    if (neighbour !== null) {
      runner.start(neighbour, { sampling: SAMPLED, seed: 6 });
    }
    let place = row;
    return speech.map((pcm, frame) => {
      if (frame === movesAt) {
        place = 1 - row;
        runner.move(row, place);
      }
      const loud = { row: neighbour ?? 0, pcm: pcm.map((sample) => 0.3 - sample) };
      return runner.step([{ row: place, pcm }, ...(neighbour === null ? [] : [loud])], 2)[0]!;
    });
  };
  const alone = run(0, null);
  for (const { pcm, frameTokens, textToken, pauses } of alone) {
    expect(pcm).toHaveLength(0);
    expect(frameTokens).toEqual([textToken]);
    expect(pauses).toHaveLength(3);
    expect(pauses!.every((p) => p > 0 && p < 1)).toBe(true);
  }
  expect(new Set(alone.map(({ textToken }) => textToken)).size).toBeGreaterThan(1);
  expect(run(0, 1)).toEqual(alone);
  expect(run(1, 0)).toEqual(alone);
  expect(run(1, null, 4)).toEqual(alone);
  runner.dispose();
});

test('gives no pauses from a model without such heads', async () => {
  const runner = await open('without-heads', 0);
  expect(runner.step([{ row: 0, pcm: speech[0]! }])[0]).toMatchObject({ pauses: null });
  runner.dispose();
});

test('writes the same words as from a file for each who speaks to the engine, and anew after a reset', async () => {
  const modelDirectory = await build('for-the-engine', 3);
  const expected = await wordsOfFile(modelDirectory);
  expect(expected.length).toBeGreaterThan(3);
  const engine = await startEngineServer({
    modelDirectory,
    url: 'ws://127.0.0.1:0',
    slots: 2,
    device: 'cpu',
    threads: 1,
    stepLimitMs: 10_000,
    logger: pino({ level: 'silent' }),
  });
  const listeners = [0, 1].map(
    () => new EngineConversation({ engineUrl: engine.url, transcribes: true, sampling: GREEDY }),
  );
  try {
    const [first, second] = await Promise.all(listeners.map((listener) => untilReady(listener)));
    expect(await speak(engine, [first!, second!])).toEqual([expected, expected]);
    const leadIn = (await framesOf(engine)) + 2;
    first!.reset();
    await vi.waitUntil(async () => (await framesOf(engine)) === leadIn);
    expect(await speak(engine, [first!])).toEqual([expected]);

    const health = await fetchEngineHealth(engine.url);
    expect(health).toMatchObject({ slotsUsed: 2, droppedFramesTotal: 0 });
    expect(health.model).toMatchObject({ transcribes: true });
  } finally {
    for (const listener of listeners) {
      listener.close();
    }
    await engine.close();
  }
});

test('is refused by who wants it to speak, by name and for good', async () => {
  const engine = await startEngineServer({
    modelDirectory: await build('for-a-talk', 0),
    url: 'ws://127.0.0.1:0',
    slots: 1,
    device: 'cpu',
    threads: 1,
    stepLimitMs: 10_000,
    logger: pino({ level: 'silent' }),
  });
  const conversation = new EngineConversation({ engineUrl: engine.url });
  const failed = new Promise<EngineConnectionError>((resolve) => {
    conversation.once('failed', resolve);
  });
  conversation.connect();
  expect(await failed).toMatchObject({
    problem: 'wrong_model',
    message: expect.stringMatching(/for-a-talk .*only listens and cannot converse/) as string,
  });
  await engine.close();
});

/** What `transcribe` makes of the recording, with what is still under way at its end left out. */
async function wordsOfFile(modelDirectory: string): Promise<WordMessage[]> {
  const model = await openModelDirectory(modelDirectory);
  if (!transcribes(model.manifest)) {
    throw new Error('the model does not transcribe');
  }
  const transcription = new Transcription(model.manifest, await readVocabulary(model));
  const frames = new HeardFrames(model.manifest.transcription, FRAME_SAMPLES, recording);
  const runner = await openRunner({ modelDirectory });
  runner.start(0, { sampling: GREEDY });
  const events = Array.from({ length: frames.length }, (_, index) => {
    const [result] = runner.step([{ row: 0, pcm: frames.frame(index) }]);
    return transcription.push(result!.textToken, result!.pauses);
  }).flat();
  runner.dispose();
  return events.filter((event) => event.type === 'word');
}

async function untilReady(conversation: EngineConversation): Promise<EngineConversation> {
  const ready = new Promise((resolve) => conversation.once('ready', resolve));
  conversation.connect();
  await ready;
  return conversation;
}

async function framesOf(engine: EngineServer): Promise<number> {
  return Number(/^moshi_frames_total (\d+)$/m.exec(await fetchEngineMetrics(engine.url))?.[1]);
}

/** Says the recording and the silence that a file has after it to all, as fast as the engine listens. */
async function speak(
  engine: EngineServer,
  conversations: EngineConversation[],
): Promise<WordMessage[][]> {
  const words = conversations.map((conversation) => {
    const heard: WordMessage[] = [];
    conversation.on('word', (word) => heard.push(word));
    return heard;
  });
  const said = new Float32Array(recording.length + TRAILING_FRAMES * FRAME_SAMPLES);
  said.set(recording);
  for (let start = 0; start < said.length; start += FRAME_SAMPLES) {
    const due = (await framesOf(engine)) + conversations.length;
    for (const conversation of conversations) {
      conversation.pushSamples(said.subarray(start, start + FRAME_SAMPLES));
    }
    await vi.waitUntil(async () => (await framesOf(engine)) === due, {
      interval: 1,
      timeout: 10_000,
    });
  }
  return words;
}
