/** Models that only listen on the engine's own path: no voice, pauses beside the text. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { buildModel } from '../../../models/build.ts';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import { randomFloats, uniform } from '../../../models/test-support/random.ts';
import { UNUSUAL_TRANSCRIPTION } from '../../../models/test-support/unusual-architecture.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import { startEngineServer } from './server/engine-server.ts';
import { openRunner, type FrameResult, type Runner } from './runner.ts';

const FRAMES = 10;

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

test('is refused by the engine, which has no voice to send', async () => {
  const started = startEngineServer({
    modelDirectory: await build('for-the-engine', 0),
    url: 'ws://127.0.0.1:0',
    slots: 1,
    device: 'cpu',
    threads: 1,
    logger: pino({ level: 'silent' }),
  });
  await expect(started).rejects.toThrow(/only listens and cannot converse/);
});
