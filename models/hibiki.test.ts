/** Hibiki: conditions, guidance, and what it reads and hears when the speech ends. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel } from './build.ts';
import type { ModelManifest } from './manifest.ts';
import { GraphSession, greedyFeed, type Feed } from './test-support/graph-session.ts';
import {
  largestDifference,
  normalizedError,
  readRecordedTensors,
  type RecordedTensor,
} from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'moshi-hibiki-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

type Built = { directory: string; manifest: ModelManifest };

/** Folders with recorded checkpoints of Hibiki; they are not part of the repository. */
function recordedCheckpoints(): [string, string][] {
  const root =
    process.env['MOSHI_TEST_CHECKPOINTS'] ?? join(import.meta.dirname, '../../shared/checkpoints');
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .map((name): [string, string] => [name, join(root, name)])
    .filter(([, folder]) => {
      const path = join(folder, 'config.json');
      if (!existsSync(path) || !existsSync(join(folder, 'expected.safetensors'))) return false;
      return (
        (JSON.parse(readFileSync(path, 'utf8')) as { model_type?: string }).model_type === 'hibiki'
      );
    });
}

function frameOf({ data }: RecordedTensor, frame: number): Float32Array {
  return Float32Array.from(data.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES));
}

/** What the manifest says a conversation gets that asks for nothing. */
function defaults({ conditions, guidance }: ModelManifest, rows = 1): Feed {
  const filled = (value: number): number[] => Array<number>(rows).fill(value);
  return {
    ...(guidance === null ? {} : { guidance: filled(guidance) }),
    ...Object.fromEntries(
      conditions.map(({ name, default: choice }) => [`condition_${name}`, filled(choice)]),
    ),
  };
}

describe.each(recordedCheckpoints())('recorded %s', (_, checkpoint) => {
  test('a greedy translation gives the recorded tokens and voice', async () => {
    const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    const {
      input_pcm: input,
      tokens,
      output_pcm: voice,
    } = recorded as Record<'input_pcm' | 'tokens' | 'output_pcm', RecordedTensor>;
    const built: Built = await buildModel({
      checkpoint,
      outputDirectory: directory,
      batches: [1],
      kinds: ['frame'],
    });
    const session = await GraphSession.open(built, 'frame', 1);
    const [streams = 0, columns = 0] = tokens.shape;
    const pcm: number[] = [];
    const found: number[][] = [];
    const frames = input.data.length / FRAME_SAMPLES;
    // The first frame comes twice, as in the reference's run_inference.
    for (let step = 0; step <= frames; step += 1) {
      const result = await session.step({
        ...greedyFeed(session.graph, step, frameOf(input, Math.max(0, step - 1))),
        ...defaults(built.manifest),
      });
      if (step < built.manifest.maxDelay) continue;
      found.push(Array.from(result['frame_tokens']!, Number));
      pcm.push(...Array.from(result['pcm_out']!, Number));
    }
    await session.close();
    const expected = Array.from({ length: columns }, (__, column) =>
      Array.from({ length: streams }, (___, stream) => tokens.data[stream * columns + column]!),
    );
    expect(found).toEqual(expected);
    expect(normalizedError(pcm, voice.data)).toBeLessThan(1e-9);
    const peak = voice.data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1);
    expect(largestDifference(pcm, voice.data) / peak).toBeLessThan(1e-5);
  });
});
