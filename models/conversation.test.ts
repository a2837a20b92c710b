/**
 * What must hold for conversations whatever the checkpoint: rows do not influence each other, a row
 * that pauses goes on where it was, a row that starts anew is as good as new, forced tokens win.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildModel, type KeyValueWish } from './build.ts';
import { generateCheckpoint } from './generate/generate-checkpoint.ts';
import type { ModelManifest } from './manifest.ts';
import { GraphSession, greedyFeed, type Feed } from './test-support/graph-session.ts';
import { randomFloats, uniform } from './test-support/random.ts';
import { UNUSUAL_ARCHITECTURE, UNUSUAL_TRANSLATION } from './test-support/unusual-architecture.ts';

const FRAME_SAMPLES = 1920;
const ROWS = 3;
/** Beyond every context and delay of the checkpoints, the demo's temporal context apart. */
const FRAMES = 14;

const directory = mkdtempSync(join(tmpdir(), 'moshi-conversation-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const unusual = join(directory, 'unusual');
const unusualSeparate = join(directory, 'unusual-separate');
const guided = join(directory, 'guided');
for (const [folder, spelling, architecture] of [
  [unusual, 'packed', UNUSUAL_ARCHITECTURE],
  [unusualSeparate, 'separate', UNUSUAL_ARCHITECTURE],
  [guided, 'packed', UNUSUAL_TRANSLATION],
] as const) {
  await generateCheckpoint({ architecture, seed: 21, directory: folder, spelling });
}

type Built = { directory: string; manifest: ModelManifest };
type Outputs = Record<string, number[]>;

function build(checkpoint: string, keyValueType: KeyValueWish = 'auto'): Promise<Built> {
  return buildModel({
    checkpoint,
    outputDirectory: join(directory, 'built'),
    batches: [ROWS],
    kinds: ['frame'],
    probes: true,
    keyValueType,
  });
}

/** The part of every output that belongs to `row`. */
function ofRow(
  session: GraphSession,
  result: Record<string, ArrayLike<unknown>>,
  row: number,
): Outputs {
  return Object.fromEntries(
    session.graph.outputs.map(({ name }) => {
      const all = Array.from(result[name]!, Number);
      const size = all.length / ROWS;
      return [name, all.slice(row * size, (row + 1) * size)];
    }),
  );
}

/** A sampling feed of all rows; row `r` hears `speech[r]` and is at `offsets[r]`. */
function feedOf(
  session: GraphSession,
  offsets: readonly number[],
  speech: readonly Float32Array[],
  runs: readonly boolean[],
): Feed {
  const noise = session.graph.inputs.find(({ name }) => name === 'audio_noise')!.shape;
  const perRow = noise.slice(1).reduce((product, size) => product * size, 1);
  const rowNoise = (offset: number, count: number): number[] => {
    const random = uniform(offset + 1);
    return Array.from({ length: count }, () => -Math.log(1 - random()));
  };
  const textWidth = session.graph.inputs.find(({ name }) => name === 'text_noise')!.shape[1]!;
  return {
    ...greedyFeed(session.graph, 0, Float32Array.from(speech.flatMap((row) => [...row]))),
    offset: offsets,
    exec_mask: runs,
    text_temperature: offsets.map(() => 0.8),
    audio_temperature: offsets.map(() => 0.7),
    text_top_k: offsets.map(() => 10),
    audio_top_k: offsets.map(() => 12),
    // Used by guided models alone: every row has its own.
    guidance: offsets.map((__, row) => 2 + row),
    condition_description: offsets.map((__, row) => row),
    condition_pace: offsets.map((__, row) => row % 2),
    text_noise: offsets.flatMap((offset) => rowNoise(offset, textWidth)),
    audio_noise: offsets.flatMap((offset) => rowNoise(offset + 1000, perRow)),
  };
}

describe.each([
  ['the demo', 'demo', 'auto'],
  ['a checkpoint of unusual sizes', unusual, 'auto'],
  ['a guided checkpoint', guided, 'auto'],
  ['a guided checkpoint with keys and values of 8 bits', guided, 'int8'],
] as const)('%s', (_, checkpoint, keyValueType) => {
  let built: Built;
  let session: GraphSession;
  let alone: Outputs[];
  const random = uniform(9);
  const speech = Array.from({ length: FRAMES }, () => randomFloats(random, FRAME_SAMPLES, 0.3));
  const silence = new Float32Array(FRAME_SAMPLES);

  beforeAll(async () => {
    built = await build(checkpoint, keyValueType);
    session = await GraphSession.open(built, 'frame', ROWS);
    // Row 1 talks while the others never run.
    alone = [];
    for (let frame = 0; frame < FRAMES; frame += 1) {
      const pcm = [silence, speech[frame]!, silence];
      const feed = feedOf(session, [0, frame, 0], pcm, [false, true, false]);
      alone.push(ofRow(session, await session.step(feed), 1));
    }
  });
  afterAll(() => session.close());

  test('gives finite numbers, silence and no tokens before the delay, valid tokens after it', () => {
    const { maxDelay, audioCard } = built.manifest;
    alone.forEach((outputs, frame) => {
      for (const [name, values] of Object.entries(outputs)) {
        expect(values.every(Number.isFinite), name).toBe(true);
      }
      const codes = outputs['frame_tokens']!.slice(1);
      if (frame < maxDelay) {
        expect(codes.every((code) => code === -2)).toBe(true);
        expect(outputs['pcm_out']!.every((sample) => sample === 0)).toBe(true);
      } else {
        expect(codes.every((code) => code >= 0 && code < audioCard)).toBe(true);
        expect(outputs['pcm_out']!.some((sample) => sample !== 0)).toBe(true);
      }
    });
  });

  test('gives a row the same bits among other conversations as alone', async () => {
    session.reset();
    const other = uniform(77);
    for (let frame = 0; frame < FRAMES; frame += 1) {
      const pcm = [
        randomFloats(other, FRAME_SAMPLES),
        speech[frame]!,
        randomFloats(other, FRAME_SAMPLES),
      ];
      const result = await session.step(
        feedOf(session, [frame, frame, frame], pcm, [true, true, true]),
      );
      expect(ofRow(session, result, 1), `frame ${frame}`).toEqual(alone[frame]);
    }
  });

  test('goes on with the same bits after pauses in which others run', async () => {
    session.reset();
    const other = uniform(78);
    let offset = 0;
    for (let tick = 0; offset < FRAMES; tick += 1) {
      const runs = tick % 3 !== 1;
      const noise = randomFloats(other, FRAME_SAMPLES);
      const pcm = [noise, runs ? speech[offset]! : noise, silence];
      const result = await session.step(
        feedOf(session, [tick, offset, 0], pcm, [true, runs, false]),
      );
      if (!runs) continue;
      expect(ofRow(session, result, 1), `frame ${offset}`).toEqual(alone[offset]);
      offset += 1;
    }
  });

  test('starts a new conversation in a used row as if it were new', async () => {
    // The row has talked in the tests before; zeroed states and offset 0 must suffice.
    session.resetRow(1);
    for (let frame = 0; frame < FRAMES; frame += 1) {
      const pcm = [silence, speech[frame]!, silence];
      const feed = feedOf(session, [99, frame, 99], pcm, [true, true, true]);
      const outputs = ofRow(session, await session.step(feed), 1);
      expect(outputs, `frame ${frame}`).toEqual(alone[frame]);
    }
  });

  test('lets forced text and codes replace what it would say and hear', async () => {
    session.reset();
    const inputs = session.graph.inputs.find(({ name }) => name === 'forced_codes')!;
    const codebooks = inputs.shape[1]!;
    const forced = Array.from({ length: codebooks }, (_unused, index) => (index * 3 + 1) % 20);
    const first = await session.step({
      ...feedOf(session, [0, 0, 0], [silence, silence, silence], [true, true, true]),
      guidance: [2, 2, 2],
      condition_description: [1, 1, 1],
      condition_pace: [0, 0, 0],
      forced_text: [-1, 7, -1],
      forced_codes: [...forced.map(() => -1), ...forced, ...forced.map(() => -1)],
    });
    const outputs = ofRow(session, first, 1);
    const free = ofRow(session, first, 0);
    expect(outputs['text_token']).toEqual([7]);
    expect(outputs['user_codes']).toEqual(forced.slice(-outputs['user_codes']!.length));
    // The first step of the depth transformer knows the forced text, later ones the forced codes.
    expect(outputs['audio_logits']).not.toEqual(free['audio_logits']);
    expect(outputs['text_logits']).toEqual(ofRow(session, first, 2)['text_logits']);
  });
});

test('reads both spellings of attention weights and codebooks alike', async () => {
  const outputs: Outputs[] = [];
  const speech = randomFloats(uniform(4), FRAME_SAMPLES, 0.3);
  for (const checkpoint of [unusual, unusualSeparate]) {
    const session = await GraphSession.open(await build(checkpoint), 'frame', ROWS);
    for (let frame = 0; frame < 3; frame += 1) {
      const result = await session.step(
        feedOf(session, [frame, frame, frame], [speech, speech, speech], [true, true, true]),
      );
      outputs.push(ofRow(session, result, 0));
    }
    await session.close();
  }
  expect(outputs.slice(3)).toEqual(outputs.slice(0, 3));
});
