import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseLanguageModelConfig, type LanguageModelConfig } from './language-model-config.ts';

const DEMO = JSON.parse(
  readFileSync(join(import.meta.dirname, '../demo/config.json'), 'utf8'),
) as Record<string, unknown>;

function parse(changes: Record<string, unknown>): LanguageModelConfig {
  return parseLanguageModelConfig({ ...DEMO, ...changes }, '/somewhere/config.json');
}

test('derives the widths and the weight sets of the demo', () => {
  const config = parse({});
  expect(config.temporal).toMatchObject({ dimension: 192, hidden: 528, context: 125, heads: 4 });
  expect(config.depth?.transformer).toMatchObject({ dimension: 64, hidden: 176, context: 8 });
  expect(config.depth).toMatchObject({ weightSets: 8, schedule: [0, 1, 2, 3, 4, 5, 6, 7] });
  expect(config.maxDelay).toBe(1);
});

describe('refuses', () => {
  test.each([
    [{ delays: [0, 1, 1, 1, 1] }, 'config.json: delays must have 17 entries (1 + n_q), found 5'],
    [{ num_heads: 5 }, 'config.json: num_heads must divide the width 192, found 5'],
    [{ kv_repeat: 3 }, 'config.json: num_heads must be a multiple of kv_repeat 3, found 4'],
    [{ context: null }, 'config.json: context is wrong: must be given'],
    [{ context: 1e12 }, 'config.json: context is wrong: must be at most 1000000'],
    [{ delays: Array.from({ length: 17 }, () => 1e9) }, 'config.json: delays.0 is wrong: Too big'],
    [{ dim: -1 }, 'config.json: dim is wrong'],
    [{ card: 'many' }, 'config.json: card is wrong'],
    [{ norm: 'batch_norm' }, 'config.json: norm is wrong'],
    [{ dep_q: 17 }, 'config.json: dep_q must not exceed n_q 16, found 17'],
    [
      { depformer_weights_per_step_schedule: [0, 1] },
      'config.json: depformer_weights_per_step_schedule must have 8 entries (dep_q), found 2',
    ],
    [{ quantize: 'int8' }, 'config.json: quantize is wrong'],
    [
      { cross_attention: true },
      'config.json: cross_attention (cross-attention) is not implemented',
    ],
    [
      { conditioners: { a: { type: 'tensor' } } },
      'config.json: conditioners.a.type is wrong: must be "lut"; "tensor" is not implemented',
    ],
    [{ lora_name: 'x.safetensors' }, 'config.json: lora_name needs lora to be true'],
    [{ model_type: 'tts' }, '"tts" is another kind of model'],
    [
      { model_type: 'stt' },
      'config.json: dep_q must be 0 in a model that only listens ("stt"), found 8',
    ],
    [{ dep_q: 0 }, 'config.json: dep_q must be at least 1 in a model that speaks, found 0'],
    [{ depformer_num_heads: undefined }, 'config.json: depformer_num_heads must be given'],
    [{ extra_heads_num_heads: 4 }, 'extra_heads_num_heads is not implemented for "moshi"'],
    [{ stt_config: { audio_delay_seconds: 1 } }, 'stt_config is not implemented for "moshi"'],
    [
      { stt_config: { audio_delay_seconds: -1 } },
      'config.json: stt_config.audio_delay_seconds is wrong',
    ],
    [{ stt_config: { wings: 2 } }, 'stt_config has settings that are not implemented: wings'],
    [{ lm_gen_config: { cfg_coef: 3 } }, 'lm_gen_config.cfg_coef needs conditioners to guide by'],
    [{ wings: 2 }, 'config.json: has settings that are not implemented: wings'],
  ])('%o', (changes, message) => {
    expect(() => parse(changes)).toThrow(message);
  });
});

test('reads a model that only listens, whatever it says about the voice it does not have', () => {
  const config = parse({
    model_type: 'stt',
    dep_q: 0,
    depformer_num_heads: undefined,
    extra_heads_num_heads: 4,
    stt_config: { audio_delay_seconds: 0.5 },
  });
  expect(config).toMatchObject({ kind: 'stt', depth: null, generatedCodebooks: 0 });
  expect(config.transcription).toEqual({
    delaySeconds: 0.5,
    silencePrefixSeconds: 0,
    pauseHeads: 4,
    pauseClasses: 6,
  });
});

test('reads the configuration that Kyutai publishes for stt-2.6b-en', () => {
  const published = {
    ...{ card: 2048, n_q: 32, dep_q: 0, delays: Array.from({ length: 33 }, () => 0) },
    ...{ dim: 2048, text_card: 4000, existing_text_padding_id: 3, num_heads: 32, num_layers: 48 },
    ...{ hidden_scale: 4.125, causal: true, layer_scale: null, context: 375, max_period: 100000 },
    ...{ gating: 'silu', norm: 'rms_norm_f32', positional_embedding: 'rope' },
    ...{ depformer_dim: 1024, depformer_num_heads: 16, depformer_num_layers: 6 },
    ...{ depformer_dim_feedforward: null, depformer_multi_linear: true },
    ...{ depformer_pos_emb: 'none', depformer_weights_per_step: true },
    ...{ conditioners: {}, cross_attention: false, model_id: { sig: 'dabcc802', epoch: 50 } },
    lm_gen_config: { temp: 0, temp_text: 0, top_k: 250, top_k_text: 50 },
    stt_config: { audio_delay_seconds: 2.5, audio_silence_prefix_seconds: 1 },
    model_type: 'stt',
    mimi_name: 'mimi-pytorch-e351c8d8@125.safetensors',
    tokenizer_name: 'tokenizer_en_audio_4000.model',
  };
  const config = parseLanguageModelConfig(published, '/somewhere/config.json');
  expect(config.temporal).toMatchObject({ dimension: 2048, hidden: 5632, context: 375 });
  expect(config.transcription).toEqual({
    ...{ delaySeconds: 2.5, silencePrefixSeconds: 1, pauseHeads: null, pauseClasses: 6 },
  });
});

test('does not report the same of a thousand entries', () => {
  expect(() => parse({ delays: Array.from({ length: 1_000 }, () => -1) })).toThrow(
    /delays\.19 is wrong[^\n]*\nand 981 more$/,
  );
});

test('reports all problems at once', () => {
  expect(() => parse({ dim: -1, card: 'many' })).toThrow(
    /dim is wrong[^]*card is wrong|card[^]*dim/,
  );
});
