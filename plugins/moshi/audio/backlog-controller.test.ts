import { describe, expect, it, test } from 'vitest';
import { BacklogController } from './backlog-controller.ts';

const RATE = 48_000;
const PER_MS = RATE / 1_000;

/** A voice without pauses: ten harmonics of 120 Hz, peak about 0.7. */
function voice(sample: number): number {
  let sum = 0;
  for (let k = 1; k <= 10; k += 1) sum += Math.sin((2 * Math.PI * 120 * k * sample) / RATE + k) / k;
  return sum * 0.35;
}
const silence = () => 0;

type Stall = { atMs: number; lengthMs: number };

/** A model that makes a piece per period, late in a stall, and a sink that plays in real time. */
function play(
  controller: BacklogController,
  signal: (sample: number) => number,
  { durationMs, pieceMs, stalls }: { durationMs: number; pieceMs: number; stalls: Stall[] },
) {
  let backlogMs = 0;
  let now = 0;
  const backlogs: { atMs: number; backlogMs: number }[] = [];
  const written: Float32Array[] = [];
  let changed = 0;
  for (let made = 0; made * pieceMs < durationMs; made += 1) {
    const due = (made + 1) * pieceMs;
    const stall = stalls.find(({ atMs, lengthMs }) => due >= atMs && due < atMs + lengthMs);
    const arrival = stall ? stall.atMs + stall.lengthMs : due;
    backlogMs = Math.max(0, backlogMs - (arrival - now));
    now = arrival;
    const piece = Float32Array.from({ length: pieceMs * PER_MS }, (_, i) =>
      signal(made * pieceMs * PER_MS + i),
    );
    const out = controller.process(piece, backlogMs);
    if (out !== piece) changed += 1;
    backlogs.push({ atMs: now, backlogMs });
    backlogMs += out.length / PER_MS;
    written.push(out);
  }
  return { backlogs, written, changed };
}

function largestStep(pieces: Float32Array[]): number {
  let last: number | undefined;
  let largest = 0;
  for (const piece of pieces) {
    for (const sample of piece) {
      if (last !== undefined) largest = Math.max(largest, Math.abs(sample - last));
      last = sample;
    }
  }
  return largest;
}

describe('BacklogController', () => {
  it('returns the very pieces when the model keeps its pace, jitter included', () => {
    const controller = new BacklogController(RATE);
    const stalls = [
      { atMs: 900, lengthMs: 70 },
      { atMs: 2_000, lengthMs: 38 },
      { atMs: 2_900, lengthMs: 95 },
    ];
    const { changed } = play(controller, voice, { durationMs: 10_000, pieceMs: 80, stalls });
    expect(changed).toBe(0);
  });

  test.each([
    ['silence', silence, 80, 1_000],
    ['continuous speech', voice, 80, 2_500],
    ['silence in 10 ms pieces', silence, 10, 1_000],
    ['continuous speech in 10 ms pieces', voice, 10, 2_500],
  ])('is back at its target after a stall of a second: %s', (_, signal, pieceMs, withinMs) => {
    const controller = new BacklogController(RATE);
    const stalls = [{ atMs: 2_000, lengthMs: 1_000 }];
    const { backlogs, written } = play(controller, signal, {
      durationMs: 10_000,
      pieceMs,
      stalls,
    });
    const later = backlogs.filter(({ atMs }) => atMs > 3_000 + withinMs);
    expect(Math.max(...later.map(({ backlogMs }) => backlogMs))).toBeLessThanOrEqual(40);
    expect(Math.max(...backlogs.map(({ backlogMs }) => backlogMs))).toBeLessThanOrEqual(280);
    // No click: nowhere a larger step than the voice itself makes.
    const original = Float32Array.from({ length: RATE }, (__, i) => signal(i));
    expect(largestStep(written)).toBeLessThanOrEqual(1.05 * largestStep([original]) + 1e-6);
  });

  it('never ratchets: a stall a second leaves no more behind than the first', () => {
    const controller = new BacklogController(RATE);
    const stalls = Array.from({ length: 20 }, (_, i) => ({
      atMs: 4_000 * i + 1_000,
      lengthMs: 300,
    }));
    const { backlogs } = play(controller, voice, { durationMs: 84_000, pieceMs: 80, stalls });
    for (const { atMs, lengthMs } of stalls) {
      const settled = backlogs.find((entry) => entry.atMs > atMs + lengthMs + 2_600);
      expect(settled?.backlogMs).toBeLessThanOrEqual(60);
    }
  });

  it('drops silence before it touches speech', () => {
    const controller = new BacklogController(RATE);
    // Speech with a pause of 300 ms in every 600.
    const signal = (sample: number) =>
      Math.floor(sample / (300 * PER_MS)) % 2 ? 0 : voice(sample);
    play(controller, signal, {
      durationMs: 8_000,
      pieceMs: 80,
      stalls: [{ atMs: 2_000, lengthMs: 180 }],
    });
    const { counters } = controller;
    expect(counters.droppedSilenceMs).toBeGreaterThan(50);
    expect(counters.shortenedSpeechMs).toBe(0);
    expect(counters.droppedOverflowMs).toBe(0);
  });

  it('shortens speech by whole pitch periods, a quarter of it at most', () => {
    const controller = new BacklogController(RATE);
    const piece = Float32Array.from({ length: 80 * PER_MS }, (_, i) => voice(i));
    let shortened = 0;
    for (let made = 0; made < 20; made += 1) {
      const out = controller.process(piece, 150);
      if (out.length < piece.length) {
        shortened += 1;
        const periods = (piece.length - out.length) / (RATE / 120);
        expect(Math.abs(periods - Math.round(periods))).toBeLessThan(0.03);
        expect(out.length).toBeGreaterThanOrEqual(0.75 * piece.length);
      }
    }
    expect(shortened).toBeGreaterThan(0);
  });

  it('counts all that it takes out', () => {
    const controller = new BacklogController(RATE);
    const { written } = play(controller, voice, {
      durationMs: 8_000,
      pieceMs: 80,
      stalls: [{ atMs: 2_000, lengthMs: 1_000 }],
    });
    const writtenMs = written.reduce((sum, piece) => sum + piece.length, 0) / PER_MS;
    const { droppedSilenceMs, shortenedSpeechMs, droppedOverflowMs } = controller.counters;
    expect(writtenMs + droppedSilenceMs + shortenedSpeechMs + droppedOverflowMs).toBeCloseTo(
      8_000,
      6,
    );
  });

  it('starts anew after a reset and takes pieces without samples', () => {
    const controller = new BacklogController(RATE);
    const piece = Float32Array.from({ length: 80 * PER_MS }, (_, i) => voice(i));
    for (let made = 0; made < 5; made += 1) controller.process(piece, 300);
    controller.reset();
    expect(controller.process(piece, 20)).toBe(piece);
    expect(controller.process(new Float32Array(0), 300)).toHaveLength(0);
  });
});
