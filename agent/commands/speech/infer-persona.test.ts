/** Voices and roles on the command line: what NVIDIA's PyTorch code recorded, and what is refused. */
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { create } from 'tar';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pino } from 'pino';
import { SafetensorsFile } from '../../../models/checkpoints/safetensors.ts';
import { readBfloat16Rows } from '../../../models/test-support/bfloat16-rows.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import {
  readRecordedTensors,
  type RecordedTensor,
} from '../../../models/test-support/recorded-tensors.ts';
import { torchArchive } from '../../../models/test-support/write-torch-archive.ts';
import { loadConfig, REPOSITORY_DIRECTORY } from '../../config.ts';
import type { CommandContext } from '../command-context.ts';
import { runInfer, type InferOptions, type InferTokens } from './infer.ts';
import { buildGraphs } from '../model-for-command.ts';
import { SystemPrompts } from '../prompts/system-prompts.ts';
import { writeWav } from '../wav/wav.ts';

const PROMPT = 'You are a wise and friendly teacher.';

const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-persona-'));
afterAll(() => rm(folder, { recursive: true }));
const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('personaplex', folder, others);

const file = (name: string): string => path.join(folder, name);

function contextFor(model: string): CommandContext {
  const environment = { MOSHI_MODEL: model, MOSHI_CACHE_DIRECTORY: file('cache') };
  return {
    config: loadConfig(environment),
    environment,
    logger: pino({ level: 'silent' }),
    print: () => undefined,
    remark: () => undefined,
  };
}

async function infer(
  model: string,
  options: Partial<InferOptions> & { input: string },
): Promise<InferTokens> {
  const { readFile } = await import('node:fs/promises');
  await runInfer(contextFor(model), {
    output: file('out.wav'),
    tokens: file('t.json'),
    greedy: true,
    seed: undefined,
    conditions: {},
    voice: undefined,
    voiceLoudness: null,
    prompt: undefined,
    say: undefined,
    tailSeconds: 0,
    ...options,
  });
  return JSON.parse(await readFile(file('t.json'), 'utf8')) as InferTokens;
}

const columns = ({ text, audio }: InferTokens): number[][] =>
  text.map((token, index) => [token, ...(audio[index] ?? [])]);

describe.each(recordings)('%s', (title, checkpoint) => {
  let recorded: Record<string, RecordedTensor>;
  let input: string;
  let voice: string;
  const byFrame = (name: string): number[][] => {
    const { data, shape } = recorded[name]!;
    return Array.from({ length: shape[1]! }, (_, column) =>
      Array.from({ length: shape[0]! }, (__, row) => data[row * shape[1]! + column]!),
    );
  };
  const writeRecorded = async (name: string): Promise<string> => {
    const samples = Float32Array.from(recorded[name]!.data);
    await writeWav(file(`${name}.wav`), { sampleRate: 24_000, samples }, 'float32');
    return file(`${name}.wav`);
  };

  beforeAll(async () => {
    recorded = readRecordedTensors(path.join(checkpoint, 'expected.safetensors'));
    input = await writeRecorded('input_pcm');
    voice = await writeRecorded('voice_pcm');
  });

  test('gives the recorded tokens with voice and prompt', async () => {
    const tokens = await infer(checkpoint, { input, voice, prompt: PROMPT });
    expect(tokens.frames).toBe(60);
    expect(columns(tokens)).toEqual(byFrame('tokens'));
  });

  test('gives the same tokens with the voice as NVIDIA publishes voices, by file and by name', async () => {
    const bytes = await publishedVoice(byFrame('voice_codes'));
    await writeFile(file('NATF9.pt'), bytes);
    const tokens = await infer(checkpoint, { input, voice: file('NATF9.pt'), prompt: PROMPT });
    expect(columns(tokens)).toEqual(byFrame('tokens'));
    const model = file(`model-${title}`);
    await cp(checkpoint, model, { recursive: true, filter: (name) => !name.includes('expected') });
    await mkdir(file('voices'), { recursive: true });
    await writeFile(file('voices/NATF9.pt'), bytes);
    await create({ gzip: true, cwd: folder, file: path.join(model, 'voices.tgz') }, ['voices']);
    const named = await infer(model, { input, voice: 'NATF9', prompt: PROMPT });
    expect(columns(named)).toEqual(byFrame('tokens'));
    await expect(infer(model, { input, voice: 'NATF0' })).rejects.toThrow(
      'there is no voice "NATF0": this model has NATF9',
    );
  });

  test('finds whom callers meet by name alone, and somebody where nobody has chosen', async () => {
    const model = file(`${title} with voices`);
    await cp(checkpoint, model, { recursive: true, filter: (name) => !name.includes('expected') });
    await mkdir(path.join(model, 'voices'));
    await cp(voice, path.join(model, 'voices/anna.wav'));
    await cp(voice, path.join(model, 'voices/NATF2.wav'));
    const context = contextFor(model);
    const prompts = (await SystemPrompts.open(
      context,
      await buildGraphs(context, ['frame'], [1]),
    ))!;
    const chosen = await prompts.make({ voice: 'anna', text: 'Be kind.' });
    expect((await prompts.make({ voice: 'NATF2', text: 'Be kind.' })).key).toBe(chosen.key);
    expect((await prompts.make({ text: 'Be kind.' })).key).toBe(chosen.key);
    const teacher = await prompts.make({});
    expect(teacher.promptSteps).toBeGreaterThan(chosen.promptSteps);
    expect((await prompts.make({ text: '' })).promptSteps).toBe(
      byFrame('voice_codes').length + 6 + 6,
    );
    for (const name of ['bob', '../voices/anna', 'anna.wav', voice]) {
      await expect(prompts.make({ voice: name })).rejects.toThrow('this model has NATF2, anna');
    }
    await expect(prompts.make({ text: 'no '.repeat(1_001) })).rejects.toThrow(
      /the prompt has \d+ tokens/,
    );
  });

  test('does without a voice, without a text, and with a louder voice', async () => {
    const answers = [
      await infer(checkpoint, { input }),
      await infer(checkpoint, { input, voice }),
      await infer(checkpoint, { input, voice, voiceLoudness: -24 }),
      await infer(checkpoint, { input, prompt: ' ' }),
    ].map((tokens) => JSON.stringify(columns(tokens)));
    expect(answers[3]).toBe(answers[0]);
    expect(new Set(answers).size).toBe(3);
  });

  test('refuses what is no voice', async () => {
    const silence = { sampleRate: 24_000, samples: new Float32Array(24_000) };
    await writeWav(file('silence.wav'), silence);
    await writeFile(file('broken.pt'), 'no archive');
    await expect(
      infer(checkpoint, { input, voice: file('silence.wav'), voiceLoudness: -24 }),
    ).rejects.toThrow('silence.wav cannot be measured: it is silent');
    await expect(infer(checkpoint, { input, voice: file('broken.pt') })).rejects.toThrow(
      'broken.pt as a file of torch.save: it is no ZIP archive',
    );
    await expect(infer(checkpoint, { input, voice: 'somebody' })).rejects.toThrow(
      'there is no voice "somebody": this model has none, put recordings',
    );
  });

  /** What the reference would have saved after it was prompted with these codes [frames][8]. */
  async function publishedVoice(codes: number[][]): Promise<Uint8Array> {
    const weights = await SafetensorsFile.open(path.join(checkpoint, 'model.safetensors'));
    const tone = [430, 1268, 381, 1611, 1095, 1495, 56, 472];
    const delays = Array.from({ length: 17 }, (_, stream) =>
      stream % 8 === 1 || stream === 0 ? 0 : 1,
    );
    const initial = delays.map((_, stream) => (stream === 0 ? 512 : 2048));
    const tokenAt = (stream: number, position: number): number => {
      const frame = position - delays[stream]!;
      if (position <= delays[stream]! || frame >= codes.length) return initial[stream]!;
      if (stream === 0) return 3;
      return stream <= 8 ? codes[frame]![stream - 1]! : tone[stream - 9]!;
    };
    const tables = await Promise.all(
      delays.map((_, stream) =>
        readBfloat16Rows(weights, stream === 0 ? 'text_emb.weight' : `emb.${stream - 1}.weight`),
      ),
    );
    const width = 32;
    const rows = codes.length - 1;
    const sums = Array.from({ length: rows }, (_, position) =>
      Array.from({ length: width }, (__, column) =>
        tables.reduce((sum, table, stream) => sum + table[tokenAt(stream, position)]![column]!, 0),
      ),
    );
    const ring = delays.map((_, stream) => {
      const held = Array<number>(4).fill(7);
      for (const position of [rows, rows + 1]) {
        // Of the newest position only the late codes have been given.
        if (position === rows || delays[stream] === 1)
          held[position % 4] = tokenAt(stream, position);
      }
      return held;
    });
    return torchArchive({
      embeddings: { shape: [rows, 1, 1, width], storage: 'FloatStorage', values: sums.flat() },
      cache: { shape: [1, 17, 4], storage: 'LongStorage', values: ring.flat() },
    });
  }
});

test('a model that takes no voice says so', async () => {
  const input = path.join(REPOSITORY_DIRECTORY, 'models/fixtures/audio/a.wav');
  await expect(infer('demo', { input, prompt: PROMPT })).rejects.toThrow(
    'the model demo takes neither voice nor prompt',
  );
});
