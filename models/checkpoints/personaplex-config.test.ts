import { describe, expect, test } from 'vitest';
import { parseLanguageModelConfig, type LanguageModelConfig } from './language-model-config.ts';
import { personaPlexPrompt } from './personaplex-config.ts';

const parse = (json: Record<string, unknown>): LanguageModelConfig =>
  parseLanguageModelConfig(json, '/somewhere/config.json');

test('fills what the published configuration lacks from the 7B model', () => {
  const config = parse({ model_type: 'personaplex', version: '7b-v1' });
  expect(config).toMatchObject({
    kind: 'personaplex',
    codebooks: 16,
    generatedCodebooks: 8,
    textCard: 32_000,
    maxDelay: 1,
    files: { model: 'model.safetensors', tokenizer: 'tokenizer_spm_32k_3.model' },
    temporal: { dimension: 4096, layers: 32, context: 2999 },
    depth: { weightSets: 8, packedSets: 16, schedule: [0, 1, 2, 3, 4, 5, 6, 7] },
  });
});

test('passes over what it does not know where nothing describes an architecture, and says so', () => {
  const config = parse({ model_type: 'personaplex', wings: 2, license: 'other' });
  expect(config.ignoredSettings).toEqual(['wings']);
  expect(config.temporal.layers).toBe(32);
});

test('is known by the voices beside it where nothing describes an architecture', () => {
  const read = (json: object, hasVoices: boolean): LanguageModelConfig =>
    parseLanguageModelConfig(json, '/somewhere/config.json', hasVoices);
  expect(read({ pipeline: 'speech' }, true).kind).toBe('personaplex');
  expect(() => read({ pipeline: 'speech' }, false)).toThrow('not implemented: pipeline');
  expect(() => read({ dim: 64, pipeline: 'speech' }, true)).toThrow('not implemented: pipeline');
});

test('keeps what is given', () => {
  const config = parse({ model_type: 'personaplex', dim: 64, num_heads: 2, context: 100 });
  expect(config.temporal).toMatchObject({ dimension: 64, heads: 2, context: 99 });
});

test('knows a PersonaPlex without a name by its sixteen depth steps', () => {
  const { kind } = parse({ n_q: 16, dep_q: 16 });
  expect(kind).toBe('personaplex');
});

describe('refuses', () => {
  test.each([
    [{ dep_q: 8 }, 'dep_q must be n_q 16 for PersonaPlex, found 8'],
    [{ n_q: 7, dep_q: 7, delays: [0, 0, 0, 0, 0, 0, 0, 0] }, 'n_q must be even for PersonaPlex'],
    [{ context: 1 }, 'context must be at least 2 for PersonaPlex'],
    [{ dim: 4096, wings: 2 }, 'has settings that are not implemented: wings'],
  ])('%j', (changes, message) => {
    expect(() => parse({ model_type: 'personaplex', ...changes })).toThrow(message);
  });

  test.each([
    { generatedCodebooks: 4, audioCard: 2048, delays: [] },
    { generatedCodebooks: 8, audioCard: 1024, delays: [] },
  ])('to prompt a model without the codes: %j', (sizes) => {
    expect(() => personaPlexPrompt(sizes)).toThrow(
      'PersonaPlex is prompted with codes of 8 codebooks up to 2008; found',
    );
  });
});
