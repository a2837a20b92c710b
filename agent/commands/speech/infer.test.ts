/** The command line on files: exactly what the reference recorded, and what it says of bad input. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { DEMO_LINES } from '../../../models/test-support/demo-lines.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import {
  largestDifference,
  readRecordedTensors,
  type RecordedTensor,
} from '../../../models/test-support/recorded-tensors.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { runCommandLine, type Outcome } from '../../testing/command-line.ts';
import type { CodecCodes } from './codec.ts';
import type { InferTokens } from './infer.ts';
import { readWav, writeWav } from '../wav/wav.ts';

const DEMO = path.join(REPOSITORY_DIRECTORY, 'models/demo');
const SPEECH = path.join(REPOSITORY_DIRECTORY, 'models/fixtures/audio/a.wav');

const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-infer-'));
/** The fixture first; of the others those whose recording needs no rule for near-ties. */
const CHECKPOINTS = (
  await recordedCheckpoints('moshi', folder, process.env['MOSHI_TEST_CHECKPOINTS'])
)
  .map(([, checkpoint]) => checkpoint)
  .filter((checkpoint) => 'hidden' in recorded(checkpoint));
const [TINY = ''] = CHECKPOINTS;
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function moshi(...args: string[]): Promise<Outcome> {
  return runCommandLine(args, { MOSHI_CACHE_DIRECTORY: path.join(folder, 'cache') });
}

function file(name: string): string {
  return path.join(folder, name);
}

async function readJson<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(file(name), 'utf8')) as T;
}

function recorded(checkpoint: string): Record<string, RecordedTensor> {
  return readRecordedTensors(path.join(checkpoint, 'expected.safetensors'));
}

/** [columns, rows] of a recorded [rows, columns] tensor: one entry per frame. */
function byFrame(tensor: RecordedTensor | undefined): number[][] {
  const { data, shape } = tensor ?? { data: new Float64Array(), shape: [] };
  const [rows = 0, columns = 0] = shape;
  return Array.from({ length: columns }, (_, column) =>
    Array.from({ length: rows }, (_unused, row) => data[row * columns + column] ?? Number.NaN),
  );
}

function columnsOf(tokens: InferTokens): number[][] {
  return tokens.text.map((text, index) => [text, ...(tokens.audio[index] ?? [])]);
}

async function writeInput(name: string, tensor: RecordedTensor | undefined): Promise<string> {
  const samples = Float32Array.from(tensor?.data ?? []);
  await writeWav(file(name), { sampleRate: 24_000, samples }, 'float32');
  return file(name);
}

test('infer answers the question of the demo model with the recorded tokens', async () => {
  const outcome = await moshi(
    ...['infer', '--model', 'demo', '--in', path.join(DEMO, 'samples/question.wav')],
    ...['--out', file('answer.wav'), '--tokens', file('t.json'), '--greedy'],
  );
  expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
  const tokens = await readJson<InferTokens>('t.json');
  const expected = recorded(DEMO);
  expect(tokens.frames).toBe(99);
  expect(columnsOf(tokens)).toEqual(byFrame(expected['tokens']));
  expect(tokens.transcript).toContain(DEMO_LINES.name);
  expect(outcome.stdout.trim()).toBe(tokens.transcript);
  const { sampleRate, samples } = await readWav(file('answer.wav'));
  expect(sampleRate).toBe(24_000);
  // 16-bit steps of a WAV are 3e-5.
  expect(largestDifference(samples, expected['output_pcm']?.data ?? [])).toBeLessThan(1e-4);
});

describe.each(CHECKPOINTS)('the checkpoint %s', (checkpoint) => {
  test('gives its recorded tokens through infer', async () => {
    const input = await writeInput('in.wav', recorded(checkpoint)['input_pcm']);
    const outcome = await moshi(
      ...['infer', '--model', checkpoint, '--in', input, '--out', file('out.wav')],
      ...['--tokens', file('t.json'), '--greedy', '--device', 'cpu'],
    );
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    const tokens = await readJson<InferTokens>('t.json');
    expect(columnsOf(tokens)).toEqual(byFrame(recorded(checkpoint)['tokens']));
  });

  test('gives its recorded codes and their sound through codec', async () => {
    const { input_pcm: pcm, mimi_codes: codes, mimi_decoded: sound } = recorded(checkpoint);
    const outcome = await moshi(
      ...['codec', '--model', checkpoint, '--in', await writeInput('in.wav', pcm)],
      ...['--codes', file('c.json'), '--out', file('out.wav')],
    );
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    const written = await readJson<CodecCodes>('c.json');
    expect(written.codes).toEqual(byFrame(codes));
    expect(written.frames).toBe(written.codes.length);
    if (sound !== undefined) {
      const clipped = Array.from(sound.data, (x) => Math.max(-1, Math.min(1, x)));
      const { samples } = await readWav(file('out.wav'));
      const end = samples.slice(-clipped.length);
      expect(largestDifference(end, clipped)).toBeLessThan(1e-4);
    }
  });
});

test('infer makes the demo model say a text, longer than what it hears', async () => {
  await writeWav(file('quiet.wav'), { sampleRate: 24_000, samples: new Float32Array(12_000) });
  const outcome = await moshi(
    ...['infer', '--model', 'demo', '--in', file('quiet.wav'), '--out', file('o.wav')],
    ...['--greedy', '--say', DEMO_LINES.greet],
  );
  expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
  expect(outcome.stdout).toBe(`${DEMO_LINES.greet}\n`);
  const { samples } = await readWav(file('o.wav'));
  // It says it in about five seconds, and nobody waits for its greatest patience.
  expect(samples.length / 24_000).toBeGreaterThan(3);
  expect(samples.length / 24_000).toBeLessThan(9);
});

test('infer hears speech at 22.05 kHz', async () => {
  const outcome = await moshi(
    ...['infer', '--model', TINY, '--in', SPEECH, '--out', file('o.wav')],
    ...['--tokens', file('t.json'), '--seed', '7'],
  );
  expect(outcome.exitCode).toBe(0);
  const tokens = await readJson<InferTokens>('t.json');
  // 5.362 s are 67 whole frames; the last part is dropped, the first step returns nothing.
  expect(tokens.frames).toBe(66);
});

test('infer with the same seed says the same', async () => {
  const run = async (seed: string): Promise<InferTokens> => {
    const { exitCode } = await moshi(
      ...['infer', '--model', TINY, '--in', SPEECH, '--out', file('o.wav')],
      ...['--tokens', file('t.json'), '--seed', seed],
    );
    expect(exitCode).toBe(0);
    return readJson<InferTokens>('t.json');
  };
  const first = await run('1');
  expect(await run('1')).toEqual(first);
  expect(await run('2')).not.toEqual(first);
});

describe('bad input gets one line that says what to do', () => {
  test.each([
    ['an unknown model', ['--model', 'nobody', '--in', SPEECH], /no model "nobody"/],
    ['a file that is not there', ['--model', TINY, '--in', '/no/such.wav'], /\/no\/such\.wav/],
    ['a file that is no WAV', ['--model', TINY, '--in', import.meta.filename], /infer\.test\.ts/],
    ['nothing to say', ['--in', SPEECH, '--say', ''], /nothing to say: the text is empty/],
    [
      'too much to say',
      ['--in', SPEECH, '--say', 'one two '.repeat(600)],
      /tokens, 1000 are the most: make it shorter/,
    ],
    [
      'a folder that cannot be written to',
      ['--model', TINY, '--in', SPEECH, '--tokens', '/no/such/t.json'],
      /\/no\/such\/t\.json cannot be written/,
    ],
    [
      'a folder instead of a file to write',
      ['--model', TINY, '--in', SPEECH, '--tokens', os.tmpdir()],
      /cannot be written: it is a folder/,
    ],
  ])('%s', async (_name, args, message) => {
    const outcome = await moshi('infer', '--out', file('o.wav'), ...args);
    expect(outcome.exitCode).toBe(1);
    expect(outcome.stderr).toMatch(/^error: [^\n]+\n$/);
    expect(outcome.stderr).toMatch(message);
  });

  test('a recording shorter than a frame', async () => {
    await writeWav(file('short.wav'), { sampleRate: 8_000, samples: new Float32Array(100) });
    const outcome = await moshi(
      ...['infer', '--model', TINY, '--in', file('short.wav'), '--out', file('o.wav')],
    );
    expect(outcome).toMatchObject({ exitCode: 1, stdout: '' });
    expect(outcome.stderr).toContain('shorter than one frame of the model, 80 ms');
  });

  test('a checkpoint without its configuration', async () => {
    const { cp } = await import('node:fs/promises');
    await cp(TINY, file('bare'), { recursive: true });
    await rm(path.join(file('bare'), 'config.json'));
    const outcome = await moshi(
      ...['infer', '--model', file('bare'), '--in', SPEECH, '--out', file('o.wav')],
    );
    expect(outcome.exitCode).toBe(1);
    expect(outcome.stderr).toMatch(/^error: [^\n]*there is no \/[^\n]*config\.json[^\n]+\n$/);
  });

  test('a truncated checkpoint', async () => {
    const { cp } = await import('node:fs/promises');
    await cp(TINY, file('broken'), { recursive: true });
    const weights = await readFile(path.join(TINY, 'model.safetensors'));
    await writeFile(path.join(file('broken'), 'model.safetensors'), weights.subarray(0, 5_000));
    const outcome = await moshi(
      ...['infer', '--model', file('broken'), '--in', SPEECH, '--out', file('o.wav')],
    );
    expect(outcome.exitCode).toBe(1);
    expect(outcome.stderr).toMatch(/^error: [^\n]*model\.safetensors[^\n]+\n$/);
  });
});

describe('the command line', () => {
  test.each([[['--help']], [['infer', '--help']], [['models', '--help']]])(
    'explains itself: %j',
    async (args) => {
      const outcome = await moshi(...args);
      expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
      expect(outcome.stdout).toContain('Usage: moshi');
    },
  );

  test.each([
    [[]],
    [['sing']],
    [['infer']],
    [['infer', '--in', 'a.wav', '--out', 'b.wav', '--sing']],
    [['infer', '--in', 'a.wav', '--out', 'b.wav', '--seed', 'x']],
    [['infer', '--in', 'a.wav', '--out', 'b.wav', '--device', 'abacus']],
    [['codec', '--in', 'a.wav']],
    [['bench', 'singing']],
  ])('answers wrong usage with exit code 2: %j', async (args) => {
    const outcome = await moshi(...args);
    expect(outcome.exitCode).toBe(2);
    expect(outcome.stdout).toBe('');
    expect(outcome.stderr).toMatch(/^(error: |Usage: )/);
  });

  test('tells programs what models there are', async () => {
    const outcome = await moshi('models', 'list', '--json');
    const models = JSON.parse(outcome.stdout) as { name: string }[];
    expect(models).toContainEqual(expect.objectContaining({ name: 'demo', directory: DEMO }));
    expect(models.map(({ name }) => name)).toContain('personaplex');
  });

  test('doctor finds what infer needs on this machine', async () => {
    const outcome = await moshi('doctor', '--json');
    const report = JSON.parse(outcome.stdout) as {
      findings: { name: string; status: string }[];
    };
    const status = Object.fromEntries(report.findings.map((f) => [f.name, f.status]));
    expect(status).toMatchObject({
      Node: 'ok',
      'ONNX Runtime': 'ok',
      'LiveKit client library': 'ok',
    });
    expect(['ok', 'warning']).toContain(status['model']);
  });
});
