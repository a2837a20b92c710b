/** Graphs for CUDA are of operators and types that CUDA has kernels for: no GPU is needed to know. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { composeGraph, openForBuild } from '../build.ts';
import { writeFixture } from '../fixtures/fixture.ts';
import { precision, type Precision } from '../manifest.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { toFloat } from '../onnx/tensor-operations.ts';
import { cudaProblem } from '../test-support/cuda-kernels.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-kernels-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const checkpoints = [
  ['demo', 'demo'],
  ...(['moshi', 'personaplex', 'hibiki', 'stt'] as const).map((name) => [
    name,
    join(directory, name),
  ]),
] as [string, string][];
for (const [name, checkpoint] of checkpoints.slice(1)) {
  await writeFixture(name as 'moshi', checkpoint);
}

test.each(checkpoints)('%s runs on CUDA alone, in every precision', async (_, checkpoint) => {
  for (const one of precision.options) {
    for (const attentionSinks of [0, 4]) {
      const options = { checkpoint, precision: one, device: 'cuda', attentionSinks } as const;
      const opened = await openForBuild(options);
      for (const kind of ['frame', 'mimi-encode', 'mimi-decode'] as const) {
        if (kind !== 'frame' && opened.languageModel.depth === null) continue;
        const operators = composeGraph(opened, kind, 2, true, 'cuda').operators();
        const problems = operators.flatMap((operator) => cudaProblem(operator) ?? []);
        expect([...new Set(problems)], `${kind} in ${one}`).toEqual([]);
      }
    }
  }
});

test('the language model multiplies in 16 bits, the codec and the heads in 32', async () => {
  const productsOf = async (one: Precision): Promise<(type: string) => number> => {
    const options = { checkpoint: 'demo', precision: one, device: 'cuda' } as const;
    const graph = composeGraph(await openForBuild(options), 'frame', 1, false, 'cuda');
    const products = graph.operators().map(({ type, outputs }) => `${type} ${outputs[0]!}`);
    return (type) => products.filter((product) => product === type).length;
  };
  const plain = await productsOf('f32');
  for (const [one, type] of [
    ['bf16', 'bfloat16'],
    ['f16', 'float16'],
  ] as const) {
    const half = await productsOf(one);
    const { temporal, depth, generatedCodebooks } = (
      await openForBuild({ checkpoint: 'demo', precision: one, device: 'cuda' })
    ).languageModel;
    // Of each layer what leads into and out of attention and feed-forward; what leads into depth.
    const steps = generatedCodebooks * (1 + 4 * depth!.transformer.layers);
    expect(half(`Gemm ${type}`)).toBe(4 * temporal.layers + steps);
    expect(half('Gemm float32')).toBe(plain('Gemm float32') - half(`Gemm ${type}`));
    // Scores and what they weigh.
    expect(half('MatMul float16')).toBe(2 * temporal.layers);
  }
});

test('says which kernel is missing, and what a recorded graph could not follow', () => {
  const graph = new GraphBuilder('wrong', 1, 'cuda');
  const x = graph.input('x', 'float32', [4]);
  const count = graph.input('count', 'int64', []);
  const half = graph.cast(x, 'bfloat16');
  graph.op('ArgMax', [half]);
  graph.op('Slice', [x, graph.integers([0]), count, graph.integers([1])]);
  graph.op('Add', [half, x]);
  graph.op('Attention', [x, x, x]);
  toFloat(graph, half);
  expect(graph.operators().flatMap((operator) => cudaProblem(operator) ?? [])).toEqual([
    'ArgMax(bfloat16): no kernel for these types',
    'Slice(float32, int64, int64, int64): its shape changes from frame to frame',
    'Add(bfloat16, float32): types differ',
    'Attention(float32, float32, float32): no kernel',
  ]);
});
