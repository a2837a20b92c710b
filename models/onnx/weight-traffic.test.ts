import { expect, test } from 'vitest';
import type { TensorView } from '../checkpoints/safetensors.ts';
import { GraphBuilder } from './graph-builder.ts';
import { transpose } from './tensor-operations.ts';

function stored(
  name: string,
  type: TensorView['type'],
  shape: number[],
  bytes: number,
): TensorView {
  return { name, type, shape, file: 'weights', offsetBytes: 0, lengthBytes: bytes };
}

test('a run reads every matrix in the type it is computed in, and of tables only rows', () => {
  const graph = new GraphBuilder('traffic', 1);
  const x = graph.input('x', 'float32', [4]);
  const id = graph.input('id', 'int64', []);
  const half = graph.weight(stored('half', 'bfloat16', [4, 8], 64));
  const hidden = graph.op('MatMul', [x, half]); // widened once when it is loaded: 128 bytes
  const turned = transpose(graph, graph.weight(stored('turned', 'float32', [2, 8], 64)), [1, 0]);
  const y = graph.op('MatMul', [hidden, turned]); // 64 bytes
  const row = graph.op('Gather', [graph.weight(stored('table', 'float32', [1000, 2], 8000)), id]);
  graph.output('y', graph.op('Add', [y, row]), 'float32', [2]);
  const { nodes, weightBytes, foldedBytes, weights } = graph.finish().signature;
  expect(weightBytes).toBe(128 + 64);
  expect(foldedBytes).toBe(128 + 64);
  expect(nodes).toBe(6);
  expect(weights.map(({ isReadAsStored }) => isReadAsStored)).toEqual([false, false, true]);
  expect(weights.map(({ name }) => name.replace(/^.*?:\d+:|\[.*$/g, ''))).toEqual([
    'half',
    'turned',
    'table',
  ]);
});
