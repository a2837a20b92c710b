import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CATALOGUE } from './catalogue.ts';
import { catalogueFacts } from './catalogue-facts.ts';
import { inspectCheckpoint } from './inspect.ts';

const DEMO = join(import.meta.dirname, 'demo');
const CHECKPOINTS =
  process.env['MOSHI_TEST_CHECKPOINTS'] ?? join(import.meta.dirname, '../../shared/checkpoints');
const inspect = (directory: string) => inspectCheckpoint(directory, {}, '/nowhere');

test('tells what the demo consists of', async () => {
  const facts = await inspect(DEMO);
  expect(facts).toMatchObject({
    kind: 'moshi',
    layout: 'PyTorch',
    precision: 'f32',
    tokenizer: { pieces: 384, algorithm: 'byte-pair' },
    voices: [],
    conditions: [],
  });
  expect(facts.files.map(({ name }) => name).sort()).toEqual([
    'config.json',
    'mimi.safetensors',
    'mimi_config.json',
    'model.safetensors',
    'tokenizer.model',
  ]);
  const { temporal, textHead, tables, depth, codec } = facts.parameters;
  const counted = temporal + textHead + tables + depth;
  const stored = facts.files.find(({ name }) => name === 'model.safetensors')!.bytes;
  expect([2, 4].some((bytes) => Math.abs(stored / (bytes * counted) - 1) < 0.05)).toBe(true);
  expect(codec).toBeGreaterThan(100_000);
});

test.skipIf(!existsSync(CHECKPOINTS)).each([
  ['tiny-moshi-mlx-q4', { layout: 'MLX', kind: 'moshi' }],
  ['tiny-moshi-candle-q8', { kind: 'moshi' }],
  ['tiny-moshi-pytorch-q8', { layout: '8-bit PyTorch', kind: 'moshi' }],
  ['tiny-stt', { kind: 'stt', codebooks: { generated: 0 } }],
  ['tiny-hibiki', { kind: 'hibiki', conditions: [{ name: 'description' }] }],
  ['tiny-personaplex', { kind: 'personaplex', codebooks: { generated: 8, heard: 8 } }],
])('tells what %s is', async (name, expected) => {
  const facts = await inspect(join(CHECKPOINTS, name));
  expect(facts).toMatchObject(expected);
  expect(Object.values(facts.storedTypes).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(
    20,
  );
});

test('knows for every model of the catalogue how much there is to fetch, and the memory', async () => {
  const facts = new Map(
    await Promise.all(CATALOGUE.map(async (e) => [e.name, await catalogueFacts(e)] as const)),
  );
  // Bytes of the published files: the language model and the codec of 384,644,900.
  const published = {
    moshiko: 15.38e9 + 384_644_900,
    'moshiko-mlx-q4': 4.8e9 + 384_644_900,
    'moshiko-candle-q8': 8.2e9 + 384_644_900,
    personaplex: 16.7e9 + 384_644_900,
    'stt-2.6b-en': 5_234_275_128 + 384_644_900,
  };
  for (const [name, bytes] of Object.entries(published)) {
    expect(Math.abs(facts.get(name)!.downloadBytes / bytes - 1)).toBeLessThan(0.02);
  }
  for (const { memoryBytes } of facts.values()) {
    expect(memoryBytes.f32).toBeGreaterThan(memoryBytes.q8);
    expect(memoryBytes.q8).toBeGreaterThan(memoryBytes.q4);
  }
  expect(new Set(facts.keys()).size).toBe(CATALOGUE.length);
});
