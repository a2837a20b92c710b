/**
 * The language model against the reference's own golden test, which has what the published models
 * have not: layer norms, sinusoidal positions, unequal delays, a weight schedule, low-rank tables
 * (kyutai-labs/moshi@e6a55d2 moshi/tests/test_lm.py, recorded tensors in fixtures/reference-lm).
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { depthTransformer } from './architectures/depth-transformer.ts';
import { temporalTransformer } from './architectures/temporal-transformer.ts';
import { parseLanguageModelConfig } from './checkpoints/language-model-config.ts';
import { SafetensorsFile } from './checkpoints/safetensors.ts';
import { GraphBuilder } from './onnx/graph-builder.ts';
import { concatenate, reshape, slice } from './onnx/tensor-operations.ts';
import { GraphSession } from './test-support/graph-session.ts';
import { normalizedError, readRecordedTensors } from './test-support/recorded-tensors.ts';

const FIXTURE = join(import.meta.dirname, 'fixtures/reference-lm');
const CONFIG = {
  delays: [0, 1, 2, 4],
  n_q: 3,
  dep_q: 3,
  card: 32,
  text_card: 48,
  dim: 16,
  num_layers: 2,
  num_heads: 1,
  hidden_scale: 1,
  depformer_dim: 16,
  depformer_multi_linear: true,
  depformer_weights_per_step: true,
  depformer_weights_per_step_schedule: [0, 1, 1],
  depformer_low_rank_embeddings: 8,
  depformer_num_heads: 1,
  depformer_gating: 'silu',
  context: 4,
};

test('gives the logits of the reference for delayed, teacher-forced streams', async () => {
  const config = parseLanguageModelConfig(CONFIG, 'config.json');
  const weights = await SafetensorsFile.open(join(FIXTURE, 'model.safetensors'));
  const model = { languageModel: config, languageModelWeights: weights };
  const recorded = {
    ...readRecordedTensors(join(FIXTURE, 'codes.safetensors')),
    ...readRecordedTensors(join(FIXTURE, 'out.safetensors')),
  };
  const [rows = 0, streams = 0, frames = 0] = recorded['codes']!.shape;
  const code = (row: number, stream: number, frame: number): number =>
    recorded['codes']!.data[(row * streams + stream) * frames + frame]!;
  const initial = [config.textCard, ...Array<number>(3).fill(config.audioCard)];
  /** Position `p` of the delayed sequence, which starts with a column of initial tokens. */
  const delayed = (row: number, stream: number, position: number): number => {
    const frame = position - 1 - config.delays[stream]!;
    return frame < 0 ? initial[stream]! : code(row, stream, frame);
  };

  const graph = new GraphBuilder('language-model', rows);
  const tokens = graph.input('tokens', 'int64', [streams]);
  const next = graph.input('next', 'int64', [streams]);
  const offset = graph.input('offset', 'int64', []);
  const { hidden, textLogits } = temporalTransformer(graph, model, tokens, offset);
  const { logits } = depthTransformer(
    graph,
    model,
    hidden,
    slice(graph, next, 1, 0, 1),
    (_, step) => slice(graph, next, 1, step + 1, step + 2),
  );
  const stacked = concatenate(
    graph,
    logits.map((one) => reshape(graph, one, [rows, 1, config.audioCard])),
    1,
  );
  graph.output('text_logits', textLogits, 'float32', [config.textCard]);
  graph.output('logits', stacked, 'float32', [3, config.audioCard]);
  const session = await GraphSession.compose(graph, FIXTURE);

  const actual: { text: number[]; audio: number[] } = { text: [], audio: [] };
  const expected: { text: number[]; audio: number[] } = { text: [], audio: [] };
  for (let position = 0; position < frames; position += 1) {
    const column = (at: number): number[] =>
      Array.from({ length: rows * streams }, (_, index) =>
        delayed(Math.floor(index / streams), index % streams, at),
      );
    const result = await session.step({
      tokens: column(position),
      next: column(position + 1),
      offset: Array<number>(rows).fill(position),
    });
    const take = (name: string, start: number, count: number): number[] =>
      Array.from(result[name]!, Number).slice(start, start + count);
    for (let row = 0; row < rows; row += 1) {
      const { textCard, audioCard } = config;
      actual.text.push(...take('text_logits', row * textCard, textCard));
      const textStart = (row * frames + position) * textCard;
      expected.text.push(...recorded['text_logits']!.data.slice(textStart, textStart + textCard));
      for (let codebook = 0; codebook < 3; codebook += 1) {
        const frame = position - config.delays[codebook + 1]!;
        if (frame < 0) continue;
        actual.audio.push(...take('logits', (row * 3 + codebook) * audioCard, audioCard));
        const start = ((row * 3 + codebook) * frames + frame) * audioCard;
        expected.audio.push(...recorded['logits']!.data.slice(start, start + audioCard));
      }
    }
  }
  expect(normalizedError(actual.text, expected.text)).toBeLessThan(1e-11);
  expect(normalizedError(actual.audio, expected.audio)).toBeLessThan(1e-11);
  await session.close();
});
