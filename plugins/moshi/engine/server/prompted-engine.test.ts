/** Conversations that begin with a system prompt, as clients of an engine meet them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildModel } from '../../../../models/build.ts';
import type { ModelManifest } from '../../../../models/manifest.ts';
import { recordedCheckpoints } from '../../../../models/test-support/recorded-checkpoints.ts';
import {
  readRecordedTensors,
  type RecordedTensor,
} from '../../../../models/test-support/recorded-tensors.ts';
import {
  EngineConversation,
  type EngineConversationOptions,
} from '../../client/engine-conversation.ts';
import type { EngineConnectionError } from '../../client/engine-connection-error.ts';
import type { FrameMessage } from '../../protocol/frame-message.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { startEngineServer, type EngineServer } from './engine-server.ts';
import {
  systemPrompt,
  voiceFrames,
  type PromptMaker,
  type PromptModel,
} from '../prompts/system-prompt.ts';

const FRAMES = 8;
const GREEDY = { textTemperature: 0, audioTemperature: 0 };
const logger = pino({ level: 'silent' });

const folder = await mkdtemp(join(tmpdir(), 'moshi-prompted-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const others = process.env['MOSHI_TEST_CHECKPOINTS'];
const recordings = await recordedCheckpoints('personaplex', folder, others);

describe.each(recordings)('an engine of %s', (_name, checkpoint) => {
  let engine: EngineServer;
  let recorded: Record<string, RecordedTensor>;

  beforeAll(async () => {
    recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    const { directory, manifest } = await buildModel({
      checkpoint,
      outputDirectory: folder,
      batches: [1, 2],
      kinds: ['frame'],
    });
    engine = await startEngineServer({
      modelDirectory: directory,
      url: 'ws://127.0.0.1:0',
      slots: 2,
      device: 'cpu',
      threads: 1,
      stepLimitMs: 10_000,
      logger,
      prompts: promptsOf(manifest),
    });
  });
  afterAll(async () => {
    await engine.close();
  });

  /** Knows the recorded voice and the recorded text. */
  function promptsOf(manifest: ModelManifest): PromptMaker {
    const model = manifest as PromptModel;
    const { data, shape } = recorded['voice_codes']!;
    const frames = shape[1]!;
    const codes = Array.from({ length: frames }, (_, frame) =>
      Array.from({ length: shape[0]! }, (__, row) => data[row * frames + frame]!),
    );
    return {
      make: ({ voice, text }) =>
        voice === undefined || voice === 'recorded'
          ? Promise.resolve(
              systemPrompt(
                model,
                voice === undefined ? [] : voiceFrames(model, codes),
                text === undefined ? [] : Array.from(recorded['prompt_ids']!.data),
              ),
            )
          : Promise.reject(new Error(`there is no voice "${voice}": this model has recorded`)),
    };
  }

  /** Says the first frames of the recorded input, each after the answer to the one before. */
  async function talk(options: Partial<EngineConversationOptions>): Promise<FrameMessage[]> {
    const conversation = new EngineConversation({
      engineUrl: engine.url,
      sampling: GREEDY,
      ...options,
    });
    const input = Float32Array.from(recorded['input_pcm']!.data);
    const frames: FrameMessage[] = [];
    try {
      await new Promise<void>((resolve, reject) => {
        const say = (): void => {
          const start = frames.length * FRAME_SAMPLES;
          conversation.pushSamples(input.subarray(start, start + FRAME_SAMPLES));
        };
        conversation.on('ready', say);
        conversation.on('failed', reject);
        conversation.on('frame', (frame) => {
          frames.push(frame);
          if (frames.length === FRAMES) resolve();
          else say();
        });
        conversation.connect();
      });
    } finally {
      conversation.close();
    }
    return frames;
  }

  const persona = { voice: 'recorded', prompt: 'as recorded' };

  test('lets the model say what was recorded after its prompt, for one caller as for two', async () => {
    // The first recorded column ends the prompt; the token of the second came with its last step.
    const expected = Array.from(recorded['tokens']!.data.subarray(2, 2 + FRAMES));
    const alone = await talk(persona);
    expect(alone.map(({ textToken }) => textToken)).toEqual(expected);
    expect(alone.map(({ step, hasAudio }) => [step, hasAudio])).toEqual(
      alone.map((_, step) => [step, true]),
    );
    const [again, other] = await Promise.all([talk(persona), talk({ prompt: '' })]);
    expect(again.map(({ textToken, text }) => [textToken, text])).toEqual(
      alone.map(({ textToken, text }) => [textToken, text]),
    );
    expect(again.map(({ pcm }) => pcm)).toEqual(alone.map(({ pcm }) => pcm));
    expect(other.map(({ textToken }) => textToken)).not.toEqual(expected);
  });

  test('begins a known prompt anew with each caller’s own noise', async () => {
    const say = async (seed: number): Promise<number[]> => {
      const sampling = { textTemperature: 1, audioTemperature: 1 };
      const frames = await talk({ ...persona, sampling, seed });
      return frames.map(({ textToken }) => textToken);
    };
    const first = await say(1);
    expect(await say(2)).not.toEqual(first);
    expect(await say(1)).toEqual(first);
  });

  test('refuses an unknown voice once and for all', async () => {
    const failure = await talk({ voice: 'nobody' }).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      problem: 'prompt_refused',
    } satisfies Partial<EngineConnectionError>);
    expect((failure as Error).message).toContain(
      'there is no voice "nobody": this model has recorded',
    );
  });
});
