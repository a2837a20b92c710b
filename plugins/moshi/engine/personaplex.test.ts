/** A whole PersonaPlex conversation against what NVIDIA's PyTorch code recorded. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildModel } from '../../../models/build.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import {
  largestDifference,
  readRecordedTensors,
  type RecordedTensor,
} from '../../../models/test-support/recorded-tensors.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';
import { openCodec, openRunner } from './runner.ts';
import { systemPrompt, voiceFrames, type PromptModel } from './prompts/system-prompt.ts';

const directory = await mkdtemp(join(tmpdir(), 'moshi-personaplex-'));
afterAll(() => rm(directory, { recursive: true, force: true }));
const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('personaplex', directory, others);

describe.each(recordings)('%s', (_name, checkpoint) => {
  let modelDirectory: string;
  let recorded: Record<string, RecordedTensor>;
  const column = (name: string, frame: number): number[] => {
    const { data, shape } = recorded[name]!;
    return Array.from({ length: shape[0]! }, (_, row) => data[row * shape[1]! + frame]!);
  };
  const columns = (name: string): number[][] =>
    Array.from({ length: recorded[name]!.shape[1]! }, (_, frame) => column(name, frame));
  const frames = (name: string): Float32Array[] => {
    const samples = Float32Array.from(recorded[name]!.data);
    return Array.from({ length: samples.length / FRAME_SAMPLES }, (_, frame) =>
      samples.slice(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES),
    );
  };

  beforeAll(async () => {
    recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    ({ directory: modelDirectory } = await buildModel({
      checkpoint,
      outputDirectory: directory,
      batches: [1],
      kinds: ['frame', 'mimi-encode', 'mimi-decode'],
    }));
  });

  test('the codec gives the recorded codes of voice and speech', async () => {
    const codec = await openCodec({ modelDirectory });
    expect(frames('voice_pcm').map((pcm) => codec.encode(pcm))).toEqual(columns('voice_codes'));
    codec.reset();
    expect(frames('input_pcm').map((pcm) => codec.encode(pcm))).toEqual(columns('mimi_codes'));
    codec.dispose();
  });

  test('voice and text prompt lead to the recorded tokens', async () => {
    const runner = await openRunner({ modelDirectory });
    const model = runner.manifest as PromptModel;
    const prompt = systemPrompt(
      model,
      voiceFrames(model, columns('voice_codes')),
      Array.from(recorded['prompt_ids']!.data),
    );
    const first = runner.start(0, {
      sampling: { textTemperature: 0, audioTemperature: 0 },
      prompt,
    });
    const heard = frames('input_pcm').slice(0, -1);
    const tokens = [first!, ...heard.map((pcm) => runner.step([{ row: 0, pcm }])[0]!)];
    expect(tokens.map(({ frameTokens }) => frameTokens)).toEqual(columns('tokens'));
    runner.dispose();
    // The reference decodes what it returns with a codec that it has reset after the prompt.
    const codec = await openCodec({ modelDirectory, directions: ['decode'] });
    const voice = columns('tokens').map(([, ...codes]) => codec.decode(codes));
    codec.dispose();
    const peak = Math.max(
      ...voice.map((pcm) => pcm.reduce((most, x) => Math.max(most, Math.abs(x)), 0)),
    );
    for (const [frame, { pcm }] of tokens.entries()) {
      expect(largestDifference(pcm, voice[frame]!) / peak, `frame ${frame}`).toBeLessThan(1e-5);
    }
  });
});
