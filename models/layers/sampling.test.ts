/** The draw against the reference's formula, written as plain loops. */
import { expect, test } from 'vitest';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { randomFloats, uniform } from '../test-support/random.ts';
import { sample, sampler } from './sampling.ts';

const CARD = 12;
const WIDTH = 7;

function drawGraph(): Promise<GraphSession> {
  const graph = new GraphBuilder('draw', 1);
  const by = sampler(graph, {
    temperature: graph.input('temperature', 'float32', []),
    topK: graph.input('topK', 'int64', []),
    noise: graph.input('noise', 'float32', [1, WIDTH]),
    width: WIDTH,
  });
  const token = sample(graph, by, graph.input('logits', 'float32', [CARD]), 0);
  graph.output('token', token, 'int64', [1]);
  return GraphSession.compose(graph, '.');
}

/** utils/sampling.py: softmax, top-k, argmax of p / e. */
function reference(
  logits: Float32Array,
  temperature: number,
  topK: number,
  noise: number[],
): number {
  const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
  const order = weights.map((_, i) => i).sort((a, b) => weights[b]! - weights[a]!);
  const races = order.slice(0, topK).map((id, rank) => weights[id]! / noise[rank]!);
  return order[races.indexOf(Math.max(...races))]!;
}

test('draws what the reference draws from the same exponentials', async () => {
  const session = await drawGraph();
  const random = uniform(3);
  for (let trial = 0; trial < 200; trial += 1) {
    const logits = randomFloats(random, CARD, 4);
    const noise = Array.from({ length: WIDTH }, () => Math.fround(-Math.log(1 - random())));
    const topK = 1 + Math.floor(random() * WIDTH);
    const temperature = Math.fround(0.2 + random() * 2);
    const { token } = await session.step({
      logits,
      noise,
      topK: [topK],
      temperature: [temperature],
    });
    expect(Number(token![0])).toBe(reference(logits, temperature, topK, noise));
  }
  await session.close();
});

test('takes the first of the largest logits at temperature zero', async () => {
  const session = await drawGraph();
  const logits = Float32Array.from({ length: CARD }, (_, i) => (i === 4 || i === 9 ? 2 : -1));
  const noise = Array.from({ length: WIDTH }, (_, rank) => (rank === 0 ? 1000 : 0.001));
  const { token } = await session.step({ logits, noise, topK: [WIDTH], temperature: [0] });
  expect(Number(token![0])).toBe(4);
  await session.close();
});
