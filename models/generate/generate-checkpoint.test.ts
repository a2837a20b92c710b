import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readMimiConfig } from '../checkpoints/mimi-config.ts';
import { SafetensorsFile } from '../checkpoints/safetensors.ts';
import { readRecordedTensors } from '../test-support/recorded-tensors.ts';
import { openTokenizer } from '../tokenizer/tokenizer.ts';
import { readSentencePieceModel } from '../tokenizer/sentencepiece.ts';
import { ARCHITECTURE_NAMES, architecture, type ArchitectureName } from './architectures.ts';
import { generateCheckpoint, parameterCount } from './generate-checkpoint.ts';
import { languageModelTensors } from './language-model-tensors.ts';
import { mimiTensors } from './mimi-tensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'moshi-generate-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
}

/** Counted in the reference with its own modules, or from the sizes of the published files. */
test.each<[ArchitectureName, number]>([
  ['moshi-7b', 7_687_729_152],
  ['personaplex-7b', 8_371_408_896],
  ['stt-1b', 989_253_632],
  ['stt-2.6b', 2_617_118_720],
])('%s has as many parameters as the published model', (name, parameters) => {
  expect(parameterCount(languageModelTensors(architecture(name).config))).toBe(parameters);
});

test('the codec has the published tensors and as many numbers', async () => {
  const tensors = mimiTensors(await readMimiConfig(null));
  expect(tensors).toHaveLength(318);
  expect(parameterCount(tensors)).toBe(96_151_393);
});

test('the same seed gives the same bytes on every machine, another seed others', async () => {
  const make = async (name: string, seed: number): Promise<string[]> => {
    const directory = join(folder, name);
    await generateCheckpoint({ architecture: architecture('tiny'), seed, directory });
    return readdirSync(directory)
      .sort()
      .map((file) => `${file} ${digest(join(directory, file))}`);
  };
  const first = await make('first', 1);
  expect(await make('again', 1)).toEqual(first);
  expect(first).toMatchInlineSnapshot(`
    [
      "config.json a608d64934ba8bbb",
      "mimi.safetensors 24d0dd94deb8a274",
      "mimi_config.json a7e4024316261edc",
      "model.safetensors 01cff2002b01eb91",
      "tokenizer.model 653d6f384768a39f",
    ]
  `);
  const other = await make('other', 2);
  expect(other.map((line, index) => line !== first[index])).toEqual([
    false,
    true,
    false,
    true,
    false,
  ]);
});

test('weights have the mean and the spread that were asked for', async () => {
  const directory = join(folder, 'statistics');
  const generated = await generateCheckpoint({
    architecture: architecture('tiny-hibiki'),
    seed: 3,
    directory,
  });
  const { config } = architecture('tiny-hibiki');
  const listed = languageModelTensors(config);
  const file = await SafetensorsFile.open(join(directory, config.moshi_name));
  expect(file.names()).toEqual(listed.map(({ name }) => name));
  expect(generated.parameters).toBe(parameterCount(listed));
  const codec = readRecordedTensors(join(directory, config.mimi_name));
  for (const { name, mean, deviation } of mimiTensors(
    await readMimiConfig(join(directory, 'mimi_config.json')),
  )) {
    const { data } = codec[name]!;
    if (data.length < 1000) continue;
    const average = data.reduce((sum, value) => sum + value, 0) / data.length;
    const variance = data.reduce((sum, value) => sum + (value - average) ** 2, 0) / data.length;
    expect(Math.abs(average - mean), name).toBeLessThan((5 * deviation) / Math.sqrt(data.length));
    expect(Math.sqrt(variance) / deviation, name).toBeCloseTo(1, 1);
  }
});

test('the tokenizer has a piece for every text token', async () => {
  for (const name of ARCHITECTURE_NAMES.filter((one) => one.startsWith('tiny'))) {
    const directory = join(folder, `pieces-${name}`);
    await generateCheckpoint({ architecture: architecture(name), seed: 0, directory });
    const { config } = architecture(name);
    const path = join(directory, config.tokenizer_name);
    const { pieces } = await readSentencePieceModel(path);
    expect(pieces).toHaveLength(config.text_card);
    expect(new Set(pieces.map(({ piece }) => piece)).size).toBe(config.text_card);
    expect(pieces.slice(0, 4).map(({ piece }) => piece)).toEqual(['<unk>', '<s>', '</s>', '<pad>']);
    const tokenizer = await openTokenizer(path);
    // As the sentencepiece package of Python splits it.
    expect(tokenizer.encode('ba dafe héllo').map((id) => pieces[id]?.piece)).toEqual([
      ...['▁ba', '▁da', 'fe', '▁', 'h', '<0xC3>', '<0xA9>', 'l', 'lo'],
    ]);
  }
});

test('writes into an empty folder, never over files, and leaves nothing behind', async () => {
  const directory = join(folder, 'careful/occupied');
  mkdirSync(directory, { recursive: true });
  await generateCheckpoint({ architecture: architecture('tiny-stt'), seed: 0, directory });
  const again = generateCheckpoint({ architecture: architecture('tiny'), seed: 0, directory });
  await expect(again).rejects.toThrow(/occupied is not empty/);
  const path = join(folder, 'careful/file');
  writeFileSync(path, '');
  const onto = generateCheckpoint({
    architecture: architecture('tiny'),
    seed: 0,
    directory: path,
  });
  await expect(onto).rejects.toThrow(/Cannot write a checkpoint into .*file/);
  const { config, mimi } = architecture('tiny');
  const huge = generateCheckpoint({
    architecture: { config: { ...config, dim: 1 << 20, num_layers: 100 }, mimi },
    seed: 0,
    directory: join(folder, 'careful/huge'),
  });
  await expect(huge).rejects.toThrow(/takes \d{7}\.\d GB, the disk of \S+ has \S+ GB left/);
  const stopped = generateCheckpoint({
    architecture: architecture('tiny'),
    seed: 0,
    directory: join(folder, 'careful/stopped'),
    onProgress: () => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    },
  });
  await expect(stopped).rejects.toThrow(/is full; the checkpoint was removed/);
  expect(readdirSync(join(folder, 'careful')).sort()).toEqual(['file', 'occupied']);
});
