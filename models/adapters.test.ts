/** Low-rank adapters: the merged model is the one whose matrices somebody merged by plain arithmetic. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel, type BuildOptions } from './build.ts';
import { quantizeCheckpoint } from './quantize/quantize-checkpoint.ts';
import { writeFixture } from './fixtures/fixture.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { readMatrices } from './test-support/layout-checkpoints.ts';
import { randomFloats, uniform } from './test-support/random.ts';
import { readRecordedTensors } from './test-support/recorded-tensors.ts';
import { writeSafetensors, type WrittenTensor } from './test-support/write-safetensors.ts';

const FRAME_SAMPLES = 1920;
const RANK = 3;
const SCALING = 1.5;

const directory = mkdtempSync(join(tmpdir(), 'moshi-adapters-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const TINY = join(directory, 'tiny-moshi');
await writeFixture('moshi', TINY);

type Tensors = Record<string, WrittenTensor>;
const base = readMatrices(join(TINY, 'model.safetensors'));
const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as object;

/** A copy of the fixture. */
function checkpoint(name: string, files: Record<string, Tensors>, changes: object): string {
  const folder = join(directory, name);
  mkdirSync(folder);
  for (const file of [
    'mimi.safetensors',
    'mimi_config.json',
    'tokenizer.model',
    'model.safetensors',
  ]) {
    copyFileSync(join(TINY, file), join(folder, file));
  }
  for (const [file, tensors] of Object.entries(files))
    writeSafetensors(join(folder, file), tensors);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...changes }));
  return folder;
}

const random = uniform(99);

/** Some matrices of each kind: of one set, of the second of several, of all sets in one tensor. */
const TARGETS = [
  {
    name: 'transformer.layers.0.self_attn.in_projs.0',
    matrix: 'transformer.layers.0.self_attn.in_proj_weight',
  },
  {
    name: 'transformer.layers.1.self_attn.out_projs.0',
    matrix: 'transformer.layers.1.self_attn.out_proj.weight',
  },
  { name: 'transformer.layers.2.gating.linear_out' },
  {
    name: 'depformer.layers.0.self_attn.in_projs.1',
    matrix: 'depformer.layers.0.self_attn.in_proj_weight',
    set: 1,
    sets: 8,
  },
  {
    name: 'depformer.layers.1.self_attn.out_proj',
    matrix: 'depformer.layers.1.self_attn.out_proj.weight',
    sets: 8,
  },
  { name: 'depformer.layers.1.gating.4.linear_in' },
  { name: 'depformer_in.2' },
  { name: 'text_linear' },
  { name: 'linears.5' },
];

/** The adapters as a file has them, and the model's tensors with them merged in. */
function makeAdapters(): { adapters: Tensors; merged: Tensors } {
  const adapters: Tensors = {};
  const merged: Tensors = { ...base };
  for (const { name, matrix = `${name}.weight`, set, sets = 1 } of TARGETS) {
    const { shape, data } = base[matrix]!;
    const [allRows = 0, columns = 0] = shape;
    const rows = allRows / sets;
    // Sets in one tensor follow each other along the first axis, each with its own pair.
    const touched = set === undefined ? Array.from({ length: sets }, (_, index) => index) : [set];
    const down = randomFloats(random, touched.length * RANK * columns, 0.1).map(Math.fround);
    const up = randomFloats(random, touched.length * rows * RANK, 0.1).map(Math.fround);
    adapters[`${name}.lora_A.weight`] = { shape: [touched.length * RANK, columns], data: down };
    adapters[`${name}.lora_B.weight`] = { shape: [touched.length * rows, RANK], data: up };
    const sum = Float32Array.from(data);
    touched.forEach((target, pair) => {
      for (let row = 0; row < rows; row += 1) {
        for (let column = 0; column < columns; column += 1) {
          let product = 0;
          for (let k = 0; k < RANK; k += 1) {
            product +=
              up[(pair * rows + row) * RANK + k]! * down[(pair * RANK + k) * columns + column]!;
          }
          sum[(target * rows + row) * columns + column]! += SCALING * product;
        }
      }
    });
    merged[matrix] = { shape, data: sum };
  }
  const table = base['text_emb.weight']!;
  adapters['text_emb.weight'] = {
    shape: table.shape,
    data: table.data.map((value) => value + 0.25),
  };
  merged['text_emb.weight'] = adapters['text_emb.weight'];
  return { adapters, merged };
}

const { adapters, merged } = makeAdapters();

/** Tokens and logits of a greedy conversation over some frames of speech. */
async function converse(folder: string, options: Partial<BuildOptions> = {}): Promise<number[]> {
  const built = await buildModel({
    checkpoint: folder,
    outputDirectory: join(directory, 'built'),
    batches: [1],
    kinds: ['frame'],
    probes: true,
    ...options,
  });
  const { data } = readRecordedTensors(join(TINY, 'expected.safetensors'))['input_pcm']!;
  const session = await GraphSession.open(built, 'frame', 1);
  const gathered: number[] = [];
  for (let frame = 0; frame < 8; frame += 1) {
    const pcm = Float32Array.from(
      data.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES),
    );
    const result = await session.step(greedyFeed(session.graph, frame, pcm));
    for (const name of ['frame_tokens', 'text_logits', 'audio_logits']) {
      gathered.push(...Array.from(result[name]!, Number));
    }
  }
  await session.close();
  return gathered;
}

const MERGED = { moshi_name: 'merged.safetensors' };
const LORA = { lora: true, lora_name: 'lora.safetensors', lora_rank: RANK, lora_scaling: SCALING };

describe('merged adapters', () => {
  let expected: number[];
  beforeAll(async () => {
    expected = await converse(checkpoint('plain', { 'merged.safetensors': merged }, MERGED));
  });

  test('give the bits of a checkpoint that was merged before', async () => {
    const files = { 'lora.safetensors': adapters };
    const folder = checkpoint('adapted', files, LORA);
    expect(await converse(folder)).toEqual(expected);
    expect(await converse(TINY)).not.toEqual(expected);
  });

  test('are in a quantised copy, which does not ask for them again', async () => {
    const quantized = join(directory, 'quantised');
    const from = checkpoint('to-quantise', { 'lora.safetensors': adapters }, LORA);
    await quantizeCheckpoint({ checkpoint: from, precision: 'q8', directory: quantized });
    const plain = checkpoint('to-quantise-plain', { 'merged.safetensors': merged }, MERGED);
    expect(await converse(quantized)).toEqual(await converse(plain, { precision: 'q8' }));
  });

  test('can be named, and scaled, apart from the checkpoint', async () => {
    const path = join(directory, 'elsewhere.safetensors');
    writeSafetensors(path, adapters);
    const lora = { path, scaling: SCALING };
    expect(await converse(TINY, { adapters: lora })).toEqual(expected);
    const folder = checkpoint('unnamed', {}, { ...LORA, lora_name: null });
    expect(await converse(folder, { adapters: { path } })).toEqual(expected);
    expect(await converse(TINY, { adapters: { path, scaling: 0.5 } })).not.toEqual(expected);
  });
});

describe('refuses', () => {
  const without = (name: string): Tensors =>
    Object.fromEntries(Object.entries(adapters).filter(([key]) => key !== name));
  const wrong = (name: string, shape: number[]): Tensors => ({
    ...adapters,
    [name]: { shape, data: new Float32Array(shape[0]! * shape[1]!) },
  });
  test.each([
    [
      'half a pair',
      without('text_linear.lora_B.weight'),
      {},
      /text_linear\.lora_A\.weight needs text_linear\.lora_B/,
    ],
    ['another rank than it says', adapters, { lora_rank: 8 }, /has rank 3, config\.json says 8/],
    [
      'halves that do not fit',
      wrong('text_linear.lora_A.weight', [2, 128]),
      { lora_rank: null },
      /are no pair/,
    ],
    [
      'a pair of other sizes',
      wrong('text_linear.lora_A.weight', [RANK, 64]),
      {},
      /do not fit the model's text_linear\.weight \[512, 128\]/,
    ],
    [
      'a table of another size',
      wrong('text_emb.weight', [5, 128]),
      {},
      /text_emb\.weight has shape \[5, 128\]/,
    ],
    [
      'adapters of another model',
      {
        ...adapters,
        'wings.lora_A.weight': adapters['linears.5.lora_A.weight']!,
        'wings.lora_B.weight': adapters['linears.5.lora_B.weight']!,
      },
      {},
      /wings\.lora_A\.weight belongs to nothing/,
    ],
    ['a file without any', { 'text_emb.weight': adapters['text_emb.weight']! }, {}, /no adapters/],
    ['no file', null, {}, /Cannot find .*lora\.safetensors/],
    ['no name of a file', adapters, { lora_name: null }, /not which file/],
    ['a quantised checkpoint', adapters, { quantize: true }, /quantised already/],
  ])('%s', async (name, tensors, changes, message) => {
    const files = tensors === null ? {} : { 'lora.safetensors': tensors };
    const folder = checkpoint(name.replaceAll(' ', '-'), files, { ...LORA, ...changes });
    const outputDirectory = join(directory, 'refused');
    const options = {
      checkpoint: folder,
      outputDirectory,
      batches: [1],
      kinds: ['frame' as const],
    };
    await expect(buildModel(options)).rejects.toThrow(message);
  });

  test('a scale without adapters', async () => {
    await expect(converse(TINY, { adapters: { scaling: 2 } })).rejects.toThrow(
      /no adapters to scale by 2/,
    );
  });
});
