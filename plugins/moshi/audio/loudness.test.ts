/** Expected figures: pyloudnorm 0.1.1 (`Meter(rate).integrated_loudness`) on the same samples. */
import { describe, expect, test } from 'vitest';

import { integratedLoudness, loudnessGain } from './loudness.ts';

function tone(rate: number, hertz: number, seconds: number, level: (second: number) => number) {
  return Float32Array.from(
    { length: rate * seconds },
    (_, index) => level(index / rate) * Math.sin((2 * Math.PI * hertz * index) / rate),
  );
}

describe('the loudness of a tone', () => {
  test.each([
    [24_000, 997, -9.0840416],
    [24_000, 60, -12.6544483],
    [16_000, 997, -9.1037993],
    [16_000, 60, -12.6543839],
    [44_100, 997, -9.072991],
    [48_000, 997, -9.072268],
    [48_000, 60, -12.6544825],
  ])('at %i Hz sampled, %i Hz high', (rate, hertz, expected) => {
    const samples = tone(rate, hertz, 2, () => 0.5);
    expect(integratedLoudness(samples, rate)).toBeCloseTo(expected, 5);
  });
});

test('leaves out pauses', () => {
  const speech = tone(24_000, 440, 3, (second) => (second < 1 ? 0.5 : second < 2 ? 0.002 : 0.1));
  expect(integratedLoudness(speech, 24_000)).toBeCloseTo(-12.6267252, 5);
  const fading = tone(24_000, 440, 3, (second) => (second < 1 ? 0.5 : 0.00001));
  expect(integratedLoudness(fading, 24_000)).toBeCloseTo(-10.4629941, 5);
});

test('of a length that is no multiple of a block', () => {
  let state = 1;
  const noise = Float32Array.from({ length: 30_000 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 0.1 * (state / 2 ** 31 - 1);
  });
  expect(integratedLoudness(noise, 24_000)).toBeCloseTo(-21.8650291, 5);
});

test('does not exist of less than 400 ms, and silence has none', () => {
  expect(integratedLoudness(new Float32Array(9_599), 24_000)).toBeNull();
  expect(integratedLoudness(new Float32Array(9_600), 24_000)).toBe(Number.NEGATIVE_INFINITY);
});

test('changes by the gain', () => {
  const samples = tone(24_000, 997, 1, () => 0.5);
  const before = integratedLoudness(samples, 24_000)!;
  const gain = loudnessGain(before, -24);
  expect(
    integratedLoudness(
      samples.map((sample) => sample * gain),
      24_000,
    ),
  ).toBeCloseTo(-24, 5);
});
