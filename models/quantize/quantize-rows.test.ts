/** Blocks of 4 and 8 bits: what they stand for, and that onnxruntime multiplies by just that. */
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { blockShapes, type BlockMatrix } from '../checkpoints/linear-weight.ts';
import type { BlockRows } from '../checkpoints/layouts/stored-tensors.ts';
import type { TensorView } from '../checkpoints/safetensors.ts';
import { linear } from '../layers/linear.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { randomFloats, uniform } from '../test-support/random.ts';
import { dequantizeRows, quantizeRows } from './quantize-rows.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-blocks-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const [ROWS, COLUMNS] = [24, 256];
const weights = Float32Array.from(randomFloats(uniform(3), ROWS * COLUMNS, 1), (value, index) =>
  // Blocks that lie off zero need their zero points.
  Math.fround(value + (index % 64 < 32 ? 0.7 : -0.2)),
);

function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, power] = [0, 0];
  for (let i = 0; i < expected.length; i += 1) {
    error += ((actual[i] ?? NaN) - (expected[i] ?? NaN)) ** 2;
    power += (expected[i] ?? NaN) ** 2;
  }
  return Math.sqrt(error / power);
}

describe.each([
  [4, 32, 0.08],
  [4, 128, 0.08],
  [8, 32, 0.005],
] as const)('%s bits in blocks of %s', (bits, size, largestError) => {
  const format = { bits, size };

  test('stand for numbers as near as they say', () => {
    const rounded = quantizeRows(weights, COLUMNS, bits, size);
    const error = relativeError(dequantizeRows(rounded, COLUMNS, bits, size), weights);
    expect(Math.sqrt(rounded.squaredError / rounded.squaredSum)).toBeCloseTo(error, 6);
    expect(error).toBeLessThan(largestError);
  });

  test('keep numbers that are blocks of as many bits already', () => {
    const rounded = quantizeRows(weights, COLUMNS, bits, size);
    const values = dequantizeRows(rounded, COLUMNS, bits, size);
    const again = quantizeRows(values, COLUMNS, bits, size);
    expect(relativeError(dequantizeRows(again, COLUMNS, bits, size), values)).toBeLessThan(1e-6);
  });

  test('keep zeros, and blocks of one sign', () => {
    const values = new Float32Array(2 * size);
    values.fill(0.25, size);
    const rounded = quantizeRows(values, 2 * size, bits, size);
    expect(dequantizeRows(rounded, 2 * size, bits, size)).toEqual(values);
  });

  test.each([true, false])(
    'onnxruntime multiplies by these numbers (zero points: %s)',
    async (hasZeroPoints) => {
      const rounded = quantizeRows(weights, COLUMNS, bits, size);
      const rows: BlockRows = hasZeroPoints ? rounded : { ...rounded, zeroPoints: null };
      const matrix = writeMatrix(rows, { ...format, hasZeroPoints });
      const graph = new GraphBuilder('linear', 3);
      const x = graph.input('x', 'float32', [COLUMNS]);
      const bias = graph.floats(Float32Array.from({ length: ROWS }, (_, row) => row / 10));
      graph.output('y', graph.op('Add', [linear(graph, x, matrix), bias]), 'float32', [ROWS]);
      const session = await GraphSession.compose(graph, directory);
      const input = Float32Array.from(randomFloats(uniform(4), 3 * COLUMNS, 1));
      const { y } = await session.step({ x: input });
      await session.close();
      const values = dequantizeRows(rows, COLUMNS, bits, size);
      const expected = Array.from({ length: 3 * ROWS }, (_, index) => {
        const [b, n] = [Math.floor(index / ROWS), index % ROWS];
        let sum = n / 10;
        for (let k = 0; k < COLUMNS; k += 1) {
          sum += (input[b * COLUMNS + k] ?? NaN) * (values[n * COLUMNS + k] ?? NaN);
        }
        return sum;
      });
      // It rounds x to 8 bits first.
      expect(relativeError(Array.from(y ?? [], Number), expected)).toBeLessThan(0.01);
    },
  );
});

test('numbers that are not finite show in the sum', () => {
  const values = new Float32Array(32);
  for (const value of [NaN, Infinity]) {
    values[5] = value;
    expect(quantizeRows(values, 32, 4, 32).squaredSum).not.toSatisfy(Number.isFinite);
  }
});

function writeMatrix(rows: BlockRows, format: BlockMatrix['format']): BlockMatrix {
  const shapes = blockShapes(format, ROWS, COLUMNS);
  const view = (
    name: string,
    type: TensorView['type'],
    shape: number[],
    data: Uint8Array | Float32Array,
  ): TensorView => {
    const file = `${name}-${format.bits}.bin`;
    writeFileSync(join(directory, file), Buffer.from(data.buffer));
    return { name, type, shape, file, offsetBytes: 0, lengthBytes: data.byteLength };
  };
  return {
    name: 'matrix',
    shape: [ROWS, COLUMNS],
    format,
    packed: view('packed', 'uint8', shapes.packed, rows.packed),
    scales: view('scales', 'float32', shapes.scales, rows.scales),
    zeroPoints:
      rows.zeroPoints === null
        ? null
        : view('zero-points', 'uint8', shapes.zeroPoints, rows.zeroPoints),
  };
}
