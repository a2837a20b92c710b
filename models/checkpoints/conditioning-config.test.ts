/** What is read of `conditioners` and `fuser`, and what is refused by name. */
import { describe, expect, test } from 'vitest';
import { UNUSUAL_TRANSLATION } from '../test-support/unusual-architecture.ts';
import { parseLanguageModelConfig, type LanguageModelConfig } from './language-model-config.ts';

const VALUES = ['very_bad', 'bad', 'neutral', 'good', 'very_good'];
const TABLE = { n_bins: 31, dim: 16, tokenizer: 'noop', possible_values: VALUES };

function parse(changes: object): LanguageModelConfig {
  return parseLanguageModelConfig({ ...UNUSUAL_TRANSLATION.config, ...changes }, 'config.json');
}

function withTable(changes: object): LanguageModelConfig {
  return parse({
    conditioners: { description: { type: 'lut', lut: { ...TABLE, ...changes } } },
    fuser: { sum: ['description'] },
  });
}

test('reads the condition of Hibiki, and what else stands beside it and is off', () => {
  const config = parse({
    conditioners: {
      description: { type: 'lut', lut: { ...TABLE, init_scale: 0.5, output_bias: false } },
    },
    fuser: {
      ...{ sum: ['description'], cross: [], prepend: [] },
      ...{ cross_attention_pos_emb: false, cross_attention_pos_emb_scale: 1 },
    },
    cross_attention: false,
  });
  expect(config).toMatchObject({ kind: 'hibiki', endOfStreamToken: 2, guidance: 2.5 });
  expect(config.conditions).toEqual([
    { name: 'description', values: VALUES, defaultRow: 4, nullRow: 0, bins: 31, dimension: 16 },
  ]);
});

test('reads a Hibiki without conditions, which is not guided', () => {
  const config = parse({ conditioners: {}, fuser: null, lm_gen_config: { cfg_coef: 1 } });
  expect(config).toMatchObject({ kind: 'hibiki', conditions: [], guidance: null });
});

describe('refuses', () => {
  test.each([
    [{ tokenizer: 'white_space' }, 'lut.tokenizer is wrong: must be "noop"'],
    [{ possible_values: undefined }, 'lut.possible_values is wrong: must list the values'],
    [{ possible_values: ['very_bad', 'ok'] }, 'possible_values must contain very_good'],
    [{ possible_values: [...VALUES, 'bad'] }, 'possible_values must differ from each other'],
    [{ n_bins: 4 }, 'possible_values must have at most n_bins 4 entries'],
    [{ force_linear: false }, 'force_linear is wrong: other than true is not implemented'],
    [{ output_bias: true }, 'output_bias (a bias of conditions) is not implemented'],
    [{ wings: 2 }, 'lut has settings that are not implemented: wings'],
  ])('a table with %o', (changes, message) => {
    expect(() => withTable(changes)).toThrow(message);
  });

  test.each([
    [{ conditioners: { voice: { type: 'tensor' } } }, '"tensor" is not implemented'],
    [
      { conditioners: { 'two words': { type: 'lut', lut: TABLE } } },
      'conditioners.two words is wrong: its name must be one word',
    ],
    [{ fuser: { sum: ['pace'] } }, 'fuser must add conditioner description'],
    [{ fuser: { sum: ['pace', 'description', 'mood'] } }, 'fuser adds mood, which is not among'],
    [{ fuser: { sum: ['pace', 'pace', 'description'] } }, 'fuser adds a condition twice'],
    [{ fuser: { cross: ['pace'] } }, 'fuser.cross (conditions by cross-attention) is not'],
    [{ fuser: { prepend: ['pace'] } }, 'fuser.prepend (conditions before the stream) is not'],
    [{ fuser: null }, 'fuser must add conditioner description'],
    [{ model_type: 'moshi' }, 'conditioners are implemented for model_type "hibiki" alone'],
    [{ conditioners: {}, fuser: {} }, 'lm_gen_config.cfg_coef needs conditioners to guide by'],
    [{ lm_gen_config: { cfg_is_no_text: true } }, 'cfg_is_no_text (guidance of the voice alone)'],
    [{ lm_gen_config: { cfg_coef: -1 } }, 'lm_gen_config.cfg_coef is wrong'],
  ])('%o', (changes, message) => {
    expect(() => parse(changes)).toThrow(message);
  });
});
