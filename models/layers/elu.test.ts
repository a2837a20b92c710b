/** ELU from fast operators against its formula. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { randomFloats, uniform } from '../test-support/random.ts';
import { largestDifference } from '../test-support/recorded-tensors.ts';
import { elu } from './elu.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-elu-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function compute(x: Float32Array, alpha: number): Promise<number[]> {
  const graph = new GraphBuilder('elu', 1);
  const y = elu(graph, graph.input('x', 'float32', [x.length]), alpha, x.length);
  graph.output('y', y, 'float32', [x.length]);
  const session = await GraphSession.compose(graph, directory);
  const { y: result } = await session.step({ x });
  await session.close();
  return Array.from(result!, Number);
}

/** Few numbers, and as many as a codec's widest layers have in a frame. */
test.each([
  { count: 100, alpha: 1 },
  { count: 20_001, alpha: 1 },
  { count: 20_001, alpha: 1.5 },
])('is its formula: %o', async ({ count, alpha }) => {
  const x = randomFloats(uniform(count), count).map((value) => 20 * value);
  const expected = Array.from(x, (value) => (value > 0 ? value : alpha * Math.expm1(value)));
  expect(largestDifference(await compute(x, alpha), expected)).toBeLessThan(1e-6);
});

test('keeps what is no number, so that a broken conversation is noticed', async () => {
  const x = new Float32Array(20_001);
  x.set([NaN, Infinity, -Infinity, -0, -1000], 10_000);
  const y = await compute(x, 1);
  expect(y.slice(9_999, 10_006)).toEqual([0, NaN, Infinity, -1, expect.closeTo(0), -1, 0]);
});
