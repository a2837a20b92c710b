import { describe, expect, test } from 'vitest';

import {
  decodeAudioMessage,
  decodeFrameMessage,
  encodeAudioMessage,
  encodeFrameMessage,
  ProtocolError,
  type FrameMessage,
} from './frame-message.ts';
import { FRAME_SAMPLES } from './messages.ts';

const frame: FrameMessage = {
  step: 7,
  textToken: 42,
  text: ' été',
  hasAudio: true,
  stepMs: 6.25,
  queuedMs: 0.5,
  droppedFrames: 3,
  pcm: Float32Array.from({ length: FRAME_SAMPLES }, (_, index) => Math.fround(index / 4096)),
};

describe('audio messages', () => {
  test('carry samples unchanged, also out of the middle of a larger array', () => {
    const samples = new Float32Array([9, 0.25, -1, 3.5]).subarray(1);
    expect(decodeAudioMessage(encodeAudioMessage(samples))).toEqual(samples);
  });

  test('are decoded from bytes that start at an odd address', () => {
    const message = encodeAudioMessage(new Float32Array([0.5, -0.5]));
    const shifted = new Uint8Array(message.length + 1);
    shifted.set(message, 1);
    expect(decodeAudioMessage(shifted.subarray(1))).toEqual(new Float32Array([0.5, -0.5]));
  });

  test.each([
    ['no samples', encodeAudioMessage(new Float32Array(0))],
    ['half a sample', new Uint8Array(6)],
    ['another kind', new Uint8Array(8)],
    ['a sample that is not a number', encodeAudioMessage(new Float32Array([0, Number.NaN]))],
    ['an infinite sample', encodeAudioMessage(new Float32Array([Infinity]))],
  ])('are refused with %s', (_, message) => {
    expect(() => decodeAudioMessage(message)).toThrow(ProtocolError);
  });
});

describe('frame messages', () => {
  test('carry a step unchanged', () => {
    expect(decodeFrameMessage(encodeFrameMessage(frame))).toEqual(frame);
  });

  test.each(['', 'a', 'ab', 'abc', 'abcd', 'abcde'])(
    'align samples after the text "%s"',
    (text) => {
      expect(decodeFrameMessage(encodeFrameMessage({ ...frame, text })).pcm).toEqual(frame.pcm);
    },
  );

  test.each([
    ['too short', new Uint8Array(10)],
    ['of another kind', new Uint8Array(40)],
    ['cut short', encodeFrameMessage(frame).slice(0, -4)],
    ['too long', new Uint8Array([...encodeFrameMessage(frame), 0, 0, 0, 0])],
  ])('are refused when %s', (_, message) => {
    expect(() => decodeFrameMessage(message)).toThrow(ProtocolError);
  });
});
