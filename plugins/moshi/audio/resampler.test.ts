import { describe, expect, it, test } from 'vitest';
import { measureConversion } from './measure-conversion.ts';
import { createResampler } from './resampler.ts';

const RATIOS: [number, number][] = [
  [48_000, 24_000],
  [24_000, 48_000],
  [44_100, 24_000],
  [24_000, 44_100],
  [22_050, 24_000],
  [16_000, 24_000],
  [24_000, 16_000],
  [8_000, 24_000],
  [24_000, 8_000],
  [11_025, 48_000],
  [24_000, 24_000],
  [192_000, 1_000],
];

/** Deterministic noise in ±1. */
function noise(length: number): Float32Array {
  let seed = 7;
  return Float32Array.from({ length }, () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return (2 * seed) / 2 ** 31 - 1;
  });
}

function concatenate(parts: Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

function convert(inputRate: number, outputRate: number, input: Float32Array, chunk = Infinity) {
  const resampler = createResampler({ inputRate, outputRate });
  const parts: Float32Array[] = [];
  for (let start = 0; start < input.length; start += chunk) {
    parts.push(resampler.push(input.subarray(start, Math.min(input.length, start + chunk))));
  }
  return concatenate([...parts, resampler.flush()]);
}

function firstDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  return a.findIndex((sample, index) => !Object.is(sample, b[index]));
}

describe.each(RATIOS)('a resampler from %i to %i Hz', (inputRate, outputRate) => {
  const input = noise(9_973);
  const offline = convert(inputRate, outputRate, input);

  it('returns round(input · ratio) samples in all', () => {
    for (const length of [0, 1, 2, 3, 479, 480, 9_973]) {
      const output = convert(inputRate, outputRate, input.subarray(0, length));
      expect(output).toHaveLength(Math.round((length * outputRate) / inputRate));
    }
  });

  test.each([1, 7, 160, 441, 480, 1_920, 4_095, 4_096, 4_097])(
    'returns the same bits from chunks of %i samples',
    (chunk) => {
      const chunked = convert(inputRate, outputRate, input, chunk);
      expect(firstDifference(chunked, offline)).toBe(-1);
    },
  );

  it('returns the same bits from chunks of changing length, empty ones too', () => {
    const resampler = createResampler({ inputRate, outputRate });
    const parts: Float32Array[] = [];
    for (let start = 0, length = 0; start < input.length; length = (length * 7 + 3) % 601) {
      parts.push(resampler.push(input.subarray(start, start + length)));
      start += length;
    }
    expect(firstDifference(concatenate([...parts, resampler.flush()]), offline)).toBe(-1);
  });

  it('is as good as new after reset and after flush', () => {
    const resampler = createResampler({ inputRate, outputRate });
    resampler.push(noise(1_234));
    resampler.reset();
    for (let round = 0; round < 2; round += 1) {
      const again = concatenate([resampler.push(input), resampler.flush()]);
      expect(firstDifference(again, offline)).toBe(-1);
    }
  });

  it('holds back exactly the delay that it reports', () => {
    const resampler = createResampler({ inputRate, outputRate });
    let pushed = 0;
    let returned = 0;
    let longest = 0;
    for (let index = 0; index < input.length; index += 1) {
      returned += resampler.push(input.subarray(index, index + 1)).length;
      pushed += 1;
      longest = Math.max(longest, pushed - (returned * inputRate) / outputRate);
    }
    expect(longest).toBeLessThanOrEqual(resampler.delaySamples + 1e-9);
    const period = Math.max(1, inputRate / outputRate);
    expect(longest).toBeGreaterThanOrEqual(resampler.delaySamples - period);
  });

  it('keeps a constant constant and places an impulse at its instant', () => {
    const { delaySamples } = createResampler({ inputRate, outputRate });
    const length = 9_973 + 2 * delaySamples;
    const constant = convert(inputRate, outputRate, new Float32Array(length).fill(0.5));
    const margin = Math.ceil((delaySamples * outputRate) / inputRate);
    for (const sample of constant.subarray(margin, constant.length - margin)) {
      expect(Math.abs(sample - 0.5)).toBeLessThan(0.0005);
    }
    const impulse = new Float32Array(9_973);
    // A whole number of both periods from the start, so that an output lies on it.
    const at = (4_992 * inputRate) / outputRate;
    if (!Number.isInteger(at) || at > 9_000) return;
    impulse[at] = 1;
    const response = convert(inputRate, outputRate, impulse);
    const peak = response.reduce((best, v, i) => (v > (response[best] ?? 0) ? i : best), 0);
    expect(peak).toBe(4_992);
    for (let i = 1; i < 100; i += 1) {
      expect(response[4_992 + i]).toBeCloseTo(response[4_992 - i]!, 6);
    }
  });
});

describe('the quality of the resampler', () => {
  test.each([
    [48_000, 24_000, 10_500, 2.4, 110],
    [24_000, 48_000, 10_500, 2.4, 110],
    [44_100, 24_000, 10_500, 2.7, 110],
    [24_000, 44_100, 10_500, 2.7, 110],
    [22_050, 24_000, 9_600, 2.7, 110],
    [16_000, 24_000, 7_000, 3, 110],
    [24_000, 16_000, 7_000, 3, 110],
    [8_000, 24_000, 3_400, 5.5, 100],
    [24_000, 8_000, 3_400, 5.5, 100],
  ])('%i to %i Hz passes tones to %i Hz and stops the rest', (from, to, passEdge, delay, stop) => {
    const quality = measureConversion((input) => convert(from, to, input), {
      inputRate: from,
      outputRate: to,
      passEdge,
      stopEdge: Math.min(from, to) / 2,
    });
    expect(quality.rippleDb).toBeLessThanOrEqual(0.01);
    expect(quality.stopBandDb).toBeGreaterThanOrEqual(stop);
    expect(quality.signalToNoiseDb).toBeGreaterThanOrEqual(120);
    const { delayMs } = createResampler({ inputRate: from, outputRate: to });
    expect(delayMs).toBeLessThanOrEqual(delay);
  });
});

describe('what a resampler is given', () => {
  it('is not kept: changing a chunk afterwards changes nothing', () => {
    const resampler = createResampler({ inputRate: 48_000, outputRate: 24_000 });
    const chunk = noise(480);
    const before = resampler.push(chunk);
    chunk.fill(1);
    const rest = concatenate([before, resampler.flush()]);
    expect(firstDifference(rest, convert(48_000, 24_000, noise(480)))).toBe(-1);
  });

  it('stays apart from what another resampler of the same rates is given', () => {
    const one = createResampler({ inputRate: 48_000, outputRate: 24_000 });
    const other = createResampler({ inputRate: 48_000, outputRate: 24_000 });
    const signal = noise(960);
    const parts: Float32Array[] = [];
    for (let start = 0; start < signal.length; start += 96) {
      parts.push(one.push(signal.subarray(start, start + 96)));
      other.push(new Float32Array(50).fill(1));
    }
    parts.push(one.flush());
    expect(firstDifference(concatenate(parts), convert(48_000, 24_000, signal))).toBe(-1);
  });

  it('comes back in arrays that own their buffers', () => {
    const resampler = createResampler({ inputRate: 48_000, outputRate: 24_000 });
    for (const output of [resampler.push(noise(480)), resampler.flush()]) {
      expect(output.byteOffset).toBe(0);
      expect(output.buffer.byteLength).toBe(output.byteLength);
    }
  });

  test.each([0, -1, 44_100.5, Number.NaN, Infinity])('must not be a rate of %d Hz', (rate) => {
    expect(() => createResampler({ inputRate: rate, outputRate: 24_000 })).toThrow(/inputRate/);
    expect(() => createResampler({ inputRate: 24_000, outputRate: rate })).toThrow(/outputRate/);
  });

  it('must not need gigabytes of taps', () => {
    expect(() => createResampler({ inputRate: 767_999, outputRate: 700_001 })).toThrow(
      /the limit is 33554432/,
    );
  });
});
