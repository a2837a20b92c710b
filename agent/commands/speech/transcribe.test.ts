/** `transcribe` as a person calls it, and what other commands say to a model that only listens. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateCheckpoint } from '../../../models/generate/generate-checkpoint.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import {
  largestDifference,
  readRecordedTensors,
} from '../../../models/test-support/recorded-tensors.ts';
import { UNUSUAL_TRANSCRIPTION } from '../../../models/test-support/unusual-architecture.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { runCommandLine, type Outcome } from '../../testing/command-line.ts';
import type { Transcript } from './transcribe.ts';
import { writeWav } from '../wav/wav.ts';

const SPEECH = path.join(REPOSITORY_DIRECTORY, 'models/fixtures/audio/a.wav');

const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-transcribe-'));
const listener = path.join(folder, 'listener');
beforeAll(async () => {
  await generateCheckpoint({ architecture: UNUSUAL_TRANSCRIPTION, seed: 23, directory: listener });
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function moshi(args: string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const cache = path.join(folder, 'cache');
  return runCommandLine(args, { MOSHI_CACHE_DIRECTORY: cache, ...environment });
}

async function transcript(name: string): Promise<Transcript> {
  return JSON.parse(await readFile(path.join(folder, name), 'utf8')) as Transcript;
}

const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('stt', folder, others);

test.each(recordings)('%s gives its recorded tokens and pauses', async (_, checkpoint) => {
  const recorded = readRecordedTensors(path.join(checkpoint, 'expected.safetensors'));
  const input = path.join(folder, 'in.wav');
  const samples = Float32Array.from(recorded['input_pcm']!.data);
  await writeWav(input, { sampleRate: 24_000, samples }, 'float32');
  const outcome = await moshi([
    ...['transcribe', '--model', checkpoint, '--in', input],
    ...['--json', path.join(folder, 't.json'), '--device', 'cpu'],
  ]);
  expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
  const { tokens, vad } = await transcript('t.json');
  expect(tokens).toEqual(Array.from(recorded['tokens']!.data));
  const { data, shape } = recorded['vad']!;
  const classes = shape[2]!;
  const pauses = data.filter((_, index) => index % classes === 0);
  expect(largestDifference(vad.flat(), pauses)).toBeLessThan(1e-5);
});

test('prints the words it writes with their times', async () => {
  const outcome = await moshi([
    ...['transcribe', '--model', listener, '--in', SPEECH],
    ...['--json', path.join(folder, 't.json')],
  ]);
  expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
  const { tokens, vad, words, pauses } = await transcript('t.json');
  // 5.362 s of sound, 0.1 s of silence before it and 1.33 s after it, and a step that hears nothing.
  expect(tokens).toHaveLength(Math.floor((5.362 + 0.1 + 1.33) / 0.08) + 1);
  expect(vad).toHaveLength(tokens.length);
  expect(vad.every((heads) => heads.length === 3)).toBe(true);
  // Nobody has said what the horizons of three heads are.
  expect(pauses).toEqual([]);
  expect(words.length).toBeGreaterThan(0);
  expect(outcome.stdout).toBe(`${words.map(({ text }) => text).join(' ')}\n`);
  let lastStartMs = 0;
  for (const { text, startMs, endMs } of words) {
    expect(text.trim()).toBe(text);
    expect(startMs).toBeGreaterThanOrEqual(lastStartMs);
    expect(endMs).toBeGreaterThanOrEqual(startMs);
    lastStartMs = startMs;
  }
});

test.each(['what-is-your-name', 'tell-me-a-joke', 'count-to-five', 'say-the-alphabet'])(
  'the demo’s transcriber writes down “%s” and hears its end',
  async (question) => {
    const input = path.join(REPOSITORY_DIRECTORY, `agent/testing/questions/${question}.wav`);
    const output = path.join(folder, `${question}.json`);
    const outcome = await moshi([
      ...['transcribe', '--model', 'demo-transcriber', '--in', input, '--json', output],
    ]);
    expect(outcome).toMatchObject({ exitCode: 0, stdout: `${question.replaceAll('-', ' ')}\n` });
    const { pauses } = await transcript(`${question}.json`);
    expect(pauses).toHaveLength(1);
  },
);

test('codec works with a model that only listens', async () => {
  const outcome = await moshi([
    ...['codec', '--model', listener, '--in', SPEECH, '--codes', path.join(folder, 'c.json')],
    ...['--out', path.join(folder, 'out.wav')],
  ]);
  expect(outcome).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
});

describe('says in one line what to do about', () => {
  test.each([
    [
      'a model that converses',
      ['transcribe', '--model', 'demo', '--in', SPEECH],
      /the model demo is of the kind "moshi" and does not transcribe.*stt-1b-en_fr or stt-2\.6b-en/,
    ],
    [
      'infer with a model that only listens',
      ['infer', '--model', 'LISTENER', '--in', SPEECH, '--out', '/tmp/o.wav'],
      /listener only listens: it transcribes .*transcribe.* and cannot converse/,
    ],
    ['a file that is not there', ['transcribe', '--in', '/no/such.wav'], /\/no\/such\.wav/],
    [
      'a folder that cannot be written to',
      ['transcribe', '--in', SPEECH, '--json', '/no/such/t.json'],
      /\/no\/such\/t\.json cannot be written/,
    ],
  ])('%s', async (_name, args, message) => {
    const outcome = await moshi(args.map((arg) => (arg === 'LISTENER' ? listener : arg)));
    expect(outcome).toMatchObject({ exitCode: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/^error: [^\n]+\n$/);
    expect(outcome.stderr).toMatch(message);
  });

  test.each([
    [
      'only listens, in the place of one that speaks',
      { MOSHI_MODEL: listener },
      /listener only listens/,
    ],
    [
      'speaks, in the place of one that transcribes',
      { MOSHI_TRANSCRIBER: 'demo' },
      /demo .* does not/,
    ],
  ])('build and worker with a model that %s', async (_name, environment, message) => {
    const livekit = {
      LIVEKIT_URL: 'ws://127.0.0.1:1',
      LIVEKIT_API_KEY: 'key',
      LIVEKIT_API_SECRET: 'an example of a secret that is long enough',
    };
    for (const command of ['build', 'worker']) {
      const outcome = await moshi([command], { ...livekit, ...environment });
      expect(outcome).toMatchObject({ exitCode: 1, stdout: '' });
      expect(outcome.stderr).toMatch(/^error: [^\n]+\n$/);
      expect(outcome.stderr).toMatch(message);
    }
  });

  test('a recording shorter than a frame', async () => {
    const input = path.join(folder, 'short.wav');
    await writeWav(input, { sampleRate: 8_000, samples: new Float32Array(100) });
    const outcome = await moshi(['transcribe', '--model', listener, '--in', input]);
    expect(outcome).toMatchObject({ exitCode: 1, stdout: '' });
    expect(outcome.stderr).toContain('shorter than one frame of the model, 80 ms');
  });
});
