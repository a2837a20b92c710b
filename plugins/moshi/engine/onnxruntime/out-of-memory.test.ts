import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { GraphBuilder } from '../../../../models/onnx/graph-builder.ts';
import { OnnxRuntime } from './onnx-runtime.ts';
import { isOutOfMemory } from './out-of-memory.ts';
import { HostTensor } from './tensor.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'moshi-no-memory-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a run that finds no memory fails with a word about it, and the next one runs', async () => {
  // Counts as many ones as the input says, all of them in memory at once.
  const graph = new GraphBuilder('count', 1);
  const wanted = graph.op('Reshape', [graph.input('wanted', 'int64', [1]), graph.integers([1])]);
  const total = graph.op('ReduceSum', [graph.op('Expand', [graph.integers([1]), wanted])]);
  graph.output('counted', graph.op('Reshape', [total, graph.integers([1, 1])]), 'int64', [1]);
  const path = join(folder, 'count.onnx');
  await writeFile(path, graph.finish().bytes);

  const runtime = new OnnxRuntime('cpu');
  try {
    const session = runtime.openSession({ path, weightsDirectory: folder, threads: 1 });
    const [input, output] = [1, 2].map(() => new HostTensor({ type: 'int64', rowShape: [1] }, 1));
    session.bindInput('wanted', input!, 1);
    session.bindOutput('counted', output!, 1);
    const count = (ones: bigint): unknown => {
      input!.int64()[0] = ones;
      try {
        session.run();
        return output!.int64()[0];
      } catch (error) {
        return error;
      }
    };
    expect(count(5n)).toBe(5n);
    const error = count(2n ** 60n);
    expect(error).toBeInstanceOf(Error);
    expect(isOutOfMemory(error)).toBe(true);
    expect(count(6n)).toBe(6n);
  } finally {
    runtime.dispose();
  }
});

test('only want of memory counts as such', () => {
  for (const message of [
    'Available memory of 12 is smaller than requested bytes of 40',
    'std::bad_alloc',
    'CUDA failure 2: out of memory ; GPU=0',
    'Array buffer allocation failed',
  ]) {
    expect(isOutOfMemory(new Error(message)), message).toBe(true);
  }
  expect(isOutOfMemory(new Error('CUDA failure 719: unspecified launch failure'))).toBe(false);
  expect(isOutOfMemory('out of memory')).toBe(false);
});
