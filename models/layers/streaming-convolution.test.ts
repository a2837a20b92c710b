/** Streaming convolutions against plain loops over the whole signal. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { SafetensorsFile } from '../checkpoints/safetensors.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { randomFloats, uniform } from '../test-support/random.ts';
import { largestDifference } from '../test-support/recorded-tensors.ts';
import { writeSafetensors } from '../test-support/write-safetensors.ts';
import { streamRows } from './stream-rows.ts';
import { streamingConvolution, streamingTransposedConvolution } from './streaming-convolution.ts';

const INPUTS = 5;
const OUTPUTS = 10;
const directory = mkdtempSync(join(tmpdir(), 'moshi-convolution-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function weights(
  name: string,
  shape: number[],
): Promise<{
  file: SafetensorsFile;
  weight: Float32Array;
  bias: Float32Array;
}> {
  const random = uniform(shape.reduce((sum, size) => sum * 31 + size, 7));
  const weight = randomFloats(
    random,
    shape.reduce((product, size) => product * size, 1),
  );
  const bias = randomFloats(random, OUTPUTS);
  const path = join(directory, `${name}.safetensors`);
  writeSafetensors(path, {
    weight: { shape, data: weight },
    bias: { shape: [OUTPUTS], data: bias },
  });
  return { file: await SafetensorsFile.open(path), weight, bias };
}

/** Runs `frames` chunks of x [channels][columns·frames] and joins the outputs per channel. */
async function stream(
  session: GraphSession,
  x: Float32Array[],
  columns: number,
  frames: number,
): Promise<number[][]> {
  const outputs: number[][] = Array.from({ length: OUTPUTS }, () => []);
  for (let frame = 0; frame < frames; frame += 1) {
    const chunk = Array.from({ length: columns }, (_, column) =>
      x.map((channel) => channel[frame * columns + column]!),
    ).flat();
    const { y } = await session.step({ x: chunk, position: [frame], advances: [true] });
    const all = Array.from(y!, Number);
    outputs.forEach((channel, index) => {
      channel.push(...all.filter((_, at) => at % OUTPUTS === index));
    });
  }
  return outputs;
}

describe('a convolution', () => {
  test.each([
    { kernel: 7, stride: 1, dilation: 1, columns: 6, padding: 'constant' as const },
    { kernel: 3, stride: 1, dilation: 4, columns: 5, padding: 'constant' as const },
    { kernel: 1, stride: 1, dilation: 1, columns: 4, padding: 'constant' as const },
    { kernel: 7, stride: 1, dilation: 1, columns: 2, padding: 'constant' as const },
    { kernel: 8, stride: 4, dilation: 1, columns: 8, padding: 'constant' as const },
    { kernel: 8, stride: 4, dilation: 1, columns: 16, padding: 'constant' as const },
    { kernel: 5, stride: 2, dilation: 1, columns: 8, padding: 'constant' as const },
    { kernel: 4, stride: 2, dilation: 1, columns: 2, padding: 'replicate' as const },
    { kernel: 8, stride: 4, dilation: 1, columns: 4, padding: 'replicate' as const },
    { kernel: 4, stride: 2, dilation: 1, columns: 8, padding: 'replicate' as const },
  ])('equals the offline one: %o', async ({ kernel, stride, dilation, columns, padding }) => {
    const frames = 5;
    const name = `conv-${kernel}-${stride}-${dilation}-${columns}-${padding}`;
    const { file, weight, bias } = await weights(name, [OUTPUTS, INPUTS, kernel]);
    const graph = new GraphBuilder('convolution', 1);
    const x = graph.input('x', 'float32', [columns, INPUTS]);
    const rows = streamRows(
      graph,
      graph.input('position', 'int64', []),
      graph.input('advances', 'bool', []),
    );
    const layer = {
      weight: file.find('weight'),
      bias: file.find('bias'),
      stride,
      dilation,
      padding,
    };
    const y = streamingConvolution(graph, rows, layer, x, columns);
    graph.output('y', y, 'float32', [columns / stride, OUTPUTS]);
    const session = await GraphSession.compose(graph, directory);

    const random = uniform(5);
    const signal = Array.from({ length: INPUTS }, () => randomFloats(random, columns * frames));
    const past = (kernel - 1) * dilation + 1 - stride;
    const before = (channel: Float32Array): number => (padding === 'replicate' ? channel[0]! : 0);
    const expected = Array.from({ length: OUTPUTS }, (_, output) =>
      Array.from({ length: (columns * frames) / stride }, (__, t) => {
        let sum = bias[output]!;
        signal.forEach((channel, input) => {
          for (let tap = 0; tap < kernel; tap += 1) {
            const at = t * stride + tap * dilation - past;
            const sample = at < 0 ? before(channel) : channel[at]!;
            sum += weight[(output * INPUTS + input) * kernel + tap]! * sample;
          }
        });
        return sum;
      }),
    );
    const actual = await stream(session, signal, columns, frames);
    expect(largestDifference(actual.flat(), expected.flat())).toBeLessThan(1e-5);
    await session.close();
  });
});

describe('a transposed convolution', () => {
  test.each([
    { stride: 2, columns: 1 },
    { stride: 4, columns: 3 },
    { stride: 5, columns: 2 },
  ])('equals the offline one: %o', async ({ stride, columns }) => {
    const frames = 4;
    const kernel = 2 * stride;
    const { file, weight, bias } = await weights(`up-${stride}`, [INPUTS, OUTPUTS, kernel]);
    const graph = new GraphBuilder('transposed', 1);
    const x = graph.input('x', 'float32', [columns, INPUTS]);
    const rows = streamRows(
      graph,
      graph.input('position', 'int64', []),
      graph.input('advances', 'bool', []),
    );
    const layer = { weight: file.find('weight'), bias: file.find('bias'), stride, groups: 1 };
    const y = streamingTransposedConvolution(graph, rows, layer, x, columns);
    graph.output('y', y, 'float32', [columns * stride, OUTPUTS]);
    const session = await GraphSession.compose(graph, directory);

    const random = uniform(6);
    const signal = Array.from({ length: INPUTS }, () => randomFloats(random, columns * frames));
    const expected = Array.from({ length: OUTPUTS }, (_, output) => {
      const sums = Array<number>((columns * frames + 1) * stride).fill(bias[output]!);
      signal.forEach((channel, input) => {
        channel.forEach((sample, t) => {
          for (let tap = 0; tap < kernel; tap += 1) {
            sums[t * stride + tap]! += sample * weight[(input * OUTPUTS + output) * kernel + tap]!;
          }
        });
      });
      return sums.slice(0, columns * frames * stride);
    });
    const actual = await stream(session, signal, columns, frames);
    expect(largestDifference(actual.flat(), expected.flat())).toBeLessThan(1e-5);
    await session.close();
  });
});
