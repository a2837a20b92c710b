/** What blocks of 8 bits in the codec's decoder leave of the voice, and of what is heard. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { buildModel } from './build.ts';
import type { Device, Precision } from './manifest.ts';
import { GraphSession } from './test-support/graph-session.ts';
import { normalizedError, readRecordedTensors } from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;
const FRAMES = 60;
const checkpoint = join(import.meta.dirname, 'demo');
const directory = mkdtempSync(join(tmpdir(), 'moshi-voice-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));

async function build(precision: Precision, device: Device = 'cpu'): ReturnType<typeof buildModel> {
  return buildModel({
    checkpoint,
    outputDirectory: directory,
    batches: [1],
    kinds: ['mimi-encode', 'mimi-decode'],
    precision,
    device,
  });
}

/** What a model says when it answers in the recording. */
async function speak(built: Awaited<ReturnType<typeof build>>): Promise<number[]> {
  const { data, shape } = recorded['tokens']!;
  const columns = shape[1]!;
  const decoder = await GraphSession.open(built, 'mimi-decode', 1);
  const voice: number[] = [];
  for (let frame = 0; frame < FRAMES; frame += 1) {
    const codes = Array.from({ length: 8 }, (_, level) => data[(1 + level) * columns + frame]!);
    const { pcm_out: pcm } = await decoder.step({ codes, offset: [frame], exec_mask: [true] });
    voice.push(...Array.from(pcm!, Number));
  }
  await decoder.close();
  return voice;
}

async function hear(built: Awaited<ReturnType<typeof build>>): Promise<number[]> {
  const { data } = recorded['input_pcm']!;
  const encoder = await GraphSession.open(built, 'mimi-encode', 1);
  const heard: number[] = [];
  for (let frame = 0; frame < FRAMES; frame += 1) {
    const start = frame * FRAME_SAMPLES;
    const pcm = Float32Array.from(data.subarray(start, start + FRAME_SAMPLES));
    const { codes } = await encoder.step({ pcm, offset: [frame], exec_mask: [true] });
    heard.push(...Array.from(codes!, Number));
  }
  await encoder.close();
  return heard;
}

test.each(['q8', 'q4'] as const)(
  'with %s the voice is 40 dB above what its blocks of 8 bits lose, and no code is heard otherwise',
  async (precision) => {
    const plain = await build('f32');
    const rounded = await build(precision);
    const error = normalizedError(await speak(rounded), await speak(plain));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1e-4);
    expect(await hear(rounded)).toEqual(await hear(plain));
  },
);

test('GPUs make the voice with the weights of the codec', async () => {
  const weightsOf = async (device: Device): Promise<string[]> => {
    const { manifest } = await build('q8', device);
    const decoder = manifest.graphs.find(({ kind }) => kind === 'mimi-decode')!;
    return [...new Set(decoder.weights.map(({ file }) => file))].sort();
  };
  expect(await weightsOf('cpu')).toEqual(['mimi.safetensors', 'voice.safetensors']);
  expect(await weightsOf('cuda')).toEqual(['mimi.safetensors']);
});
