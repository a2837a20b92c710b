/**
 * The binary messages of a conversation. Little-endian throughout.
 *
 * Client → engine, audio: `u32 kind = 1`, then float32 samples, 24 kHz mono, any number.
 * Engine → client, frame: a 40-byte header, UTF-8 text padded to 4 bytes, then 1,920 float32 samples.
 */
import { FRAME_SAMPLES } from './messages.ts';

const KIND_AUDIO = 1;
const KIND_FRAME = 2;
const AUDIO_HEADER_BYTES = 4;
const FRAME_HEADER_BYTES = 40;

/** Bytes that are not a message of this protocol. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** What the engine says about one 80 ms step. */
export type FrameMessage = {
  /** Steps of this conversation before this one; its input ended at (step + 1) · 80 ms. */
  step: number;
  /** Text token sampled in this step: `maxDelay` frames ahead of the audio. */
  textToken: number;
  /** Text completed by `textToken`, with a leading space where a word starts; often empty. */
  text: string;
  /** False in the first `maxDelay` steps, whose samples are zeros. */
  hasAudio: boolean;
  /** Time the step took on the device, ms. */
  stepMs: number;
  /** Time from the last input sample's arrival at the engine to the start of the step, ms. */
  queuedMs: number;
  /** Input frames dropped since the conversation started. */
  droppedFrames: number;
  /** [1920] samples at 24 kHz, a copy that the receiver may keep. */
  pcm: Float32Array;
};

/** Encodes samples (24 kHz mono, any number ≥ 1) for the engine. */
export function encodeAudioMessage(samples: Float32Array): Uint8Array {
  const message = new Uint8Array(AUDIO_HEADER_BYTES + samples.byteLength);
  new DataView(message.buffer).setUint32(0, KIND_AUDIO, true);
  message.set(
    new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength),
    AUDIO_HEADER_BYTES,
  );
  return message;
}

/**
 * @returns Samples that share the message's memory where its alignment allows.
 * @throws ProtocolError if the bytes are not an audio message or hold a value that is not finite.
 */
export function decodeAudioMessage(message: Uint8Array): Float32Array {
  const payloadBytes = message.byteLength - AUDIO_HEADER_BYTES;
  if (payloadBytes < 4 || payloadBytes % 4 !== 0) {
    throw new ProtocolError(
      `An audio message is 4 bytes and then float32 samples, got ${message.byteLength} bytes.`,
    );
  }
  const kind = viewOf(message).getUint32(0, true);
  if (kind !== KIND_AUDIO) {
    throw new ProtocolError(`Expected binary kind ${KIND_AUDIO} (audio), got ${kind}.`);
  }
  const start = message.byteOffset + AUDIO_HEADER_BYTES;
  const samples =
    start % 4 === 0
      ? new Float32Array(message.buffer, start, payloadBytes / 4)
      : new Float32Array(Uint8Array.from(message.subarray(AUDIO_HEADER_BYTES)).buffer);
  for (let index = 0; index < samples.length; index += 1) {
    if (!Number.isFinite(samples[index])) {
      throw new ProtocolError(`Sample ${index} of an audio message is not a finite number.`);
    }
  }
  return samples;
}

/** Length of a frame message with so many bytes of UTF-8 text. */
export function frameMessageBytes(textBytes: number): number {
  return pcmOffset(textBytes) + FRAME_SAMPLES * 4;
}

/**
 * Writes one step's result for the client.
 *
 * @param text - `frame.text` in UTF-8.
 * @param target - Takes `frameMessageBytes` from `start` on; `start` is a multiple of 4.
 */
export function writeFrameMessage(
  frame: FrameMessage,
  text: Uint8Array,
  target: ArrayBuffer,
  start = 0,
): void {
  const view = new DataView(target, start);
  view.setUint32(0, KIND_FRAME, true);
  view.setUint32(4, frame.step, true);
  view.setInt32(8, frame.textToken, true);
  view.setUint32(12, text.byteLength, true);
  view.setUint32(16, frame.hasAudio ? 1 : 0, true);
  view.setFloat64(20, frame.stepMs, true);
  view.setFloat64(28, frame.queuedMs, true);
  view.setUint32(36, frame.droppedFrames, true);
  const samplesStart = start + pcmOffset(text.byteLength);
  if (text.byteLength > 0) {
    const textStart = start + FRAME_HEADER_BYTES;
    const padded = new Uint8Array(target, textStart, samplesStart - textStart);
    padded.fill(0);
    padded.set(text);
  }
  new Float32Array(target, samplesStart, FRAME_SAMPLES).set(frame.pcm);
}

/** Encodes one step's result for the client. */
export function encodeFrameMessage(frame: FrameMessage): Uint8Array {
  const text = new TextEncoder().encode(frame.text);
  const message = new Uint8Array(frameMessageBytes(text.byteLength));
  writeFrameMessage(frame, text, message.buffer);
  return message;
}

/** @throws ProtocolError if the bytes are not a frame message. */
export function decodeFrameMessage(message: Uint8Array): FrameMessage {
  if (message.byteLength < FRAME_HEADER_BYTES) {
    throw new ProtocolError(
      `A frame message has at least ${FRAME_HEADER_BYTES} bytes, got ${message.byteLength}.`,
    );
  }
  const view = viewOf(message);
  const kind = view.getUint32(0, true);
  if (kind !== KIND_FRAME) {
    throw new ProtocolError(`Expected binary kind ${KIND_FRAME} (frame), got ${kind}.`);
  }
  const textBytes = view.getUint32(12, true);
  const expectedBytes = frameMessageBytes(textBytes);
  if (message.byteLength !== expectedBytes) {
    throw new ProtocolError(
      `A frame message with ${textBytes} bytes of text has ${expectedBytes} bytes, got ${message.byteLength}.`,
    );
  }
  const pcm = new Float32Array(FRAME_SAMPLES);
  new Uint8Array(pcm.buffer).set(message.subarray(pcmOffset(textBytes)));
  return {
    step: view.getUint32(4, true),
    textToken: view.getInt32(8, true),
    text: new TextDecoder().decode(
      message.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + textBytes),
    ),
    hasAudio: view.getUint32(16, true) === 1,
    stepMs: view.getFloat64(20, true),
    queuedMs: view.getFloat64(28, true),
    droppedFrames: view.getUint32(36, true),
    pcm,
  };
}

/** Where a frame message's samples begin: the text is padded to whole words. */
function pcmOffset(textBytes: number): number {
  return FRAME_HEADER_BYTES + Math.ceil(textBytes / 4) * 4;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
