import { expect, test } from 'vitest';

import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { FrameScheduler } from './scheduler.ts';

const frames = (...values: number[]): Float32Array =>
  Float32Array.from(
    { length: values.length * FRAME_SAMPLES },
    (_, index) => values[Math.floor(index / FRAME_SAMPLES)]!,
  );

function setUp() {
  const clock = { ms: 0 };
  const scheduler = new FrameScheduler({ slots: 4, batches: [1, 2, 4], now: () => clock.ms });
  const pcm = new Float32Array(4 * FRAME_SAMPLES);
  const execMask = new Uint8Array(4);
  const next = () => {
    const step = scheduler.next(pcm, execMask);
    return step && { ...step, mask: [...execMask] };
  };
  /** First sample of a row's input. */
  const heard = (slot: number) => pcm[slot * FRAME_SAMPLES];
  return { clock, scheduler, next, heard };
}

test('takes the lowest free slot and none when all are taken', () => {
  const { scheduler } = setUp();
  expect([1, 2, 3, 4, 5].map(() => scheduler.attach())).toEqual([0, 1, 2, 3, null]);
  scheduler.leave(1);
  scheduler.leave(3);
  expect(scheduler.attached).toBe(2);
  expect([1, 2, 3].map(() => scheduler.attach())).toEqual([1, 3, null]);
});

test('steps every conversation with a whole frame on the smallest graph that covers them', () => {
  const { scheduler, next } = setUp();
  for (let slot = 0; slot < 4; slot += 1) scheduler.attach();
  expect(next()).toBeNull();
  scheduler.push(0, frames(1));
  expect(next()).toMatchObject({ batch: 1, rows: [{ slot: 0 }], mask: [1, 0, 0, 0] });
  scheduler.push(1, frames(1));
  expect(next()).toMatchObject({ batch: 2, rows: [{ slot: 1 }], mask: [0, 1, 0, 0] });
  scheduler.push(0, frames(1));
  scheduler.push(2, frames(1));
  expect(next()).toMatchObject({
    batch: 4,
    rows: [{ slot: 0 }, { slot: 2 }],
    mask: [1, 0, 1, 0],
  });
  expect(next()).toBeNull();
});

test('waits for the last sample of a frame and tells how long it then waited', () => {
  const { clock, scheduler, next } = setUp();
  scheduler.attach();
  scheduler.push(0, frames(1).subarray(1));
  expect(next()).toBeNull();
  clock.ms = 100;
  scheduler.push(0, new Float32Array(1));
  clock.ms = 107;
  expect(next()).toMatchObject({ rows: [{ slot: 0, queuedMs: 7 }] });
});

test('drops the oldest frame when more than three wait', () => {
  const { scheduler, next, heard } = setUp();
  scheduler.attach();
  expect(scheduler.push(0, frames(1, 2, 3))).toBe(0);
  expect(scheduler.push(0, frames(4).subarray(1))).toBe(0);
  expect(scheduler.push(0, frames(4, 5).subarray(0, FRAME_SAMPLES + 1))).toBe(2);
  const order = [];
  while (next()) order.push(heard(0));
  expect(order).toEqual([3, 4, 4]);
});

test('keeps the newest three frames of a message that holds many', () => {
  const { scheduler, next, heard } = setUp();
  scheduler.attach();
  expect(scheduler.push(0, frames(1, 2, 3, 4, 5, 6, 7, 8))).toBe(5);
  const order = [];
  while (next()) order.push(heard(0));
  expect(order).toEqual([6, 7, 8]);
});

test('cuts the same frames from portions of any length', () => {
  for (const portion of [1, 240, 479, 1920, 4000]) {
    const { scheduler, next, heard } = setUp();
    scheduler.attach();
    const samples = frames(1, 2, 3, 4, 5, 6);
    const order = [];
    for (let sent = 0; sent < samples.length; sent += portion) {
      scheduler.push(0, samples.subarray(sent, sent + portion));
      while (next()) order.push(heard(0));
    }
    expect(order).toEqual([1, 2, 3, 4, 5, 6]);
  }
});

test('forgets what waits at a reset and when a conversation leaves', () => {
  const { scheduler, next } = setUp();
  scheduler.attach();
  scheduler.push(0, frames(1, 2).subarray(5));
  scheduler.reset(0);
  expect(next()).toBeNull();
  scheduler.push(0, frames(1));
  scheduler.leave(0);
  expect(next()).toBeNull();
  scheduler.attach();
  expect(next()).toBeNull();
});

test('moves the highest down, with its input, only while a smaller graph would do', () => {
  const { scheduler, next, heard } = setUp();
  for (let slot = 0; slot < 4; slot += 1) scheduler.attach();
  for (let slot = 0; slot < 4; slot += 1) scheduler.push(slot, frames(slot + 1));
  scheduler.leave(0);
  expect(scheduler.compact()).toBeNull();
  scheduler.leave(2);
  expect(scheduler.compact()).toEqual({ from: 3, to: 0 });
  expect(scheduler.compact()).toBeNull();
  expect(next()).toMatchObject({ batch: 2, rows: [{ slot: 0 }, { slot: 1 }] });
  expect([heard(0), heard(1)]).toEqual([4, 2]);
  scheduler.leave(0);
  expect(scheduler.compact()).toEqual({ from: 1, to: 0 });
  scheduler.leave(0);
  expect(scheduler.compact()).toBeNull();
});
