/** `infer` with models that translate: conditions, guidance, and the end of a stream. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import { readMatrices } from '../../../models/test-support/layout-checkpoints.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import {
  largestDifference,
  readRecordedTensors,
  type RecordedTensor,
} from '../../../models/test-support/recorded-tensors.ts';
import { UNUSUAL_TRANSLATION } from '../../../models/test-support/unusual-architecture.ts';
import { writeSafetensors } from '../../../models/test-support/write-safetensors.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { runCommandLine, type Outcome } from '../../testing/command-line.ts';
import { inferSteps } from './infer-steps.ts';
import type { InferTokens } from './infer.ts';
import { readWav, writeWav } from '../wav/wav.ts';

const SPEECH = path.join(REPOSITORY_DIRECTORY, 'models/fixtures/audio/a.wav');
/** 5.362 s are 67 whole frames. */
const SPEECH_FRAMES = 67;
const END = 2;

const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-translation-'));
afterAll(() => rm(folder, { recursive: true }));

const file = (name: string): string => path.join(folder, name);

async function infer(
  checkpoint: string,
  ...args: string[]
): Promise<Outcome & { tokens: InferTokens | null }> {
  await rm(file('t.json'), { force: true });
  const outcome = await runCommandLine(
    [
      ...['infer', '--model', checkpoint, '--out', file('o.wav')],
      ...['--tokens', file('t.json'), '--greedy', ...args],
    ],
    { MOSHI_CACHE_DIRECTORY: file('cache') },
  );
  const tokens = existsSync(file('t.json'))
    ? (JSON.parse(await readFile(file('t.json'), 'utf8')) as InferTokens)
    : null;
  return { ...outcome, tokens };
}

test('a model that translates cannot be told what to say', async () => {
  await generateCheckpoint({
    architecture: UNUSUAL_TRANSLATION,
    seed: 4,
    directory: file('translation'),
  });
  const outcome = await infer(file('translation'), '--in', SPEECH, '--say', 'Good morning.');
  expect(outcome).toMatchObject({ exitCode: 1, tokens: null });
  expect(outcome.stderr).toMatch(/^error: [^\n]*cannot be told what to say: leave out --say/);
});

test('the first frame comes twice, then the end in place of codes, then silence', () => {
  const model = {
    endOfStreamToken: END,
    generatedCodebooks: 2,
    heardCodebooks: 3,
    audioCard: 9,
    frameSamples: 1920,
  } as const;
  const frames = [new Float32Array(1920).fill(0.1), new Float32Array(1920).fill(0.2)];
  const [first, second] = frames;
  const silence = new Float32Array(1920);
  expect(inferSteps(model, frames, 2)).toEqual([
    { pcm: first, isTail: false },
    { pcm: first, isTail: false },
    { pcm: second, isTail: false },
    { pcm: silence, isTail: true, forcedCodes: [-1, -1, 9, 9, 9] },
    { pcm: silence, isTail: true },
  ]);
  expect(inferSteps(model, frames, 0)).toHaveLength(3);
  expect(inferSteps({ ...model, endOfStreamToken: null }, frames, 2)).toEqual([
    { pcm: first, isTail: false },
    { pcm: second, isTail: false },
  ]);
});

/** A random checkpoint whose text head wants the end of the text, or never. */
async function checkpointWith(name: string, biasOfEnd: number): Promise<string> {
  const directory = file(name);
  await generateCheckpoint({ architecture: UNUSUAL_TRANSLATION, seed: 4, directory });
  const weights = path.join(directory, UNUSUAL_TRANSLATION.config.moshi_name);
  const tensors = readMatrices(weights);
  tensors['text_linear.bias']!.data[END] = biasOfEnd;
  const stored = Object.entries(tensors).map(
    ([tensor, matrix]) => [tensor, { ...matrix, type: 'BF16' as const }] as const,
  );
  writeSafetensors(weights, Object.fromEntries(stored));
  return directory;
}

describe('a model that ends its text at once', () => {
  test('is not believed before the speech is over, then ends the stream', async () => {
    const checkpoint = await checkpointWith('ends', 1000);
    const { exitCode, stderr, tokens } = await infer(checkpoint, '--in', SPEECH);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    // One step more than frames, and none for the first three, by which this model is late.
    expect(tokens?.frames).toBe(SPEECH_FRAMES + 1 - 3);
    expect(tokens?.text).toEqual(Array(SPEECH_FRAMES - 2).fill(END));
    expect(tokens?.tail?.text).toEqual([END]);
    expect(tokens?.tail?.audio).toHaveLength(1);
    const { samples } = await readWav(file('o.wav'));
    expect(samples).toHaveLength((SPEECH_FRAMES - 1) * 1920);
  });
});

describe('a model that never ends its text', () => {
  let checkpoint: string;
  beforeAll(async () => {
    checkpoint = await checkpointWith('goes-on', -1000);
  });

  test('is cut off after the time that --tail gives, with a remark', async () => {
    const { stderr, tokens } = await infer(checkpoint, '--in', SPEECH, '--tail', '0.4');
    expect(stderr).toContain('did not end within 0.4 s after the speech (--tail)');
    expect(tokens?.tail?.text).toHaveLength(5);
  });

  test('says something else under another condition or guidance', async () => {
    const said = [];
    for (const args of [
      [],
      ['--condition', 'description=bad', '--condition', 'pace=very_bad'],
      ['--guidance', '1'],
    ]) {
      const { exitCode, tokens } = await infer(checkpoint, '--in', SPEECH, '--tail', '0', ...args);
      expect(exitCode).toBe(0);
      said.push(JSON.stringify(tokens));
    }
    expect(new Set(said).size).toBe(said.length);
  });

  test.each([
    [['--condition', 'description=superb'], 1, /cannot be "superb"; it can be very_bad, bad/],
    [['--condition', 'good'], 2, /It must be name=value/],
    [['--guidance', 'much'], 1, /MOSHI_GUIDANCE is "much", must be a number/],
    [['--lora', '/no/such.safetensors'], 1, /\/no\/such\.safetensors/],
  ])('%o is refused', async (args, status, message) => {
    const { exitCode, stderr } = await infer(checkpoint, '--in', SPEECH, ...args);
    expect(exitCode).toBe(status);
    expect(stderr).toMatch(message);
  });
});

const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('hibiki', folder, others);

describe.each(recordings)('the checkpoint %s', (_name, checkpoint) => {
  test('gives its recorded tokens and voice through infer', async () => {
    const recorded = readRecordedTensors(path.join(checkpoint, 'expected.safetensors'));
    const {
      input_pcm: input,
      tokens: expected,
      output_pcm: voice,
    } = recorded as Record<'input_pcm' | 'tokens' | 'output_pcm', RecordedTensor>;
    const samples = Float32Array.from(input.data);
    await writeWav(file('in.wav'), { sampleRate: 24_000, samples }, 'float32');
    const { exitCode, tokens } = await infer(checkpoint, '--in', file('in.wav'), '--tail', '1');
    expect(exitCode).toBe(0);
    const [, columns = 0] = expected.shape;
    const found = tokens!.text.map((text, column) => [text, ...tokens!.audio[column]!]);
    expect(found).toEqual(
      Array.from({ length: columns }, (_unused, column) =>
        found[0]!.map((__, stream) => expected.data[stream * columns + column]),
      ),
    );
    const written = await readWav(file('o.wav'));
    const clipped = Array.from(voice.data, (sample) => Math.max(-1, Math.min(1, sample)));
    // 16-bit steps of a WAV are 3e-5; float32 moves samples of a hundred times full scale by more.
    const peak = voice.data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1);
    // A recording of the end alone ends where the speech does: so many columns in.
    const end = columns * 1920;
    const spoken = written.samples.slice(end - clipped.length, end);
    const difference = largestDifference(spoken, clipped);
    expect(difference).toBeLessThan(1e-4 + 1e-5 * peak);
  });
});
