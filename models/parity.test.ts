/**
 * The graphs against tensors recorded from Kyutai's PyTorch code (float32 arithmetic on the stored
 * weights, CPU, greedy), as `info.json` beside them tells.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel } from './build.ts';
import type { ModelManifest } from './manifest.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { recordedCheckpoints } from './test-support/recorded-checkpoints.ts';
import {
  endLike,
  largestDifference,
  normalizedError,
  readRecordedTensors,
  type RecordedTensor,
} from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;

/**
 * Largest difference of a sample from the recorded one, as a fraction of the recorded peak (or of
 * full scale below it): random weights reach peaks of 150, where one float32 step alone is 1.5e-5.
 */
const SAMPLE_TOLERANCE = 1e-5;

function sampleDifference(actual: readonly number[], expected: Float64Array): number {
  const peak = expected.reduce((largest, sample) => Math.max(largest, Math.abs(sample)), 1);
  return largestDifference(actual, expected) / peak;
}

const directory = mkdtempSync(join(tmpdir(), 'moshi-parity-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const checkpoints = await recordedCheckpoints('moshi', directory, others);

describe.each([
  ...checkpoints.filter(([, folder]) => {
    // Quantised layouts have a rule of their own (layouts.test.ts).
    return 'hidden' in readRecordedTensors(join(folder, 'expected.safetensors'));
  }),
  ['demo', join(import.meta.dirname, 'demo')],
])('%s', (_, checkpoint) => {
  let output: string;
  let built: { directory: string; manifest: ModelManifest };
  let recorded: Record<string, RecordedTensor>;
  const tensor = (name: string): RecordedTensor => recorded[name]!;
  const frames = (): number => tensor('input_pcm').data.length / FRAME_SAMPLES;
  const pcmFrame = (name: string, frame: number): Float32Array =>
    Float32Array.from(
      tensor(name).data.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES),
    );
  /** Column `frame` of recorded [rows, frames]. */
  const column = (name: string, frame: number): number[] => {
    const { data, shape } = tensor(name);
    const [rows = 0, columns = 0] = shape;
    return Array.from({ length: rows }, (__, row) => data[row * columns + frame]!);
  };

  beforeAll(async () => {
    recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    output = await mkdtemp(join(tmpdir(), 'moshi-parity-'));
    built = await buildModel({
      checkpoint,
      outputDirectory: output,
      batches: [1],
      kinds: ['frame', 'mimi-encode', 'mimi-decode'],
      probes: true,
    });
  });
  afterAll(() => rm(output, { recursive: true, force: true }));

  test('a greedy conversation gives the recorded tokens, hidden states, logits and voice', async () => {
    const session = await GraphSession.open(built, 'frame', 1);
    const { maxDelay } = built.manifest;
    const gathered: Record<string, number[]> = {
      hidden: [],
      text_logits: [],
      audio_logits: [],
      output_pcm: [],
    };
    for (let frame = 0; frame < frames(); frame += 1) {
      const feed = greedyFeed(session.graph, frame, pcmFrame('input_pcm', frame));
      const result = await session.step(feed);
      expect(Array.from(result['user_codes']!, Number), `user codes ${frame}`).toEqual(
        column('user_codes', frame),
      );
      const tokens = Array.from(result['frame_tokens']!, Number);
      if (frame < maxDelay) expect(tokens).toEqual(tokens.map(() => -2));
      else expect(tokens, `tokens ${frame}`).toEqual(column('tokens', frame - maxDelay));
      for (const name of ['hidden', 'text_logits', 'audio_logits']) {
        gathered[name]!.push(...Array.from(result[name]!, Number));
      }
      const pcm = Array.from(result['pcm_out']!, Number);
      if (frame < maxDelay) expect(pcm.every((sample) => sample === 0)).toBe(true);
      else gathered['output_pcm']!.push(...pcm);
    }
    expect(normalizedError(gathered['hidden']!, tensor('hidden').data)).toBeLessThan(1e-9);
    // Some recordings have those of the last calls only, for size.
    const audioLogits = Object.keys(recorded).find((name) => name.startsWith('audio_logits'))!;
    for (const [name, recording] of [
      ['text_logits', tensor('text_logits')],
      ['audio_logits', tensor(audioLogits)],
    ] as const) {
      const actual = endLike(gathered[name]!, recording);
      expect(normalizedError(actual, recording.data), name).toBeLessThan(1e-9);
    }
    const voice = tensor('output_pcm');
    const actual = endLike(gathered['output_pcm']!, voice);
    expect(sampleDifference(actual, voice.data)).toBeLessThan(SAMPLE_TOLERANCE);
    await session.close();
  });

  test('the codec alone gives the recorded codes and samples', async () => {
    const encoder = await GraphSession.open(built, 'mimi-encode', 1);
    const decoder = await GraphSession.open(built, 'mimi-decode', 1);
    const decoded: number[] = [];
    for (let frame = 0; frame < frames(); frame += 1) {
      const rows = { offset: [frame], exec_mask: [true] };
      const { codes } = await encoder.step({ pcm: pcmFrame('input_pcm', frame), ...rows });
      expect(Array.from(codes!, Number), `codes ${frame}`).toEqual(column('mimi_codes', frame));
      const { pcm_out: pcm } = await decoder.step({ codes: column('mimi_codes', frame), ...rows });
      decoded.push(...Array.from(pcm!, Number));
    }
    const expected = recorded['mimi_decoded'];
    if (expected !== undefined) {
      expect(sampleDifference(endLike(decoded, expected), expected.data)).toBeLessThan(
        SAMPLE_TOLERANCE,
      );
    }
    await Promise.all([encoder.close(), decoder.close()]);
  });
});
