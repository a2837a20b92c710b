/** Angles of positions that float32 cannot even name, against float64. */
import { expect, test } from 'vitest';
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { rotation, sinusoids } from './positions.ts';

const DIMENSION = 128;
const POSITIONS = [0, 1, 531, 1023, 1024, 3000, 1e6, 1e7, 2 ** 24 + 1, 2 ** 30 + 5, 2 ** 33 - 1];

const config = (position: TransformerConfig['position']): TransformerConfig => ({
  dimension: DIMENSION,
  heads: 1,
  headsPerKey: 1,
  layers: 1,
  hidden: 1,
  norm: 'rms_norm',
  gating: 'silu',
  position,
  maxPeriod: 10_000,
  context: 3000,
  layerScale: false,
});

/** Cosines and sines [positions, D/2] each. */
async function compute(position: 'rope' | 'sin'): Promise<{ cos: number[]; sin: number[] }> {
  const graph = new GraphBuilder('positions', POSITIONS.length);
  const positions = graph.op('Unsqueeze', [
    graph.input('positions', 'int64', []),
    graph.integers([1]),
  ]);
  const half = DIMENSION / 2;
  const shape = [1, half];
  if (position === 'rope') {
    const turned = rotation(graph, config('rope'), positions)!;
    graph.output('cos', turned.cosine, 'float32', shape);
    graph.output('sin', turned.sine, 'float32', shape);
  } else {
    const both = sinusoids(graph, config('sin'), positions)!;
    const [cos, sin] = graph.ops('Split', [both], 2, { axis: 2, num_outputs: 2 });
    graph.output('cos', cos!, 'float32', shape);
    graph.output('sin', sin!, 'float32', shape);
  }
  const session = await GraphSession.compose(graph, '.');
  const { cos, sin } = await session.step({ positions: POSITIONS });
  await session.close();
  return { cos: Array.from(cos!, Number), sin: Array.from(sin!, Number) };
}

test.each(['rope', 'sin'] as const)('%s angles are right for decades', async (position) => {
  const { cos, sin } = await compute(position);
  const half = DIMENSION / 2;
  for (const [row, at] of POSITIONS.entries()) {
    for (let index = 0; index < half; index += 1) {
      // The reference's own float32 frequencies and periods, and exact arithmetic from there on.
      const step = Math.fround((-Math.log(10_000) * 2) / DIMENSION);
      const frequency =
        position === 'rope'
          ? Math.fround(Math.exp(Math.fround(index * step)))
          : 1 / Math.fround(Math.pow(10_000, Math.fround(index / (half - 1))));
      const where = `position ${at}, frequency ${index}`;
      expect(Math.abs(cos[row * half + index]! - Math.cos(at * frequency)), where).toBeLessThan(
        1e-4,
      );
      expect(Math.abs(sin[row * half + index]! - Math.sin(at * frequency)), where).toBeLessThan(
        1e-4,
      );
    }
  }
});
