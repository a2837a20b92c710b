import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseMimiConfig, readMimiConfig } from './mimi-config.ts';

type Sections = Record<'seanet' | 'quantizer' | 'transformer', Record<string, unknown>>;
const DEMO = JSON.parse(
  readFileSync(join(import.meta.dirname, '../demo/mimi_config.json'), 'utf8'),
) as Sections & Record<string, unknown>;

test('has the published codec built in', async () => {
  expect(await readMimiConfig(null)).toMatchObject({
    frameSamples: 1920,
    latentsPerFrame: 2,
    transformer: { dimension: 512, hidden: 2048, context: 250, layerScale: true },
    quantizer: { codebooks: 32, bins: 2048, dimension: 256 },
  });
});

test.each([
  [{ sample_rate: 16000 }, 'sample_rate is wrong: must be 24000; 16000 is not implemented'],
  [{ frame_rate: 25 }, 'frame_rate is wrong: must be 12.5; 25 is not implemented'],
  [
    { seanet: { ...DEMO.seanet, ratios: [7, 4] } },
    'seanet.ratios must have a product that divides',
  ],
  [{ seanet: { ...DEMO.seanet, norm: 'weight_norm' } }, 'seanet.norm is wrong: must be "none"'],
  [{ seanet: { ...DEMO.seanet, lstm: 2 } }, 'seanet has settings that are not implemented: lstm'],
  [
    { quantizer: { ...DEMO.quantizer, input_dimension: 64 } },
    'quantizer.input_dimension must equal seanet.dimension 128, found 64',
  ],
  [
    { transformer: { ...DEMO.transformer, context: 1 } },
    'transformer.context must hold a frame of 2 latents, found 1',
  ],
])('refuses %o', (changes, message) => {
  expect(() => parseMimiConfig({ ...DEMO, ...changes }, 'mimi_config.json')).toThrow(message);
});
