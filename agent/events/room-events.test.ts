import { expect, test } from 'vitest';
import { parseRoomEvent } from './room-events.ts';
import type { RoomEvent } from './room-events.ts';

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

const segment = { v: 1, segmentId: 'a', text: ' Hello', startMs: 80 } as const;

test.each<RoomEvent>([
  { ...segment, type: 'agent_transcript_delta', endMs: 240 },
  { ...segment, type: 'user_transcript_delta', identity: 'caller' },
  { ...segment, type: 'user_transcript_final', identity: 'caller', endMs: 900 },
])('$type survives the way through the room', (event) => {
  expect(parseRoomEvent(encode(event))).toEqual(event);
});

test.each([
  ['another version', encode({ v: 2, type: 'state', state: 'listening' })],
  ['an unknown type', encode({ v: 1, type: 'weather' })],
  ['a missing field', encode({ v: 1, type: 'state' })],
  ['no JSON', new TextEncoder().encode('hello')],
  ['no UTF-8', Uint8Array.of(0xff, 0xfe)],
])('%s is ignored', (_what, payload) => {
  expect(parseRoomEvent(payload)).toBeNull();
});
