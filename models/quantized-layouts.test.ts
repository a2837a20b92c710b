/** Every layout is built with 8- and 4-bit matrices, and says nearly what it says in float32. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { buildModel, openForBuild } from './build.ts';
import { BLOCK_PRECISIONS } from './checkpoints/linear-weight.ts';
import { writeFixture } from './fixtures/fixture.ts';
import type { Precision } from './manifest.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { LAYOUTS, writeLayout } from './test-support/layout-checkpoints.ts';
import { normalizedError, readRecordedTensors } from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;
const FRAMES = 3;
const PROBES = ['hidden', 'text_logits', 'audio_logits'];
const directory = mkdtempSync(join(tmpdir(), 'moshi-quantized-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const TINY = join(directory, 'tiny-moshi');
await writeFixture('moshi', TINY);
const recording = readRecordedTensors(join(TINY, 'expected.safetensors'));

function build(
  checkpoint: string,
  precision?: Precision,
  folder = 'built',
): ReturnType<typeof buildModel> {
  return buildModel({
    checkpoint,
    outputDirectory: join(directory, folder),
    batches: [1],
    kinds: ['frame'],
    probes: true,
    ...(precision !== undefined && { precision }),
  });
}

/** Probes of steps that are all given the same tokens, whatever the model would choose. */
async function probe(built: Awaited<ReturnType<typeof buildModel>>): Promise<number[]> {
  const session = await GraphSession.open(built, 'frame', 1);
  const { data: input } = recording['input_pcm']!;
  const probes: number[] = [];
  for (let frame = 0; frame < FRAMES; frame += 1) {
    const pcm = input.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES);
    const feed = greedyFeed(session.graph, frame, Float32Array.from(pcm));
    const codes = Array.from({ length: 16 }, (_, index) => (frame * 7 + index) % 16);
    const result = await session.step({ ...feed, forced_text: [frame], forced_codes: codes });
    for (const name of PROBES) probes.push(...Array.from(result[name]!, Number));
  }
  await session.close();
  return probes;
}

/** Largest relative error of hidden state and logits: mean square against that of the float32 ones. */
const LARGEST_ERROR = { q8: 1e-2, q4: 0.6, 'q4-128': 0.6 };

const folders: [string, () => string][] = [
  ['pytorch-bf16', () => TINY],
  ...LAYOUTS.map((layout): [string, () => string] => [
    layout,
    () => {
      const stored = join(directory, layout);
      if (!existsSync(stored)) {
        writeLayout(TINY, { layout, stored, plain: join(directory, `${layout}-plain`) });
      }
      return stored;
    },
  ]),
];

test.each(folders)('%s with 8 and 4 bits is near what it is in float32', async (_, folder) => {
  const checkpoint = folder();
  const expected = await probe(await build(checkpoint, 'f32'));
  for (const precision of BLOCK_PRECISIONS) {
    const built = await build(checkpoint, precision);
    expect(built.manifest.precision).toBe(precision);
    const error = normalizedError(await probe(built), expected);
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(LARGEST_ERROR[precision]);
  }
});

test('the same checkpoint makes the same bytes', async () => {
  const [first, second] = [await build(TINY, 'q4', 'once'), await build(TINY, 'q4', 'again')];
  for (const { manifest } of [first, second]) {
    expect(readdirSync(manifest.weightsDirectory).sort()).toEqual([
      'language-model.safetensors',
      'mimi.safetensors',
      'voice.safetensors',
    ]);
  }
  const [one, other] = [first, second].map(({ manifest }) =>
    readFileSync(join(manifest.weightsDirectory, 'language-model.safetensors')),
  );
  expect(one!.equals(other!)).toBe(true);
});

test('precisions that the device does not compute in are refused', async () => {
  await expect(build(TINY, 'bf16')).rejects.toThrow(/bf16 needs a device.* use f32, q8 or q4/);
  const options = { checkpoint: TINY, precision: 'bf16', device: 'webgpu' } as const;
  await expect(openForBuild(options)).rejects.toThrow(/webgpu is not; use f32, f16, q8 or q4/);
});
