import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseLanguageModelConfig } from './checkpoints/language-model-config.ts';
import { readMimiConfig } from './checkpoints/mimi-config.ts';
import { architecture } from './generate/architectures.ts';
import { parameterCount } from './generate/generate-checkpoint.ts';
import { languageModelTensors } from './generate/language-model-tensors.ts';
import {
  bytesPerConversation,
  codecParameterCount,
  memoryBytes,
  parameterCounts,
} from './model-size.ts';

const mimi = await readMimiConfig(null);
const configOf = (name: Parameters<typeof architecture>[0]) =>
  parseLanguageModelConfig(architecture(name).config, join(name, 'config.json'));

test.each(['moshi-7b', 'moshi-300m', 'tiny'] as const)(
  'counts the numbers of %s as its tensors have them',
  (name) => {
    const { temporal, textHead, tables, depth } = parameterCounts(configOf(name));
    const { config } = architecture(name);
    expect(temporal + textHead + tables + depth).toBe(parameterCount(languageModelTensors(config)));
  },
);

test('counts the models that Kyutai published as large as their files are', () => {
  // Bytes of model.safetensors in bfloat16, and of the codec in float32, less their headers.
  const published = { 'moshi-7b': 15.38e9, 'stt-1b': 1_978_522_200, 'stt-2.6b': 5_234_275_128 };
  for (const [name, bytes] of Object.entries(published)) {
    const parts = Object.values(parameterCounts(configOf(name as keyof typeof published)));
    const counted = 2 * parts.reduce((sum, count) => sum + count, 0);
    expect(Math.abs(counted / bytes - 1)).toBeLessThan(1e-3);
  }
  expect(Math.abs((4 * codecParameterCount(mimi)) / 384_644_900 - 1)).toBeLessThan(1e-3);
});

test('knows what a conversation of the 7B model needs', () => {
  // 524,288 bytes a frame in 16 bits, 3000 frames; the codec has 2 × 8 layers of 512 × 250.
  const keysAndValues = 524_288 * 3000;
  const codec = 2 * (2 * 8 * 512 * 250 * 4);
  const config = configOf('moshi-7b');
  expect(bytesPerConversation(config, mimi, 'q4')).toBe(keysAndValues + codec);
  expect(bytesPerConversation(config, mimi, 'f32')).toBe(2 * keysAndValues + codec);
});

test('needs less memory the coarser the numbers are, and more for more conversations', () => {
  const config = configOf('moshi-7b');
  const [f32, bf16, q8, q4] = (['f32', 'bf16', 'q8', 'q4'] as const).map((precision) =>
    memoryBytes(config, mimi, precision, 1),
  );
  expect(f32! / bf16!).toBeGreaterThan(1.8);
  expect(f32! / q8!).toBeGreaterThan(2.5);
  expect(q8! / q4!).toBeGreaterThan(1.3);
  expect(memoryBytes(config, mimi, 'q4', 3) - q4!).toBe(
    2 * bytesPerConversation(config, mimi, 'q4'),
  );
});
