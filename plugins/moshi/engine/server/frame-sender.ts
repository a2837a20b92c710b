/**
 * Sends frames to one client, each as a whole WebSocket message in one write.
 *
 * Frames are nearly all that an engine sends. `ws` would write header and payload as two chunks, and
 * each message would need memory of its own; here both lie side by side in memory that is used again
 * as soon as the system has taken what was in it.
 */
import { strict as assert } from 'node:assert';
import type { Writable } from 'node:stream';

import {
  frameMessageBytes,
  writeFrameMessage,
  type FrameMessage,
} from '../../protocol/frame-message.ts';

/** RFC 6455 §5.2: FIN and opcode 2 (binary); no mask, as from every server; a length of 16 bits. */
const BINARY_MESSAGE = 0x82;
const LENGTH_OF_16_BITS = 126;
const HEADER_BYTES = 4;
const MAX_PAYLOAD_BYTES = 0xffff;

const NO_TEXT = new Uint8Array(0);
const encoder = new TextEncoder();

export class FrameSender {
  readonly #stream: Writable;
  #memory = new ArrayBuffer(HEADER_BYTES + frameMessageBytes(0));

  /** @param stream - What the WebSocket runs over; it sends its own messages between these. */
  constructor(stream: Writable) {
    this.#stream = stream;
  }

  /** The WebSocket must be open. */
  send(frame: FrameMessage): void {
    const text = frame.text === '' ? NO_TEXT : encoder.encode(frame.text);
    const payloadBytes = frameMessageBytes(text.byteLength);
    assert(payloadBytes <= MAX_PAYLOAD_BYTES, 'no token has that much text');
    const bytes = HEADER_BYTES + payloadBytes;
    // What the system did not take at once is still in the memory that it was written in.
    if (this.#stream.writableLength > 0 || this.#memory.byteLength < bytes) {
      this.#memory = new ArrayBuffer(bytes);
    }
    const message = Buffer.from(this.#memory, 0, bytes);
    message[0] = BINARY_MESSAGE;
    message[1] = LENGTH_OF_16_BITS;
    message.writeUInt16BE(payloadBytes, 2);
    writeFrameMessage(frame, text, this.#memory, HEADER_BYTES);
    this.#stream.write(message);
  }
}
