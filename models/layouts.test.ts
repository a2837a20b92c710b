/**
 * The published layouts other than plain PyTorch: each gives what the same numbers give as plain
 * float32, and the recorded tokens where recorded checkpoints are at hand.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { buildModel, CheckpointError } from './build.ts';
import { writeFixture } from './fixtures/fixture.ts';
import { architecture } from './generate/architectures.ts';
import { generateCheckpoint } from './generate/generate-checkpoint.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { LAYOUTS, writeLayout, type Layout } from './test-support/layout-checkpoints.ts';
import { recordedCheckpoints } from './test-support/recorded-checkpoints.ts';
import {
  endLike,
  largestDifference,
  normalizedError,
  readRecordedTensors,
} from './test-support/recorded-tensors.ts';
import { UNUSUAL_ARCHITECTURE, UNUSUAL_TRANSLATION } from './test-support/unusual-architecture.ts';
import { writeGguf } from './test-support/write-gguf.ts';
import { writeSafetensors, type WrittenTensor } from './test-support/write-safetensors.ts';

const FRAME_SAMPLES = 1920;
const directory = mkdtempSync(join(tmpdir(), 'moshi-layouts-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const TINY = join(directory, 'tiny-moshi');
await writeFixture('moshi', TINY);
const INPUT = readRecordedTensors(join(TINY, 'expected.safetensors'))['input_pcm']!.data;
const PROBES = ['hidden', 'text_logits', 'audio_logits'];

function build(checkpoint: string): ReturnType<typeof buildModel> {
  const outputDirectory = join(directory, 'built');
  return buildModel({ checkpoint, outputDirectory, batches: [1], kinds: ['frame'], probes: true });
}

function inputFrame(pcm: Float64Array, frame: number): Float32Array {
  return Float32Array.from(pcm.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES));
}

/** Tokens and probes of a greedy conversation over some frames of speech. */
async function converse(
  built: Awaited<ReturnType<typeof buildModel>>,
): Promise<{ tokens: number[]; probes: number[] }> {
  const session = await GraphSession.open(built, 'frame', 1);
  const tokens: number[] = [];
  const probes: number[] = [];
  for (let frame = 0; frame < 12; frame += 1) {
    const feed = greedyFeed(session.graph, frame, inputFrame(INPUT, frame));
    const result = await session.step(feed);
    tokens.push(...Array.from(result['frame_tokens']!, Number));
    for (const name of PROBES) probes.push(...Array.from(result[name]!, Number));
  }
  await session.close();
  return { tokens, probes };
}

type Rewritten = ReturnType<typeof writeLayout> & { stored: string; plain: string };

function written(layout: Layout, from: string, name: string): Rewritten {
  const [stored, plain] = [join(directory, name), join(directory, `${name}-plain`)];
  return { ...writeLayout(from, { layout, stored, plain }), stored, plain };
}

/** The fixture in each layout, written once. */
const tiny = new Map<Layout, Rewritten>();
function tinyIn(layout: Layout): Rewritten {
  const made = tiny.get(layout) ?? written(layout, TINY, layout);
  tiny.set(layout, made);
  return made;
}

/** A folder like `stored` whose weights a test may replace; their path. */
function replaceable({ stored, path }: Rewritten, name: string): { folder: string; path: string } {
  const folder = join(directory, name);
  mkdirSync(folder);
  for (const file of readdirSync(stored)) {
    if (join(stored, file) !== path) copyFileSync(join(stored, file), join(folder, file));
  }
  return { folder, path: join(folder, basename(path)) };
}

test.each(LAYOUTS)('%s gives what its numbers give as plain float32', async (layout) => {
  const { stored, plain } = tinyIn(layout);
  const built = await build(stored);
  const actual = await converse(built);
  const expected = await converse(await build(plain));
  expect(normalizedError(actual.probes, expected.probes)).toBeLessThan(1e-9);
  expect(actual.tokens).toEqual(expected.tokens);
  const isPlain = layout.endsWith('bf16');
  // Plain numbers are used where they lie.
  expect(built.manifest.weightsDirectory === stored).toBe(isPlain);
  expect(existsSync(join(built.directory, 'weights'))).toBe(!isPlain);
});

test.each([
  ['mlx-bf16', 'moshi', UNUSUAL_ARCHITECTURE],
  ['candle-bf16', 'moshi', UNUSUAL_ARCHITECTURE],
  ['mlx-bf16', 'personaplex', architecture('tiny-personaplex')],
  ['candle-bf16', 'personaplex', architecture('tiny-personaplex')],
  ['mlx-bf16', 'hibiki', UNUSUAL_TRANSLATION],
  ['candle-bf16', 'hibiki', UNUSUAL_TRANSLATION],
] as const)(
  '%s of %s follows schedules, low ranks, biases, conditions and unused steps of the configuration',
  async (layout, kind, described) => {
    const from = join(directory, `random-${layout}-${kind}`);
    await generateCheckpoint({ architecture: described, seed: 21, directory: from });
    const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')) as object;
    // Neither layout has a place for the norms before the heads.
    writeFileSync(join(from, 'config.json'), JSON.stringify({ ...config, depformer_norm: null }));
    const { stored } = written(layout, from, `${layout}-random-${kind}`);
    const actual = await converse(await build(stored));
    expect(actual).toEqual(await converse(await build(from)));
  },
);

test('codec graphs of a quantised model need none of its weights', async () => {
  const { stored } = tinyIn('mlx-q8');
  const outputDirectory = join(directory, 'codec-built');
  const kinds = ['mimi-encode' as const];
  const built = await buildModel({ checkpoint: stored, outputDirectory, batches: [1], kinds });
  expect(readdirSync(built.manifest.weightsDirectory)).toEqual(['mimi.safetensors']);
  await (await GraphSession.open(built, 'mimi-encode', 1)).close();
});

describe('refuses by name', () => {
  const cases: {
    problem: string;
    layout: Layout;
    change: (tensors: Record<string, WrittenTensor>) => Record<string, WrittenTensor | undefined>;
    message: RegExp;
  }[] = [
    {
      problem: 'a missing matrix',
      layout: 'candle-bf16',
      change: () => ({ 'depformer.3.linear_in.weight': undefined }),
      message: /no tensor depformer_in\.3\.weight \(its name in the PyTorch layout.*Candle layout/,
    },
    {
      problem: 'steps with norms of their own',
      layout: 'candle-bf16',
      change: () => ({
        'depformer.3.transformer.layers.0.norm1.alpha': {
          shape: [1, 1, 64],
          data: Array(64).fill(2),
          type: 'BF16',
        },
      }),
      message: /depformer\.0\.\S+norm1\.alpha and depformer\.3\.\S+norm1\.alpha differ/,
    },
    {
      problem: 'missing biases',
      layout: 'mlx-q4',
      change: () => ({ 'audio_embs.2.biases': undefined }),
      message: /there is no tensor audio_embs\.2\.biases/,
    },
    {
      problem: 'scales of a wrong shape',
      layout: 'mlx-q8',
      change: () => ({ 'text_linear.scales': { shape: [512, 2], data: Array(1024).fill(1) } }),
      message:
        /text_linear\.scales has shape \[512, 2\]; 128 columns in groups of 32 need \[512, 4\]/,
    },
    {
      problem: 'scales of a wrong type',
      layout: 'mlx-q8',
      change: () => ({
        'text_linear.scales': { shape: [512, 4], data: Array(2048).fill(1), type: 'I8' },
      }),
      message: /text_linear\.scales has type I8; supported are F32, F16, BF16/,
    },
    {
      problem: 'packed numbers without scales',
      layout: 'mlx-q8',
      change: () => ({ 'text_linear.scales': undefined, 'text_linear.biases': undefined }),
      message: /text_linear\.weight has type U32; supported are F32, F16, BF16, I64/,
    },
    {
      problem: 'an unknown number of bits',
      layout: 'mlx-q8',
      change: () => ({
        'text_emb.weight': { shape: [513, 24], data: Array(513 * 24).fill(0), type: 'U32' },
      }),
      message: /text_emb\.weight has 6 bits a number in groups of 32 .* supported are 4 and 8 bits/,
    },
    {
      problem: 'row scales of a wrong shape',
      layout: 'pytorch-q8',
      change: () => ({ 'text_linear.weight_scb': { shape: [511], data: Array(511).fill(1) } }),
      message: /text_linear\.weight_scb must be F32 \[512\].*found F32 \[511\]/,
    },
    {
      problem: '8-bit numbers without row scales',
      layout: 'pytorch-q8',
      change: () => ({ 'text_linear.weight_scb': undefined }),
      message: /text_linear\.weight has type I8; supported are/,
    },
    {
      problem: 'row scales of numbers that have another type',
      layout: 'pytorch-q8',
      change: (tensors) => ({
        'text_linear.weight': { ...tensors['text_linear.weight']!, type: 'BF16' },
      }),
      message: /text_linear\.weight has row scales, so it must be I8 \[rows, columns\]; found BF16/,
    },
    {
      problem: 'a configuration that says quantize beside plain weights',
      layout: 'pytorch-q8',
      change: (tensors) =>
        Object.fromEntries(
          Object.keys(tensors)
            .filter((name) => name.endsWith('_scb'))
            .map((name) => [name, undefined]),
        ),
      message: /config\.json says quantize, but no tensor has row scales/,
    },
  ];
  test.each(cases)('$problem', async ({ problem, layout, change, message }) => {
    const original = tinyIn(layout);
    const { folder, path } = replaceable(original, problem.replaceAll(' ', '-'));
    const { written: tensors } = original;
    const changed = Object.entries({ ...tensors, ...change(tensors) }).filter(
      (entry): entry is [string, WrittenTensor] => entry[1] !== undefined,
    );
    writeSafetensors(path, Object.fromEntries(changed));
    await expect(build(folder)).rejects.toThrow(message);
    await expect(build(folder)).rejects.toBeInstanceOf(CheckpointError);
  });

  test('a GGUF file that is cut short, damaged, or of an unknown quantisation', async () => {
    const original = tinyIn('candle-q8');
    const { folder, path } = replaceable(original, 'damaged-gguf');
    const bytes = readFileSync(original.path);
    writeFileSync(path, bytes);
    truncateSync(path, bytes.length - 1000);
    await expect(build(folder)).rejects.toThrow(/truncated: tensor \S+ ends at byte/);
    for (const length of [10, 100, 3000]) {
      truncateSync(path, length);
      await expect(build(folder)).rejects.toThrow(/truncated: its index goes on to byte/);
    }
    const damaged = Buffer.from(bytes);
    damaged.writeBigUInt64LE(1n << 60n, 8);
    writeFileSync(path, damaged);
    await expect(build(folder)).rejects.toThrow(/damaged GGUF: the number of tensors is/);
    damaged.writeUInt32LE(1, 4);
    writeFileSync(path, damaged);
    await expect(build(folder)).rejects.toThrow(/GGUF version 1 is not supported/);
    writeGguf(path, { a: { shape: [1, 256], type: 12, bytes: Buffer.alloc(144) } });
    await expect(build(folder)).rejects.toThrow(
      /tensor a has quantisation type Q4_K \(12\), which is not supported; supported are F32, F16/,
    );
    writeGguf(path, { a: { shape: [1, 33], type: 8, bytes: Buffer.alloc(64) } });
    await expect(build(folder)).rejects.toThrow(/rows of 33 in tensor a are no whole blocks/);
    writeGguf(path, { a: { shape: [2], type: 0, bytes: Buffer.alloc(8) } });
    await expect(build(folder)).rejects.toThrow(/there is no tensor emb\.0\.weight/);
    expect(readdirSync(join(directory, 'built')).filter((name) => name.startsWith('.'))).toEqual(
      [],
    );
  });
});

const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('moshi', directory, others);

/**
 * The margin rule: our greedy token must be the recorded one wherever the reference's two best logits
 * lie further apart than arithmetic noise can move them. After a near-tie that fell otherwise the
 * conversations would differ, so every step is given the recorded tokens of the steps before
 * (teacher forcing) and each choice is compared alone. Noise: a part of the largest logit, 30 times
 * what the bound on the error of the logits (1e-9, mean square) allows in the mean.
 */
const NOISE = 1e-3;

describe.each(recordings)('recorded %s', (_, checkpoint) => {
  test('every greedy choice is the recorded one, near-ties apart', async () => {
    const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    const { delays } = JSON.parse(readFileSync(join(checkpoint, 'config.json'), 'utf8')) as {
      delays: number[];
    };
    const { tokens, input_pcm: input, text_logits: logits, output_pcm: voice } = recorded;
    const [streams = 0, columns = 0] = required(tokens).shape;
    const frames = required(input).data.length / FRAME_SAMPLES;
    const built = await build(checkpoint);
    const session = await GraphSession.open(built, 'frame', 1);
    /** The recorded token that stream `stream` draws in step `frame`, or -1 beyond the recording. */
    const drawn = (stream: number, frame: number): number => {
      const column = frame - delays[stream]!;
      if (column < 0 || column >= columns) return -1;
      return required(tokens).data[stream * columns + column]!;
    };
    let compared = 0;
    const textLogits: number[] = [];
    const pcm: number[] = [];
    const wrong: string[] = [];
    for (let frame = 0; frame < frames; frame += 1) {
      const generated = Array.from({ length: streams - 1 }, (__, index) => drawn(index + 1, frame));
      const heard = Array<number>(delays.length - streams).fill(-1);
      const feed = greedyFeed(session.graph, frame, inputFrame(required(input).data, frame));
      const result = await session.step({
        ...feed,
        forced_text: [drawn(0, frame)],
        forced_codes: [...generated, ...heard],
      });
      const text = Array.from(result['text_logits']!, Number);
      const audio = Array.from(result['audio_logits']!, Number);
      textLogits.push(...text);
      if (frame >= built.manifest.maxDelay) pcm.push(...Array.from(result['pcm_out']!, Number));
      const width = audio.length / (streams - 1);
      [drawn(0, frame), ...generated].forEach((token, stream) => {
        if (token < 0) return;
        const own = stream === 0 ? text : audio.slice((stream - 1) * width, stream * width);
        const best = Math.max(...own);
        const scale = Math.max(...own.map(Math.abs));
        compared += 1;
        const behind = (best - own[token]!) / scale;
        if (behind > NOISE) wrong.push(`step ${frame}, stream ${stream}: ${behind}`);
      });
    }
    await session.close();
    expect(wrong).toEqual([]);
    expect(compared).toBe(streams * columns);
    expect(
      normalizedError(endLike(textLogits, required(logits)), required(logits).data),
    ).toBeLessThan(1e-9);
    const peak = required(voice).data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1);
    expect(
      largestDifference(endLike(pcm, required(voice)), required(voice).data) / peak,
    ).toBeLessThan(1e-5);
  });
});

function required<T>(tensor: T | undefined): T {
  if (tensor === undefined) throw new Error('the recording lacks a tensor');
  return tensor;
}
