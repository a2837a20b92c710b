/** The ring of keys and values against plain loops over everything that was ever written. */
import { expect, test } from 'vitest';
import type { TransformerConfig } from '../checkpoints/transformer-config.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { toFloat } from '../onnx/tensor-operations.ts';
import { GraphSession } from '../test-support/graph-session.ts';
import { randomFloats, uniform } from '../test-support/random.ts';
import { largestDifference } from '../test-support/recorded-tensors.ts';
import { attentionFrame, cachedAttention } from './cached-attention.ts';

const HEAD_WIDTH = 4;

type Bits = 32 | 16 | 8;
const KEY_VALUE_TYPE = { 32: 'float32', 16: 'float16', 8: 'int8' } as const;
/** Against keys and values rounded alike: with 8 bits, queries and weights are rounded far finer. */
const TOLERANCE: Record<Bits, number> = { 32: 1e-5, 16: 3e-3, 8: 3e-4 };

test.each([
  { length: 1, context: 5, heads: 2, headsPerKey: 1, position: 'rope' as const },
  { length: 1, context: 5, heads: 4, headsPerKey: 2, position: 'rope_concat' as const },
  { length: 2, context: 6, heads: 2, headsPerKey: 1, position: 'rope' as const },
  { length: 2, context: 5, heads: 2, headsPerKey: 2, position: 'none' as const },
  { length: 4, context: 7, heads: 2, headsPerKey: 1, position: 'rope' as const },
  { length: 1, context: 530, heads: 2, headsPerKey: 1, position: 'rope' as const, steps: 540 },
  { length: 3, context: 600, heads: 2, headsPerKey: 2, position: 'none' as const, steps: 210 },
  { length: 1, context: 5, heads: 4, headsPerKey: 2, position: 'rope' as const, bits: 16 as const },
  {
    length: 1,
    context: 530,
    heads: 2,
    headsPerKey: 1,
    position: 'rope' as const,
    steps: 540,
    bits: 16 as const,
  },
  { length: 1, context: 5, heads: 2, headsPerKey: 1, position: 'rope' as const, bits: 8 as const },
  {
    length: 1,
    context: 5,
    heads: 4,
    headsPerKey: 2,
    position: 'rope_concat' as const,
    bits: 8 as const,
  },
  {
    length: 1,
    context: 530,
    heads: 4,
    headsPerKey: 4,
    position: 'rope' as const,
    steps: 540,
    bits: 8 as const,
  },
])('attends to what the reference sees, long past the ring: %o', async (shape) => {
  const { length, context, heads, headsPerKey, position, steps = 12 } = shape;
  const bits: Bits = 'bits' in shape ? shape.bits : 32;
  const keyHeads = heads / headsPerKey;
  const width = (heads + 2 * keyHeads) * HEAD_WIDTH;
  const config: TransformerConfig = {
    dimension: heads * HEAD_WIDTH,
    heads,
    headsPerKey,
    layers: 1,
    hidden: 1,
    norm: 'layer_norm',
    gating: 'none',
    position,
    maxPeriod: 100,
    context,
    layerScale: false,
    keyValueType: KEY_VALUE_TYPE[bits],
  };
  const graph = new GraphBuilder('attention', 1);
  const projection = graph.input('projection', 'float32', [length, width]);
  const frames = graph.input('frames', 'int64', []);
  const frame = attentionFrame(graph, config, frames, length);
  // The batch of one is the first size of the input; the layer takes rows of all positions.
  const rows = graph.op('Squeeze', [projection, graph.integers([0])]);
  const attended = cachedAttention(graph, config, frame, rows);
  const output = graph.op('Unsqueeze', [toFloat(graph, attended), graph.integers([0])]);
  graph.output('y', output, 'float32', [length, config.dimension]);
  const session = await GraphSession.compose(graph, '.');

  const random = uniform(11);
  const written: { keys: number[][]; values: number[][] }[] = [];
  for (let step = 0; step < steps; step += 1) {
    const input = randomFloats(random, length * width);
    const head = (row: number, index: number): number[] => [
      ...input.subarray(row * width + index * HEAD_WIDTH, row * width + (index + 1) * HEAD_WIDTH),
    ];
    const first = step * length;
    for (let row = 0; row < length; row += 1) {
      written.push({
        keys: range(keyHeads).map((key) =>
          kept(bits, turned(config, head(row, heads + key), first + row)),
        ),
        values: range(keyHeads).map((key) => kept(bits, head(row, heads + keyHeads + key))),
      });
    }
    const expected = range(length).flatMap((row) =>
      range(heads).flatMap((index) => {
        const at = first + row;
        const query = turned(config, head(row, index), at);
        // Written before reading: what the newest key of this frame displaced is gone for all.
        const oldest = Math.max(0, first + length - context, at - context + 1);
        const visible = written.slice(oldest, at + 1);
        const key = Math.floor(index / headsPerKey);
        const scores = visible.map(({ keys }) => dot(query, keys[key]!) / Math.sqrt(HEAD_WIDTH));
        const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        return range(HEAD_WIDTH).map((i) =>
          visible.reduce((sum, { values }, j) => sum + (weights[j]! / total) * values[key]![i]!, 0),
        );
      }),
    );
    const { y } = await session.step({ projection: input, frames: [step] });
    expect(largestDifference(Array.from(y!, Number), expected), `step ${step}`).toBeLessThan(
      TOLERANCE[bits],
    );
  }
  await session.close();
});

test.each([
  { sinks: 2, context: 6, heads: 2, headsPerKey: 1, position: 'rope' as const, steps: 30 },
  { sinks: 1, context: 5, heads: 4, headsPerKey: 2, position: 'rope_concat' as const, steps: 30 },
  { sinks: 3, context: 4, heads: 2, headsPerKey: 1, position: 'none' as const, steps: 20 },
  { sinks: 4, context: 300, heads: 2, headsPerKey: 1, position: 'rope' as const, steps: 640 },
  {
    sinks: 2,
    context: 6,
    heads: 2,
    headsPerKey: 1,
    position: 'rope' as const,
    steps: 30,
    bits: 16 as const,
  },
  {
    sinks: 3,
    context: 9,
    heads: 4,
    headsPerKey: 2,
    position: 'rope' as const,
    steps: 30,
    bits: 8 as const,
  },
  {
    sinks: 4,
    context: 300,
    heads: 2,
    headsPerKey: 1,
    position: 'rope' as const,
    steps: 640,
    bits: 8 as const,
  },
])('never forgets the first positions, and keeps them near: %o', async (shape) => {
  const { sinks, context, heads, headsPerKey, position, steps, bits = 32 } = shape;
  const keyHeads = heads / headsPerKey;
  const width = (heads + 2 * keyHeads) * HEAD_WIDTH;
  const config: TransformerConfig = {
    dimension: heads * HEAD_WIDTH,
    heads,
    headsPerKey,
    layers: 1,
    hidden: 1,
    norm: 'layer_norm',
    gating: 'none',
    position,
    maxPeriod: 100,
    context,
    sinks,
    layerScale: false,
    keyValueType: KEY_VALUE_TYPE[bits],
  };
  // Two rows: the second begins later, and so is elsewhere in its ring.
  const late = 7;
  const compose = async (of: TransformerConfig): Promise<GraphSession> => {
    const graph = new GraphBuilder('attention', 2);
    const projection = graph.input('projection', 'float32', [width]);
    const frame = attentionFrame(graph, of, graph.input('frames', 'int64', []), 1);
    const attended = cachedAttention(graph, of, frame, projection);
    graph.output('y', toFloat(graph, attended), 'float32', [of.dimension]);
    return GraphSession.compose(graph, '.');
  };
  const session = await compose(config);
  const plain = await compose({ ...config, sinks: 0 });
  const random = uniform(11);
  const written: number[][] = [];
  for (let step = 0; step < steps; step += 1) {
    const input = [...randomFloats(random, width)];
    written.push(input);
    if (step === late) session.resetRow(1);
    const frames = [step, step < late ? step : step - late];
    const feed = { projection: [...input, ...input], frames };
    const { y } = await session.step(feed);
    const attended = Array.from(y!, Number);
    if (step < Math.min(context, late)) {
      expect(attended).toEqual(Array.from((await plain.step(feed))['y']!, Number));
    }
    // Where nothing wraps or begins, a step is like the next.
    if (step > 40 && step % context > 5 && step % 17 !== 0) continue;
    const expected = [0, step < late ? 0 : late].flatMap((begin) => {
      const heard = written.slice(begin);
      const at = heard.length - 1;
      const oldest = Math.max(sinks, at - (context - sinks) + 1);
      const visible = heard
        .map((projected, index) => ({ projected, index }))
        .filter(({ index }) => index < sinks || index >= oldest)
        .map(({ projected, index }) => ({
          projected,
          // Positions within the cache: sinks are right before the oldest of the window.
          place: index < sinks ? oldest - sinks + index : index,
        }));
      const head = (projected: number[], index: number): number[] =>
        projected.slice(index * HEAD_WIDTH, (index + 1) * HEAD_WIDTH);
      return range(heads).flatMap((index) => {
        const key = Math.floor(index / headsPerKey);
        const query = turned(config, head(input, index), at);
        const scores = visible.map(
          ({ projected, place }) =>
            dot(query, kept(bits, turned(config, head(projected, heads + key), place))) /
            Math.sqrt(HEAD_WIDTH),
        );
        const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        return range(HEAD_WIDTH).map((i) =>
          visible.reduce(
            (sum, { projected }, j) =>
              sum + (weights[j]! / total) * kept(bits, head(projected, heads + keyHeads + key))[i]!,
            0,
          ),
        );
      });
    });
    expect(largestDifference(attended, expected), `step ${step}`).toBeLessThan(TOLERANCE[bits]);
  }
  await session.close();
  await plain.close();
});

test.each(['float32', 'float16', 'int8'] as const)(
  'a row keeps its bits however much of their rings of %s other rows have filled',
  async (keyValueType) => {
    const [heads, headWidth, context] = [2, 64, 1200];
    const config: TransformerConfig = {
      dimension: heads * headWidth,
      heads,
      headsPerKey: 1,
      layers: 1,
      hidden: 1,
      norm: 'layer_norm',
      gating: 'none',
      position: 'rope',
      maxPeriod: 10000,
      context,
      layerScale: false,
      keyValueType,
    };
    const graph = new GraphBuilder('attention', 2);
    const projection = graph.input('projection', 'float32', [3 * config.dimension]);
    const frames = graph.input('frames', 'int64', []);
    const frame = attentionFrame(graph, config, frames, 1);
    const attended = cachedAttention(graph, config, frame, projection);
    graph.output('y', toFloat(graph, attended), 'float32', [config.dimension]);
    const session = await GraphSession.compose(graph, '.');
    const conversation = async (others: (step: number) => number): Promise<number[]> => {
      session.reset();
      const random = uniform(5);
      const outputs: number[] = [];
      for (let step = 0; step < 300; step += 1) {
        const mine = randomFloats(random, 3 * config.dimension);
        const theirs = randomFloats(random, 3 * config.dimension);
        const { y } = await session.step({
          projection: [...mine, ...theirs],
          frames: [step, others(step)],
        });
        outputs.push(...Array.from(y!, Number).slice(0, config.dimension));
      }
      return outputs;
    };
    const alone = await conversation(() => 0);
    expect(await conversation((step) => step + 137)).toEqual(alone);
    expect(await conversation((step) => step + 700)).toEqual(alone);
    await session.close();
  },
);

test('what was heard last decides, not how long ago the call began', async () => {
  const [context, heads] = [6, 2];
  const width = 3 * heads * HEAD_WIDTH;
  const graph = new GraphBuilder('attention', 1);
  const projection = graph.input('projection', 'float32', [width]);
  const frames = graph.input('frames', 'int64', []);
  const config: TransformerConfig = {
    dimension: heads * HEAD_WIDTH,
    heads,
    headsPerKey: 1,
    layers: 1,
    hidden: 1,
    norm: 'layer_norm',
    gating: 'none',
    position: 'rope',
    maxPeriod: 100,
    context,
    layerScale: false,
  };
  const frame = attentionFrame(graph, config, frames, 1);
  graph.output('y', cachedAttention(graph, config, frame, projection), 'float32', [
    config.dimension,
  ]);
  const session = await GraphSession.compose(graph, '.');
  const hear = async (firstFrame: number): Promise<number[][]> => {
    session.reset();
    const random = uniform(5);
    const heard: number[][] = [];
    for (let step = 0; step < 3 * context; step += 1) {
      const { y } = await session.step({
        projection: randomFloats(random, width),
        frames: [firstFrame + step],
      });
      heard.push(Array.from(y!, Number));
    }
    return heard.slice(context);
  };
  const young = await hear(0);
  // Beyond 2^24, where float32 skips positions: 15 days.
  for (const old of [context * 1e6, context * 3_000_001, context * 1e8]) {
    const difference = largestDifference((await hear(old)).flat(), young.flat());
    expect(difference, `from frame ${old} on`).toBeLessThan(1e-4);
  }
  await session.close();
});

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

function dot(a: number[], b: number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** A key or value as it is read from its ring; 16 bits are left to the tolerance. */
function kept(bits: Bits, vector: number[]): number[] {
  if (bits !== 8) return vector;
  const scale = Math.max(...vector.map(Math.abs)) / 127;
  return vector.map((value) => Math.round(value / scale) * scale);
}

/** Rotates pairs of a head by its position: neighbours, or halves. */
function turned(config: TransformerConfig, head: number[], position: number): number[] {
  if (config.position === 'none') return head;
  const result = [...head];
  const half = HEAD_WIDTH / 2;
  for (let pair = 0; pair < half; pair += 1) {
    const [real, imaginary] =
      config.position === 'rope' ? [2 * pair, 2 * pair + 1] : [pair, pair + half];
    const angle = position * config.maxPeriod ** ((-2 * pair) / HEAD_WIDTH);
    result[real] = head[real]! * Math.cos(angle) - head[imaginary]! * Math.sin(angle);
    result[imaginary] = head[real]! * Math.sin(angle) + head[imaginary]! * Math.cos(angle);
  }
  return result;
}
