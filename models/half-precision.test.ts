/**
 * Graphs for GPUs in 16 bits, run by the CPU: against tensors recorded from Kyutai's PyTorch code in
 * float32. The CPU has no products of 16 bits; it casts what goes into them and what comes out, and sums
 * in float32 between, as GPUs do.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { buildModel } from './build.ts';
import { writeFixture } from './fixtures/fixture.ts';
import type { Device, Precision } from './manifest.ts';
import { DATA_TYPES } from './onnx/data-types.ts';
import { GraphBuilder, type Value } from './onnx/graph-builder.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { endLike, normalizedError, readRecordedTensors } from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;

const directory = mkdtempSync(join(tmpdir(), 'moshi-half-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

await writeFixture('moshi', join(directory, 'tiny-moshi'));
const checkpoints = {
  tiny: join(directory, 'tiny-moshi'),
  demo: join(import.meta.dirname, 'demo'),
};

type Outcome = {
  /** Share of the greedy tokens that are the recorded ones. */
  tokens: number;
  /** Of the last hidden states and of the text's logits. */
  errors: [number, number];
};

async function converse(name: keyof typeof checkpoints, device: Device, precision: Precision) {
  const checkpoint = checkpoints[name];
  const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
  const built = await buildModel({
    checkpoint,
    outputDirectory: directory,
    batches: [1],
    kinds: ['frame'],
    probes: true,
    device,
    precision,
  });
  const session = await GraphSession.open(built, 'frame', 1);
  const { maxDelay } = built.manifest;
  const pcm = recorded['input_pcm']!.data;
  const { data: tokens, shape } = recorded['tokens']!;
  const gathered: Record<string, number[]> = { hidden: [], text_logits: [] };
  let equal = 0;
  for (let start = 0; start < pcm.length; start += FRAME_SAMPLES) {
    const frame = start / FRAME_SAMPLES;
    const heard = Float32Array.from(pcm.subarray(start, start + FRAME_SAMPLES));
    const result = await session.step(greedyFeed(session.graph, frame, heard));
    const column = frame - maxDelay;
    const spoken = Array.from(result['frame_tokens']!, Number);
    equal += spoken.filter((token, row) => token === tokens[row * shape[1]! + column]).length;
    for (const [output, values] of Object.entries(gathered)) {
      values.push(...Array.from(result[output]!, Number));
    }
  }
  await session.close();
  const errors = Object.entries(gathered).map(([output, values]) =>
    normalizedError(endLike(values, recorded[output]!), recorded[output]!.data),
  );
  const columns = pcm.length / FRAME_SAMPLES - maxDelay;
  const outcome = { tokens: equal / (columns * shape[0]!), errors } as Outcome;
  return { outcome, graph: built.manifest.graphs[0]! };
}

test.each([
  ['tiny', 'cuda', 'f16', 1e-6],
  ['demo', 'cuda', 'f16', 1e-7],
  ['demo', 'webgpu', 'f16', 1e-7],
] as const)('%s on %s in %s speaks the recorded tokens', async (name, device, precision, bound) => {
  const { outcome, graph } = await converse(name, device, precision);
  expect(outcome.tokens).toBe(1);
  for (const error of outcome.errors) expect(error).toBeLessThan(bound);
  const rings = graph.states.filter(({ input }) => /^temporal\..*\.(keys|values)$/.test(input));
  expect(rings.length).toBeGreaterThan(0);
  expect(new Set(rings.map(({ type }) => type))).toEqual(new Set(['float16']));
});

test('demo on CUDA in bf16 speaks the recorded tokens', async () => {
  emulateBfloat16();
  const { outcome } = await converse('demo', 'cuda', 'bf16');
  expect(outcome.tokens).toBe(1);
  for (const error of outcome.errors) expect(error).toBeLessThan(2e-5);
});

test.each(['q8', 'q4'] as const)('demo on CUDA in %s keeps its tokens', async (precision) => {
  const { outcome } = await converse('demo', 'cuda', precision);
  expect(outcome.tokens).toBeGreaterThan(0.98);
});

/** The CPU's kernels know bfloat16 in casts alone: products of rounded numbers, rounded. */
function emulateBfloat16(): void {
  const original = Object.getOwnPropertyDescriptor(GraphBuilder.prototype, 'op')!
    .value as GraphBuilder['op'];
  vi.spyOn(GraphBuilder.prototype, 'op').mockImplementation(function (
    this: GraphBuilder,
    type,
    inputs,
    attributes,
  ) {
    const cast = (value: Value, to: 'float32' | 'bfloat16'): Value =>
      original.call(this, 'Cast', [value], { to: DATA_TYPES[to].code });
    const [first] = inputs;
    if (type !== 'Gemm' || first == null || this.typeOf(first) !== 'bfloat16') {
      return original.call(this, type, inputs, attributes);
    }
    const wide = inputs.map((input) => (input === null ? null : cast(input, 'float32')));
    return cast(original.call(this, 'Gemm', wide, attributes), 'bfloat16');
  });
}
