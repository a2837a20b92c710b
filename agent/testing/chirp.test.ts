import { describe, expect, it, test } from 'vitest';
import { findChirp, makeChirp } from './chirp.ts';
import { createResampler } from '../../plugins/moshi/audio/resampler.ts';

const chirp = makeChirp({
  sampleRate: 48_000,
  durationMs: 60,
  from: 500,
  to: 4_000,
  amplitude: 0.5,
});

function recordingWith(position: number, gain: number, noise: number): Float32Array {
  let seed = 1;
  const recording = Float32Array.from({ length: 48_000 }, () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return noise * ((2 * seed) / 2 ** 31 - 1);
  });
  chirp.forEach((sample, i) => (recording[position + i]! += gain * sample));
  return recording;
}

describe('findChirp', () => {
  test.each([0, 1, 777, 31_000, 48_000 - chirp.length])(
    'finds a chirp at sample %i',
    (position) => {
      const match = findChirp(recordingWith(position, 1, 0), chirp);
      expect(match?.position).toBeCloseTo(position, 1);
      expect(match?.score).toBeCloseTo(1, 4);
    },
  );

  it('finds it quiet, upside down and among noise', () => {
    expect(findChirp(recordingWith(20_000, -0.1, 0.01), chirp)?.position).toBeCloseTo(20_000, 0);
  });

  it('finds it after resampling, where the resampler says', () => {
    const down = createResampler({ inputRate: 48_000, outputRate: 24_000 });
    const up = createResampler({ inputRate: 24_000, outputRate: 48_000 });
    const recording = up.push(down.push(recordingWith(20_000, 1, 0)));
    expect(findChirp(recording, chirp)?.position).toBeCloseTo(20_000, 1);
  });

  it('gives noise a low score and silence none', () => {
    expect(findChirp(recordingWith(0, 0, 0.1), chirp)?.score).toBeLessThan(0.3);
    expect(findChirp(new Float32Array(48_000), chirp)).toBeNull();
    expect(findChirp(new Float32Array(10), chirp)).toBeNull();
  });
});
