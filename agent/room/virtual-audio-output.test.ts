import { initializeLogger, voice } from '@livekit/agents';
import { AudioFrame } from '@livekit/rtc-node';
import { beforeAll, expect, test } from 'vitest';
import { VirtualAudioOutput } from './virtual-audio-output.ts';

const FRAME = new AudioFrame(new Int16Array(1_920), 24_000, 1, 1_920);

beforeAll(() => initializeLogger({ pretty: false, level: 'silent' }));

test('an utterance starts with its first frame and is over when it is flushed', async () => {
  const output = new VirtualAudioOutput();
  let started = 0;
  output.on(voice.AudioOutput.EVENT_PLAYBACK_STARTED, () => (started += 1));
  await output.captureFrame(FRAME);
  await output.captureFrame(FRAME);
  output.flush();
  expect(started).toBe(1);
  expect(await output.waitForPlayout()).toMatchObject({
    playbackPosition: 0.16,
    interrupted: false,
  });
});

test('clearing reports an interruption, and later flushes report nothing', async () => {
  const output = new VirtualAudioOutput();
  await output.captureFrame(FRAME);
  output.clearBuffer();
  output.flush();
  expect(await output.waitForPlayout()).toMatchObject({ interrupted: true });
});
