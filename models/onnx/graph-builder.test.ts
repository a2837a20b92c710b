import { expect, test } from 'vitest';
import { GraphSession } from '../test-support/graph-session.ts';
import { GraphBuilder } from './graph-builder.ts';
import { add, multiply } from './tensor-operations.ts';

test('carries a state from run to run and gives each output its name', async () => {
  const graph = new GraphBuilder('counter', 2);
  const step = graph.input('step', 'float32', [1]);
  const sum = graph.state('sum', 'float32', [1]);
  const next = add(graph, sum, step);
  graph.setState(sum, next);
  graph.output('total', next, 'float32', [1]);
  graph.output('echo', step, 'float32', [1]);
  const session = await GraphSession.compose(graph, '.');
  await session.step({ step: [1, 10] });
  const result = await session.step({ step: [2, 20] });
  expect(Array.from(result['total']!, Number)).toEqual([3, 30]);
  expect(Array.from(result['echo']!, Number)).toEqual([2, 20]);
  await session.close();
});

test('refuses a graph that may read a state after it was replaced in place', () => {
  const graph = new GraphBuilder('late reader', 1);
  const state = graph.state('past', 'float32', [1]);
  graph.setState(state, add(graph, state, graph.floats([1])));
  graph.output('late', multiply(graph, state, graph.floats([2])), 'float32', [1]);
  expect(() => graph.finish()).toThrow(
    /state past is read by Mul\d+ perhaps after Add\d+ replaced/,
  );
});

test('refuses states that are never or twice set', () => {
  const graph = new GraphBuilder('states', 1);
  const state = graph.state('past', 'float32', [1]);
  expect(() => graph.finish()).toThrow('state past was never set');
  const next = add(graph, state, graph.floats([1]));
  graph.setState(state, next);
  expect(() => graph.setState(state, next)).toThrow('unknown or was set before');
});
