import { expect, test } from 'vitest';
import { SilenceFiller } from './silence-filler.ts';

function framesDue(filler: SilenceFiller, fromMs: number, untilMs: number): number {
  let frames = 0;
  for (let nowMs = fromMs; nowMs < untilMs; nowMs += 80) {
    frames += filler.due(nowMs);
  }
  return frames;
}

test('stays silent before anybody was heard', () => {
  expect(framesDue(new SilenceFiller(80), 0, 10_000)).toBe(0);
});

test('adds nothing as long as input comes', () => {
  const filler = new SilenceFiller(80);
  for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
    filler.heard(nowMs);
    expect(filler.due(nowMs)).toBe(0);
  }
});

test('goes on at the pace of time when input ends', () => {
  const filler = new SilenceFiller(80);
  filler.heard(0);
  // The last look is at 8,240 ms: (8,240 - 200 ms of patience) / 80, rounded up.
  expect(framesDue(filler, 80, 8_320)).toBe(101);
});

test('does not make up for a stall of the host', () => {
  const filler = new SilenceFiller(80);
  filler.heard(0);
  expect(filler.due(5_000)).toBe(1);
});
