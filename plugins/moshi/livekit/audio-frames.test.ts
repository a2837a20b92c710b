import { AudioFrame } from '@livekit/rtc-node';
import { expect, test } from 'vitest';
import { isMarkedAsSpeech, monoSamples, speechFrame } from './audio-frames.ts';

test('mixes channels to their mean', () => {
  const stereo = new AudioFrame(Int16Array.of(16_384, 0, -32_768, -32_768), 48_000, 2, 2);
  expect([...monoSamples(stereo)]).toEqual([0.25, -1]);
});

test('rounds, clips, and gives every frame a buffer of its own', () => {
  const pcm = Float32Array.of(9, 0, 0.5, -0.5, 1.5, -1.5).subarray(1);
  const frame = speechFrame(pcm, true);
  expect([...frame.data]).toEqual([0, 16_384, -16_384, 32_767, -32_768]);
  expect(frame.data.byteOffset).toBe(0);
  expect(frame.data.buffer.byteLength).toBe(10);
});

test('carries the mark that the gate reads', () => {
  expect(isMarkedAsSpeech(speechFrame(new Float32Array(4), true))).toBe(true);
  expect(isMarkedAsSpeech(speechFrame(new Float32Array(4), false))).toBe(false);
  expect(isMarkedAsSpeech(new AudioFrame(new Int16Array(4), 24_000, 1, 4))).toBe(false);
});
