/**
 * Models that only listen: against tensors recorded from Kyutai's PyTorch code where recorded
 * checkpoints are at hand, and on random weights that rows do not influence each other.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel, CheckpointError, readModelKind } from './build.ts';
import { generateCheckpoint } from './generate/generate-checkpoint.ts';
import type { ModelManifest } from './manifest.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { LAYOUTS, writeLayout } from './test-support/layout-checkpoints.ts';
import { randomFloats, uniform } from './test-support/random.ts';
import { UNUSUAL_TRANSCRIPTION } from './test-support/unusual-architecture.ts';
import { recordedCheckpoints } from './test-support/recorded-checkpoints.ts';
import {
  endLike,
  largestDifference,
  normalizedError,
  readRecordedTensors,
} from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;
const ROWS = 2;
/** Beyond the context of the random checkpoint. */
const FRAMES = 12;

/** Widths that every layout can quantise: multiples of 32, inside the gate as well. */
const WIDE = { dim: 64, num_heads: 2, kv_repeat: 1, hidden_scale: 4.5, bias_proj: false };

const directory = mkdtempSync(join(tmpdir(), 'moshi-transcription-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

type Built = { directory: string; manifest: ModelManifest };
type Outputs = Record<string, number[]>;

function build(checkpoint: string, batches = [1]): Promise<Built> {
  const outputDirectory = join(directory, 'built');
  return buildModel({ checkpoint, outputDirectory, batches, kinds: ['frame'], probes: true });
}

async function random(name: string, changes = {}): Promise<string> {
  const folder = join(directory, name);
  const { config, mimi } = UNUSUAL_TRANSCRIPTION;
  const architecture = { config: { ...config, ...changes }, mimi };
  await generateCheckpoint({ architecture, seed: 23, directory: folder });
  return folder;
}

const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('stt', directory, others);

test.each(recordings)('%s gives what PyTorch recorded', async (_, checkpoint) => {
  const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
  const tensor = (name: string): Float64Array => recorded[name]!.data;
  const built = await build(checkpoint);
  const { transcription, pauses } = built.manifest;
  const { leadingSilenceSamples: before, trailingSilenceSamples: after } = transcription!;
  const spoken = tensor('input_pcm');
  const pcm = new Float32Array(before + spoken.length + after);
  pcm.set(spoken, before);
  const session = await GraphSession.open(built, 'frame', 1);
  const gathered: Outputs = { text_token: [], pauses: [], hidden: [], text_logits: [] };
  // The first frame is heard twice: the encoder does not move in step 0.
  for (let step = 0; step <= Math.floor(pcm.length / FRAME_SAMPLES); step += 1) {
    const frame = Math.max(0, step - 1) * FRAME_SAMPLES;
    const feed = greedyFeed(session.graph, step, pcm.slice(frame, frame + FRAME_SAMPLES));
    const result = await session.step(feed);
    expect(result['frame_tokens']).toEqual(result['text_token']);
    for (const [name, values] of Object.entries(gathered)) {
      if (name in result) values.push(...Array.from(result[name]!, Number));
    }
  }
  await session.close();
  expect(gathered['text_token']).toEqual(Array.from(tensor('tokens')));
  expect(normalizedError(gathered['hidden']!, tensor('hidden'))).toBeLessThan(1e-9);
  const logits = endLike(gathered['text_logits']!, recorded['text_logits']!);
  expect(normalizedError(logits, tensor('text_logits'))).toBeLessThan(1e-9);
  expect(pauses).toEqual({ heads: 4, classes: 6, horizonsSeconds: [0.5, 1, 2, 3] });
  expect(largestDifference(gathered['pauses']!, tensor('vad'))).toBeLessThan(1e-5);
});

describe('a random model that only listens', () => {
  let checkpoint: string;
  const speech = Array.from({ length: FRAMES }, (_, frame) =>
    randomFloats(uniform(frame + 1), FRAME_SAMPLES, 0.3),
  );
  let built: Built;
  let alone: Outputs[];
  const outputsOf = (
    session: GraphSession,
    result: Record<string, ArrayLike<unknown>>,
    row: number,
  ): Outputs =>
    Object.fromEntries(
      session.graph.outputs.map(({ name }) => {
        const all = Array.from(result[name]!, Number);
        const size = all.length / session.graph.batch;
        return [name, all.slice(row * size, (row + 1) * size)];
      }),
    );

  beforeAll(async () => {
    checkpoint = await random('listener');
    built = await build(checkpoint, [1, ROWS]);
    const session = await GraphSession.open(built, 'frame', 1);
    alone = [];
    for (const [frame, pcm] of speech.entries()) {
      alone.push(outputsOf(session, await session.step(greedyFeed(session.graph, frame, pcm)), 0));
    }
    await session.close();
  });

  test('has a manifest and a graph without a voice', async () => {
    const { manifest } = built;
    expect(manifest).toMatchObject({
      kind: 'stt',
      generatedCodebooks: 0,
      heardCodebooks: 4,
      codecCodebooks: 4,
      pauses: { heads: 3, classes: 5, horizonsSeconds: null },
      // 0.33 s, 0.1 s, and 0.33 s + 1 s.
      transcription: {
        delayFrames: 4,
        leadingSilenceSamples: 2400,
        trailingSilenceSamples: 31920,
      },
    });
    const [graph] = manifest.graphs;
    expect(graph!.inputs.map(({ name }) => name)).toEqual([
      ...['pcm', 'offset', 'exec_mask', 'forced_text', 'forced_codes'],
      ...['text_temperature', 'text_top_k', 'text_noise'],
    ]);
    expect(graph!.outputs.map(({ name }) => name)).toEqual([
      ...['text_token', 'frame_tokens', 'pauses', 'hidden', 'text_logits', 'user_codes'],
    ]);
    expect(await readModelKind(checkpoint)).toBe('stt');
  });

  test('gives probabilities of pauses', () => {
    for (const { pauses } of alone) {
      for (let head = 0; head < 3; head += 1) {
        const classes = pauses!.slice(5 * head, 5 * head + 5);
        expect(classes.every((p) => p > 0 && p < 1)).toBe(true);
        expect(classes.reduce((sum, p) => sum + p)).toBeCloseTo(1, 6);
      }
    }
  });

  test('hears the same in a row among others and between pauses of that row', async () => {
    const session = await GraphSession.open(built, 'frame', ROWS);
    const noise = uniform(99);
    let heard = 0;
    for (let tick = 0; heard < FRAMES; tick += 1) {
      const runs = tick % 3 !== 1;
      const other = randomFloats(noise, FRAME_SAMPLES);
      const pcm = Float32Array.from([...other, ...(runs ? speech[heard]! : other)]);
      const result = await session.step({
        ...greedyFeed(session.graph, 0, pcm),
        offset: [tick, heard],
        exec_mask: [true, runs],
      });
      if (!runs) continue;
      const outputs = outputsOf(session, result, 1);
      for (const [name, values] of Object.entries(alone[heard]!)) {
        if (name.endsWith('token') || name.endsWith('tokens') || name === 'user_codes') {
          expect(outputs[name], `${name} ${heard}`).toEqual(values);
        } else expect(largestDifference(outputs[name]!, values), name).toBeLessThan(1e-5);
      }
      heard += 1;
    }
    await session.close();
  });

  test.each(LAYOUTS)(
    'in the layout %s gives what its numbers give as plain float32',
    async (layout) => {
      const from = await random(`wide-${layout}`, WIDE);
      const [stored, plain] = [join(directory, layout), join(directory, `${layout}-plain`)];
      writeLayout(from, { layout, stored, plain });
      const outputs: number[][] = [];
      for (const folder of [stored, plain]) {
        const session = await GraphSession.open(await build(folder), 'frame', 1);
        const values: number[] = [];
        for (const [frame, pcm] of speech.entries()) {
          const result = await session.step(greedyFeed(session.graph, frame, pcm));
          values.push(...Array.from(result['pauses']!, Number));
          values.push(...Array.from(result['text_logits']!, Number));
        }
        await session.close();
        outputs.push(values);
      }
      expect(normalizedError(outputs[0]!, outputs[1]!)).toBeLessThan(1e-9);
    },
  );

  test('without pause heads has no such output', async () => {
    const { manifest } = await build(await random('headless', { extra_heads_num_heads: 0 }));
    expect(manifest.pauses).toBeNull();
    expect(manifest.graphs[0]!.outputs.map(({ name }) => name)).not.toContain('pauses');
  });

  test('has the pause heads of its weights where the configuration does not tell', async () => {
    const folder = await random('unsaid', { extra_heads_dim: 6 });
    const path = join(folder, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const { extra_heads_num_heads: heads, extra_heads_dim: classes, ...unsaid } = config;
    writeFileSync(path, JSON.stringify(unsaid));
    const { manifest } = await build(folder);
    expect(manifest.pauses).toEqual({ heads, classes, horizonsSeconds: null });
  });

  test('without the weights of a head that it promises is refused by name', async () => {
    const folder = await random('beheaded');
    const path = join(folder, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8')) as object;
    writeFileSync(path, JSON.stringify({ ...config, extra_heads_num_heads: 4 }));
    const built = build(folder);
    await expect(built).rejects.toThrow(CheckpointError);
    await expect(built).rejects.toThrow(/model\.safetensors.*extra_heads\.3\.weight/);
  });
});
