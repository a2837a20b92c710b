/** The engine's own path (bindings, slots, states in place) against what PyTorch recorded. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildModel } from '../../../models/build.ts';
import { writeFixture } from '../../../models/fixtures/fixture.ts';
import {
  readRecordedTensors,
  type RecordedTensor,
} from '../../../models/test-support/recorded-tensors.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import { openCodec, openRunner, type FrameResult, type Runner } from './runner.ts';

const REPOSITORY = join(import.meta.dirname, '../../..');
const CHECKPOINTS = [
  ['the fixture', 'f32'],
  ['models/demo', 'f32'],
  ['models/demo', 'int8'],
] as const;
/** Of conversations that are compared with themselves. */
const FRAMES = 24;
const GREEDY = { textTemperature: 0, audioTemperature: 0 };
const NOISY = { textTemperature: 1, audioTemperature: 1 };

describe.each(CHECKPOINTS)('%s with keys and values of %s', (checkpoint, keyValueType) => {
  let folder: string;
  let modelDirectory: string;
  let recorded: Record<string, RecordedTensor>;
  let input: Float32Array[];

  /** Column `frame` of recorded [rows, frames]. */
  const column = (name: string, frame: number): number[] => {
    const { data, shape } = recorded[name]!;
    return Array.from({ length: shape[0]! }, (_, row) => data[row * shape[1]! + frame]!);
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'moshi-runner-'));
    const isFixture = checkpoint === 'the fixture';
    const source = isFixture ? join(folder, 'tiny-moshi') : join(REPOSITORY, checkpoint);
    if (isFixture) await writeFixture('moshi', source);
    recorded = readRecordedTensors(join(source, 'expected.safetensors'));
    const samples = Float32Array.from(recorded['input_pcm']!.data);
    input = Array.from({ length: samples.length / FRAME_SAMPLES }, (_, frame) =>
      samples.slice(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES),
    );
    ({ directory: modelDirectory } = await buildModel({
      checkpoint: source,
      outputDirectory: folder,
      batches: [1, 4],
      kinds: ['frame', 'mimi-encode', 'mimi-decode'],
      keyValueType,
    }));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function withRunner(act: (runner: Runner) => void): Promise<void> {
    const runner = await openRunner({ modelDirectory, slots: 4 });
    try {
      act(runner);
    } finally {
      runner.dispose();
    }
  }

  test.each([1, 4])('greedy tokens are the recorded ones on the graph of %i', (batch) =>
    withRunner((runner) => {
      runner.start(0, { sampling: GREEDY });
      for (const [frame, pcm] of input.entries()) {
        const [result] = runner.step([{ row: 0, pcm }], batch);
        const delayed = frame - runner.manifest.maxDelay;
        const expected =
          delayed < 0 ? result!.frameTokens.map(() => -2) : column('tokens', delayed);
        expect(result!.frameTokens, `frame ${frame}`).toEqual(expected);
      }
    }),
  );

  test('a conversation is the same to the bit alone and among others, and as good as new in a used row', () =>
    withRunner((runner) => {
      const frames = input.slice(0, FRAMES);
      const run = (row: number, neighbours: number[]): FrameResult[] => {
        runner.start(row, { sampling: NOISY, seed: 11 });
        for (const other of neighbours) runner.start(other, { sampling: NOISY, seed: other });
        return frames.map((pcm, frame) => {
          // Neighbours come and go, and hear something else.
          const others = neighbours.filter((other) => (frame + other) % 3 !== 0);
          const loud = pcm.map((sample) => 0.3 - sample);
          const results = runner.step(
            [{ row, pcm }, ...others.map((other) => ({ row: other, pcm: loud }))],
            4,
          );
          return results[0]!;
        });
      };
      const alone = run(0, []);
      expect(run(0, [1, 2, 3])).toEqual(alone);
      expect(run(2, [0, 1])).toEqual(alone);
      expect(run(2, [])).toEqual(alone);
    }));

  test('a conversation that moves into another row goes on to the same bit', () =>
    withRunner((runner) => {
      const frames = input.slice(0, FRAMES);
      const talk = (row: number, pcm: Float32Array): FrameResult =>
        runner.step([{ row, pcm }], 4)[0]!;
      runner.start(2, { sampling: NOISY, seed: 11 });
      const stayed = frames.map((pcm) => talk(2, pcm));
      runner.start(3, { sampling: NOISY, seed: 11 });
      runner.start(0, { sampling: NOISY, seed: 5 });
      const moved = frames.map((pcm, frame) => {
        if (frame === FRAMES / 2) runner.move(3, 0);
        if (frame < FRAMES / 2) runner.step([{ row: 0, pcm }], 4);
        return talk(frame < FRAMES / 2 ? 3 : 0, pcm);
      });
      expect(moved).toEqual(stayed);
    }));

  test('a conversation restored in any row goes on to the same bit, as often as one likes', () =>
    withRunner((runner) => {
      const frames = input.slice(0, FRAMES);
      const talk = (row: number, pcm: Float32Array): FrameResult =>
        // Halves of characters are the decoder's, not the model's.
        ({ ...runner.step([{ row, pcm }], 4)[0]!, text: '' });
      runner.start(1, { sampling: NOISY, seed: 11 });
      for (const pcm of frames.slice(0, 10)) talk(1, pcm);
      const snapshot = runner.save(1);
      const went = frames.slice(10).map((pcm) => talk(1, pcm));
      for (const row of [3, 1, 0]) {
        runner.start(row, { sampling: NOISY, seed: 11 });
        talk(row, frames[20]!);
        runner.restore(row, snapshot);
        expect(
          frames.slice(10).map((pcm) => talk(row, pcm)),
          `row ${row}`,
        ).toEqual(went);
      }
      snapshot.dispose();
    }));

  test('a prompt that another row went through leads to the same bits as going through it', async () => {
    const talk = async (snapshotBudgetBytes: number): Promise<FrameResult[]> => {
      const runner = await openRunner({ modelDirectory, slots: 4, snapshotBudgetBytes });
      const { generatedCodebooks, heardCodebooks } = runner.manifest;
      const codes = Array.from({ length: generatedCodebooks + heardCodebooks }, (_, k) => k + 1);
      const steps = Array.from({ length: 8 }, (_, step) => ({
        text: 20 + step,
        // The last ones fall into the conversation and force only some.
        codes: step < 6 ? codes : codes.map((code) => (code % 2 === 0 ? code : -1)),
        embedding: null,
      }));
      const prompt = { key: 'persona', promptSteps: 6, steps };
      runner.start(3, { sampling: NOISY, seed: 7, prompt });
      // Row 1 needs the graph of 4 rows too: bits are the same on one graph only.
      const last = runner.start(1, { sampling: NOISY, seed: 8, prompt })!;
      const said = input.slice(0, 12).map((pcm) => runner.step([{ row: 1, pcm }], 4)[0]!);
      runner.dispose();
      return [last, ...said];
    };
    expect(await talk(1e9)).toEqual(await talk(0));
  });

  test('of three conversations two say the same greedy words after the third has left', () =>
    withRunner((runner) => {
      const frames = input.slice(0, FRAMES);
      const say = (leaves: boolean): unknown[] => {
        for (const row of [0, 1, 2]) runner.start(row, { sampling: GREEDY });
        return frames.map((pcm, frame) => {
          if (leaves && frame === FRAMES / 2) runner.move(2, 0);
          const rows = !leaves || frame < FRAMES / 2 ? [0, 1, 2] : [1, 0];
          const heard = (row: number): Float32Array => pcm.map((sample) => sample * (1 + row / 4));
          const voices = leaves && frame >= FRAMES / 2 ? [1, 2] : [0, 1, 2];
          const results = runner.step(
            rows.map((row, index) => ({ row, pcm: heard(voices[index]!) })),
            !leaves || frame < FRAMES / 2 ? 4 : undefined,
          );
          return results
            .slice(leaves && frame >= FRAMES / 2 ? 0 : 1)
            .map(({ textToken, frameTokens }) => ({ textToken, frameTokens }));
        });
      };
      expect(say(true)).toEqual(say(false));
    }));

  test('forced text and codes replace what would have been sampled', () =>
    withRunner((runner) => {
      runner.start(0, { sampling: GREEDY });
      const { generatedCodebooks, heardCodebooks, maxDelay } = runner.manifest;
      const codes = Array.from({ length: generatedCodebooks + heardCodebooks }, (_, index) =>
        index < generatedCodebooks ? index + 1 : -1,
      );
      const results = input
        .slice(0, 4)
        .map((pcm) => runner.step([{ row: 0, pcm, forcedText: 17, forcedCodes: codes }])[0]!);
      expect(results.map((result) => result.textToken)).toEqual([17, 17, 17, 17]);
      expect(results[maxDelay + 1]!.frameTokens).toEqual([
        17,
        ...codes.slice(0, generatedCodebooks),
      ]);
    }));

  test('the codec alone gives the recorded codes, also after a reset', async () => {
    const codec = await openCodec({ modelDirectory });
    for (let round = 0; round < 2; round += 1) {
      for (const [frame, pcm] of input.slice(0, 20).entries()) {
        const codes = codec.encode(pcm);
        expect(codes, `frame ${frame}`).toEqual(column('mimi_codes', frame));
        expect(codec.decode(codes)).toHaveLength(FRAME_SAMPLES);
      }
      codec.reset();
    }
    codec.dispose();
  });
});

test('a folder without a model is refused with what to do', async () => {
  await expect(openRunner({ modelDirectory: '/nowhere' })).rejects.toThrow(
    /\/nowhere\/manifest.json.*Build the model/,
  );
});
