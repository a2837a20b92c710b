/** A script in the mouth of the model that really talks. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { buildModel } from '../../../../models/build.ts';
import { DEMO_LINES } from '../../../../models/test-support/demo-lines.ts';
import { openTokenizer } from '../../../../models/tokenizer/tokenizer.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { openRunner, type FrameResult, type Runner } from '../runner.ts';
import { ScriptedSpeech } from './scripted-speech.ts';

const DEMO = join(import.meta.dirname, '../../../../models/demo');
const TEXT = `${DEMO_LINES.name} ${DEMO_LINES.count}`;
const SAMPLING = { textTemperature: 0.7, audioTemperature: 0.8 };
/** The demo says the text in 60. */
const FRAMES = 80;
const silence = new Float32Array(FRAME_SAMPLES);
let folder: string;
let runner: Runner;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-script-'));
  const { directory } = await buildModel({
    checkpoint: DEMO,
    outputDirectory: folder,
    batches: [2],
    kinds: ['frame'],
  });
  runner = await openRunner({ modelDirectory: directory, slots: 2 });
});
afterAll(async () => {
  runner.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function script(text: string): Promise<ScriptedSpeech> {
  const tokenizer = await openTokenizer(join(DEMO, 'tokenizer.model'));
  const { paddingToken, endOfPaddingToken } = runner.manifest;
  const model = { paddingToken, endOfPaddingToken, pieces: tokenizer.pieces };
  return new ScriptedSpeech(model, tokenizer.encode(text));
}

function loudness(frames: readonly FrameResult[]): number {
  const power = frames.flatMap(({ pcm }) => Array.from(pcm, (sample) => sample * sample));
  return Math.sqrt(power.reduce((sum, one) => sum + one, 0) / power.length);
}

test('a conversation says its script aloud and then is silent, and its neighbour is free', async () => {
  runner.start(1, { sampling: SAMPLING, seed: 3 });
  const alone = Array.from({ length: FRAMES }, () => runner.step([{ row: 1, pcm: silence }])[0]!);
  const own = await script(TEXT);
  expect(own.mostSteps).toBeLessThan(200);
  runner.start(0, { sampling: SAMPLING, seed: 4, script: own });
  runner.start(1, { sampling: SAMPLING, seed: 3 });
  const said: FrameResult[] = [];
  for (let frame = 0; frame < FRAMES; frame += 1) {
    const [first, second] = runner.step([0, 1].map((row) => ({ row, pcm: silence })));
    said.push(first!);
    expect(second, `frame ${frame}`).toEqual(alone[frame]);
  }
  expect(own.isDone).toBe(true);
  expect(
    said
      .map(({ text }) => text)
      .join('')
      .trim(),
  ).toBe(TEXT);
  expect(loudness(said.slice(0, 40))).toBeGreaterThan(0.02);
  expect(loudness(said.slice(-16))).toBeLessThan(0.005);
});

test('a script of what the model says anyway changes nothing', async () => {
  const greet = (own?: ScriptedSpeech): number[][] => {
    const sampling = { textTemperature: 0, audioTemperature: 0 };
    runner.start(0, { sampling, ...(own !== undefined && { script: own }) });
    return Array.from(
      { length: FRAMES },
      () => runner.step([{ row: 0, pcm: silence }])[0]!.frameTokens,
    );
  };
  expect(greet(await script(DEMO_LINES.greet))).toEqual(greet());
});

test('a script follows its conversation into another row', async () => {
  runner.start(1, { sampling: SAMPLING, seed: 4, script: await script(TEXT) });
  let text = '';
  for (let frame = 0; frame < FRAMES; frame += 1) {
    if (frame === 10) runner.move(1, 0);
    text += runner.step([{ row: frame < 10 ? 1 : 0, pcm: silence }])[0]!.text;
  }
  expect(text.trim()).toBe(TEXT);
});
