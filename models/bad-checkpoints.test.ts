/** Checkpoints that are damaged, foreign or hostile: an error that names the fault, never a crash. */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  existsSync,
  writeFileSync,
} from 'node:fs';

import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { buildModel, CheckpointError } from './build.ts';
import { openCheckpoint } from './checkpoints/checkpoint.ts';
import { architecture } from './generate/architectures.ts';
import { generateCheckpoint } from './generate/generate-checkpoint.ts';
import { inspectCheckpoint } from './inspect.ts';
import { LAYOUTS, writeLayout } from './test-support/layout-checkpoints.ts';
import { uniform } from './test-support/random.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-bad-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const GOOD = join(directory, 'good');
await generateCheckpoint({ architecture: architecture('tiny'), seed: 0, directory: GOOD });
const PAYLOAD = join(directory, 'payload');

let copies = 0;
/** A copy of a checkpoint of which some files have other bytes. */
function changed(from: string, files: Readonly<Record<string, Buffer | string>>): string {
  copies += 1;
  const folder = join(directory, `copy-${copies}`);
  mkdirSync(folder);
  for (const name of readdirSync(from)) {
    if (!(name in files)) copyFileSync(join(from, name), join(folder, name));
  }
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  return folder;
}

function build(checkpoint: string): Promise<unknown> {
  const outputDirectory = join(directory, 'built');
  return buildModel({ checkpoint, outputDirectory, batches: [1], kinds: ['frame'] });
}

const weights = readFileSync(join(GOOD, 'model.safetensors'));
const codec = readFileSync(join(GOOD, 'mimi.safetensors'));
const config = JSON.parse(readFileSync(join(GOOD, 'config.json'), 'utf8')) as object;
const codecConfig = JSON.parse(readFileSync(join(GOOD, 'mimi_config.json'), 'utf8')) as Record<
  string,
  object
>;

/** The file with one part of its header replaced by another of the same length. */
function patched(file: Buffer, from: string, to: string): Buffer {
  const bytes = Buffer.from(file);
  const place = bytes.indexOf(from);
  if (place < 0 || from.length !== to.length) throw new Error(`cannot replace ${from}`);
  bytes.write(to, place);
  return bytes;
}

function withHeaderBytes(count: bigint): Buffer {
  const bytes = Buffer.from(weights);
  bytes.writeBigUInt64LE(count);
  return bytes;
}

function withConfig(changes: object): Record<string, string> {
  return { 'config.json': JSON.stringify({ ...config, ...changes }) };
}

function withCodec(part: string, changes: object): Record<string, string> {
  const json = { ...codecConfig, [part]: { ...codecConfig[part], ...changes } };
  return { 'mimi_config.json': JSON.stringify(json) };
}

/** What `pickle` makes of an object whose reading writes a file: `os.system("touch …")`. */
const PICKLE = Buffer.from(`cos\nsystem\n(S'touch ${PAYLOAD}'\ntR.`, 'latin1');

const TEXT_LINEAR = '"text_linear.weight":{"dtype":"BF16","shape":[512,128]';

const CASES: [problem: string, files: Record<string, Buffer | string>, message: RegExp][] = [
  [
    'a missing tensor',
    { 'model.safetensors': patched(weights, '"text_linear.weight"', '"text_linear.weighs"') },
    /model\.safetensors: there is no tensor text_linear\.weight/,
  ],
  [
    'a missing tensor of the codec',
    { 'mimi.safetensors': patched(codec, '"upsample.convtr', '"upsimple.convtr') },
    /mimi\.safetensors: there is no tensor upsample\.convtr/,
  ],
  [
    'a wrong shape',
    {
      'model.safetensors': patched(
        weights,
        TEXT_LINEAR,
        TEXT_LINEAR.replace('[512,128]', '[128,512]'),
      ),
    },
    /tensor text_linear\.weight has shape \[128, 512\], the configuration asks for \[512, 128\]/,
  ],
  [
    'a wrong type',
    {
      'model.safetensors': patched(weights, TEXT_LINEAR, TEXT_LINEAR.replace('"BF16"', '"I16" ')),
    },
    /tensor text_linear\.weight has type I16; supported are/,
  ],
  [
    'a type that does not exist',
    {
      'model.safetensors': patched(weights, TEXT_LINEAR, TEXT_LINEAR.replace('"BF16"', '"ZZ16"')),
    },
    /tensor text_linear\.weight has the unknown type ZZ16/,
  ],
  [
    'weights that are cut short',
    { 'model.safetensors': weights.subarray(0, weights.length - 1000) },
    /model\.safetensors: truncated: tensor/,
  ],
  ['no weights at all', { 'model.safetensors': '' }, /model\.safetensors: not a safetensors file/],
  [
    'a header of exabytes',
    { 'model.safetensors': withHeaderBytes(1n << 62n) },
    /model\.safetensors: not a safetensors file \(header of 4611686018427388000 bytes/,
  ],
  [
    'a header beyond the end of the file',
    { 'model.safetensors': withHeaderBytes(99_999_999n) },
    /model\.safetensors: truncated: header ends at byte 100000007/,
  ],
  [
    'a pickle under the name of safetensors',
    { 'model.safetensors': PICKLE },
    /model\.safetensors: not a safetensors file/,
  ],
  [
    'a file of torch.save under the name of safetensors',
    { 'model.safetensors': Buffer.concat([Buffer.from('PK\x03\x04\0\0\0\0\0\0'), PICKLE]) },
    /model\.safetensors: not a safetensors file but one of pickle or torch\.save/,
  ],
  [
    'a pickle of a newer protocol',
    { 'model.safetensors': Buffer.concat([Buffer.from('\x80\x04\x95AAAAA', 'latin1'), PICKLE]) },
    /model\.safetensors: not a safetensors file but one of pickle or torch\.save/,
  ],
  [
    'a pickle under its own name',
    { ...withConfig({ moshi_name: 'model.pt' }), 'model.pt': PICKLE },
    /model\.pt: not a safetensors file/,
  ],
  [
    'a pickle as the codec',
    { ...withConfig({ mimi_name: 'mimi.pt' }), 'mimi.pt': PICKLE },
    /mimi\.pt: not a safetensors file/,
  ],
  ['a pickle as the tokenizer', { 'tokenizer.model': PICKLE }, /tokenizer\.model/],
  ['a configuration with NaN', { 'config.json': '{"dim": NaN}' }, /config\.json is not JSON/],
  [
    'a configuration with an infinite number',
    { 'config.json': JSON.stringify({ ...config, dim: 7777 }).replace('7777', '1e999') },
    /config\.json: dim/,
  ],
  ['a negative width', withConfig({ dim: -128 }), /config\.json: dim/],
  ['half a layer', withConfig({ num_layers: 2.5 }), /config\.json: num_layers/],
  [
    'a width beyond every machine',
    withConfig({ dim: 2 ** 50 }),
    /emb\.0\.weight has shape \[65, 128\], the configuration asks for \[65, 1125899906842624\]/,
  ],
  [
    'a billion layers',
    withConfig({ num_layers: 1e9 }),
    /no tensor transformer\.layers\.3\.|config\.json: num_layers/,
  ],
  [
    'a billion layers of the depth transformer',
    withConfig({ depformer_num_layers: 1e9 }),
    /no tensor depformer\.layers\.2\.|config\.json: depformer_num_layers/,
  ],
  ['a billion codebooks', withConfig({ n_q: 1e9 }), /config\.json: delays must have 1000000001/],
  ['an endless context', withConfig({ context: 1e12 }), /config\.json: context .*must be at most/],
  ['an endless delay', withConfig({ delays: Array(17).fill(1e9) }), /config\.json: delays/],
  [
    'a billion words',
    withConfig({ text_card: 1e9 }),
    /text_emb\.weight has shape \[513, 128\], the configuration asks for \[1000000001, 128\]/,
  ],
  [
    'a codec of a billion filters',
    withCodec('seanet', { n_filters: 1e9 }),
    /encoder\.model\.0\.conv\.conv\.weight has shape \[4, 1, 7\]/,
  ],
  [
    'a codec of a billion layers',
    withCodec('transformer', { num_layers: 1e9 }),
    /no tensor \S*encoder_transformer\.transformer\.layers\.2\.|mimi_config\.json: transformer\.num_layers/,
  ],
  [
    'a codec of a billion residual layers',
    withCodec('seanet', { n_residual_layers: 1e9 }),
    /encoder\.model\.\d+\.|mimi_config\.json: seanet\.n_residual_layers/,
  ],
  ['an unknown quantisation', withConfig({ quantize: 'q3' }), /config\.json: quantize/],
];

test.each(CASES)('%s is refused by name', async (_, files, message) => {
  const folder = changed(GOOD, files);
  const attempt = build(folder);
  await expect(attempt).rejects.toThrow(message);
  await expect(attempt).rejects.toBeInstanceOf(CheckpointError);
  await expect(inspectCheckpoint(folder, {}, directory)).rejects.toThrow(message);
  expect(existsSync(PAYLOAD)).toBe(false);
});

describe.each(['pytorch', ...LAYOUTS] as const)('headers of %s', (layout) => {
  const FLIPS = 60;

  test('with any byte changed are read or refused', { timeout: 60_000 }, async () => {
    let folder = GOOD;
    if (layout !== 'pytorch') {
      folder = join(directory, layout);
      writeLayout(GOOD, { layout, stored: folder, plain: `${folder}-plain` });
    }
    const name = readdirSync(folder).find((file) => file.startsWith('model.'))!;
    const bytes = readFileSync(join(folder, name));
    const isGguf = name.endsWith('.gguf');
    const header = isGguf ? 4_000 : 8 + Number(bytes.readBigUInt64LE());
    const random = uniform(layout.length);
    const target = changed(folder, {});
    const outcomes = { read: 0, refused: 0 };
    for (let flip = 0; flip < FLIPS; flip += 1) {
      const damaged = Buffer.from(bytes);
      // Half of them where a header begins: lengths, counts, magic.
      const place = Math.floor(random() * (flip % 2 === 0 ? header : 32));
      damaged[place] = damaged[place]! ^ (1 << Math.floor(random() * 8));
      writeFileSync(join(target, basename(name)), damaged);
      try {
        await openCheckpoint(target);
        outcomes.read += 1;
      } catch (error) {
        expect(error, `bit of byte ${place}: ${String(error)}`).toBeInstanceOf(CheckpointError);
        outcomes.refused += 1;
      }
    }
    expect(outcomes.read + outcomes.refused).toBe(FLIPS);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});
