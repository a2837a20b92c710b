import { Writable } from 'node:stream';
import { expect, test } from 'vitest';

import { decodeFrameMessage, type FrameMessage } from '../../protocol/frame-message.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { FrameSender } from './frame-sender.ts';

const frame = (step: number, text = ''): FrameMessage => ({
  step,
  text,
  textToken: 3,
  hasAudio: true,
  stepMs: 2.5,
  queuedMs: 0.25,
  droppedFrames: 1,
  pcm: new Float32Array(FRAME_SAMPLES).fill(step / 64),
});

/** A connection that passes bytes on as far as it is told to. */
function connect({ takesAtOnce }: { takesAtOnce: boolean }) {
  const chunks: Buffer[] = [];
  const held: (() => void)[] = [];
  const stream = new Writable({
    highWaterMark: 1e6,
    write(chunk: Buffer, _encoding, done) {
      // The system copies what it takes at once, and reads the rest from where it is.
      chunks.push(takesAtOnce ? Buffer.from(chunk) : chunk);
      if (takesAtOnce) done();
      else held.push(done);
    },
  });
  /** What all that was sent is, as RFC 6455 §5.2 has it. */
  const receive = (): FrameMessage[] => {
    for (let done = held.shift(); done !== undefined; done = held.shift()) done();
    const frames: FrameMessage[] = [];
    for (let bytes = Buffer.concat(chunks); bytes.length > 0;) {
      expect([...bytes.subarray(0, 2)]).toEqual([0b1000_0010, 126]);
      const end = 4 + bytes.readUInt16BE(2);
      frames.push(decodeFrameMessage(bytes.subarray(4, end)));
      bytes = bytes.subarray(end);
    }
    return frames;
  };
  return { sender: new FrameSender(stream), chunks, receive };
}

test('frames with and without text arrive as they were, each by one write', () => {
  const { sender, chunks, receive } = connect({ takesAtOnce: true });
  const frames = [frame(0), frame(1, ' Straße'), frame(2, ' a'), frame(3), frame(4, 'b c d e f')];
  for (const each of frames) sender.send(each);
  expect(receive()).toEqual(frames);
  expect(chunks).toHaveLength(frames.length);
});

test('what a client is slow to take is not written over', () => {
  const { sender, receive } = connect({ takesAtOnce: false });
  const frames = Array.from({ length: 5 }, (_, step) => frame(step));
  for (const each of frames) sender.send(each);
  expect(receive()).toEqual(frames);
});
