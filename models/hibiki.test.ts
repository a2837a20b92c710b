/** Hibiki: conditions, guidance, and what it reads and hears when the speech ends. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel, CheckpointError } from './build.ts';
import { generateCheckpoint } from './generate/generate-checkpoint.ts';
import type { ModelManifest } from './manifest.ts';
import { GraphSession, greedyFeed, type Feed } from './test-support/graph-session.ts';
import { recordedCheckpoints } from './test-support/recorded-checkpoints.ts';
import {
  endLike,
  largestDifference,
  normalizedError,
  readRecordedTensors,
  type RecordedTensor,
} from './test-support/recorded-tensors.ts';
import { randomFloats, uniform } from './test-support/random.ts';
import { UNUSUAL_TRANSLATION } from './test-support/unusual-architecture.ts';

const FRAME_SAMPLES = 1920;

const directory = await mkdtemp(join(tmpdir(), 'moshi-hibiki-'));
afterAll(() => rm(directory, { recursive: true, force: true }));

type Built = { directory: string; manifest: ModelManifest };

const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('hibiki', directory, others);

/** Several steps of row 0, all tokens forced so that two models go the same way. */
async function converse(
  built: Built,
  feedOf: (step: number) => Feed,
  steps = 12,
): Promise<Record<string, number[]>> {
  const session = await GraphSession.open(built, 'frame', 1);
  const { generatedCodebooks, heardCodebooks, textCard, audioCard } = built.manifest;
  const random = uniform(31);
  const gathered: Record<string, number[]> = {};
  for (let step = 0; step < steps; step += 1) {
    const spoken = Array.from({ length: generatedCodebooks }, () =>
      Math.floor(random() * audioCard),
    );
    const result = await session.step({
      ...greedyFeed(session.graph, step, randomFloats(random, FRAME_SAMPLES, 0.3)),
      forced_text: [Math.floor(random() * textCard)],
      forced_codes: [...spoken, ...Array<number>(heardCodebooks).fill(-1)],
      ...feedOf(step),
    });
    for (const [name, values] of Object.entries(result)) {
      (gathered[name] ??= []).push(...Array.from(values, Number));
    }
  }
  await session.close();
  return gathered;
}

function frameOf({ data }: RecordedTensor, frame: number): Float32Array {
  return Float32Array.from(data.subarray(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES));
}

/** What the manifest says a conversation gets that asks for nothing. */
function defaults({ conditions, guidance }: ModelManifest, rows = 1): Feed {
  const filled = (value: number): number[] => Array<number>(rows).fill(value);
  return {
    ...(guidance === null ? {} : { guidance: filled(guidance) }),
    ...Object.fromEntries(
      conditions.map(({ name, default: choice }) => [`condition_${name}`, filled(choice)]),
    ),
  };
}

describe.each(recordings)('recorded %s', (_, checkpoint) => {
  test('a greedy translation gives the recorded tokens and voice', async () => {
    const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    const {
      input_pcm: input,
      tokens,
      output_pcm: voice,
    } = recorded as Record<'input_pcm' | 'tokens' | 'output_pcm', RecordedTensor>;
    const built: Built = await buildModel({
      checkpoint,
      outputDirectory: directory,
      batches: [1],
      kinds: ['frame'],
    });
    const session = await GraphSession.open(built, 'frame', 1);
    const [streams = 0, columns = 0] = tokens.shape;
    const pcm: number[] = [];
    const found: number[][] = [];
    const frames = input.data.length / FRAME_SAMPLES;
    // The first frame comes twice, as in the reference's run_inference.
    for (let step = 0; step <= frames; step += 1) {
      const result = await session.step({
        ...greedyFeed(session.graph, step, frameOf(input, Math.max(0, step - 1))),
        ...defaults(built.manifest),
      });
      if (step < built.manifest.maxDelay) continue;
      found.push(Array.from(result['frame_tokens']!, Number));
      pcm.push(...Array.from(result['pcm_out']!, Number));
    }
    await session.close();
    const expected = Array.from({ length: columns }, (__, column) =>
      Array.from({ length: streams }, (___, stream) => tokens.data[stream * columns + column]!),
    );
    expect(found).toEqual(expected);
    const end = endLike(pcm, voice);
    expect(normalizedError(end, voice.data)).toBeLessThan(1e-9);
    const peak = voice.data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1);
    expect(largestDifference(end, voice.data) / peak).toBeLessThan(1e-5);
  });
});

describe.each(['rope_concat', 'sin'])('conditions and guidance with positions %s', (position) => {
  let checkpoint: string;
  beforeAll(async () => {
    checkpoint = join(directory, position);
    const { config, mimi } = UNUSUAL_TRANSLATION;
    const architecture = { config: { ...config, positional_embedding: position }, mimi };
    await generateCheckpoint({ architecture, seed: 5, directory: checkpoint });
  });
  const build = (guidance?: number): Promise<Built> =>
    buildModel({
      checkpoint,
      outputDirectory: join(directory, 'built'),
      batches: [1],
      kinds: ['frame'],
      probes: true,
      ...(guidance !== undefined && { guidance }),
    });
  const VERY_GOOD = { condition_description: [3], condition_pace: [0] };
  const VERY_BAD = { condition_description: [0], condition_pace: [1] };

  test('the manifest tells values, defaults and the strength of the checkpoint', async () => {
    const { manifest } = await build();
    expect(manifest).toMatchObject({ kind: 'hibiki', guidance: 2.5, endOfStreamToken: 2 });
    expect(manifest.conditions).toEqual([
      { name: 'pace', values: ['very_good', 'very_bad'], default: 0 },
      { name: 'description', values: ['very_bad', 'bad', 'neutral', 'very_good'], default: 3 },
    ]);
    expect((await build(1)).manifest.guidance).toBeNull();
  });

  test('guidance makes null + strength · (conditioned - null) of what the two say alone', async () => {
    const plain = await build(1);
    const good = await converse(plain, () => VERY_GOOD);
    const bad = await converse(plain, () => VERY_BAD);
    for (const strength of [1, 2.5]) {
      const feed = { ...VERY_GOOD, guidance: [strength] };
      const guided = await converse(await build(), () => feed);
      for (const name of ['text_logits', 'audio_logits']) {
        const expected = bad[name]!.map((value, i) => value + strength * (good[name]![i]! - value));
        expect(normalizedError(guided[name]!, expected), name).toBeLessThan(1e-9);
        expect(normalizedError(bad[name]!, expected), name).toBeGreaterThan(1e-3);
      }
      expect(normalizedError(guided['hidden']!, good['hidden']!)).toBeLessThan(1e-9);
    }
  });

  test('the end of a text is read as padding, and spoken as what it is', async () => {
    const built = await build();
    const after = (token: number): Promise<Record<string, number[]>> =>
      converse(built, (step) => ({
        ...VERY_GOOD,
        guidance: [3],
        ...(step === 3 && { forced_text: [token] }),
      }));
    const [end, padding, other] = [await after(2), await after(3), await after(4)];
    expect(end['text_logits']).toEqual(padding['text_logits']);
    expect(end['text_logits']).not.toEqual(other['text_logits']);
    // The depth transformer's own table keeps the two apart.
    expect(end['audio_logits']).not.toEqual(padding['audio_logits']);
  });

  test('the encoder waits while all heard codes are forced, and only then', async () => {
    const built = await build(1);
    const { generatedCodebooks, heardCodebooks, audioCard } = built.manifest;
    const spoken = Array<number>(generatedCodebooks).fill(1);
    const random = uniform(8);
    const speech = Array.from({ length: 8 }, () => randomFloats(random, FRAME_SAMPLES, 0.3));
    const noise = randomFloats(random, FRAME_SAMPLES, 0.9);
    const heard = async (
      pcm: Float32Array[],
      forced: (step: number) => number[],
    ): Promise<number[][]> => {
      const { user_codes: codes } = await converse(
        built,
        (step) => ({ ...VERY_GOOD, pcm: pcm[step]!, forced_codes: [...spoken, ...forced(step)] }),
        pcm.length,
      );
      return pcm.map((_, step) => codes!.slice(step * heardCodebooks, (step + 1) * heardCodebooks));
    };
    const free = Array<number>(heardCodebooks).fill(-1);
    const all = Array<number>(heardCodebooks).fill(audioCard);
    const whole = await heard(speech, () => free);
    const interrupted = await heard(
      [...speech.slice(0, 4), noise, noise, ...speech.slice(4)],
      (step) => (step === 4 || step === 5 ? all : free),
    );
    expect(interrupted).toEqual([...whole.slice(0, 4), all, all, ...whole.slice(4)]);
    const partly = await heard([...speech.slice(0, 4), noise, ...speech.slice(4)], (step) =>
      step === 4 ? [3, ...free.slice(1)] : free,
    );
    expect(partly.slice(5)).not.toEqual(whole.slice(4));
  });
});

test('guidance of a model without conditions is refused', async () => {
  const outputDirectory = join(directory, 'built');
  const options = { checkpoint: 'demo', outputDirectory, batches: [1], kinds: ['frame' as const] };
  await expect(buildModel({ ...options, guidance: 3 })).rejects.toThrow(CheckpointError);
  await expect(buildModel({ ...options, guidance: 3 })).rejects.toThrow(
    /guidance 3 needs a model with conditions/,
  );
});
