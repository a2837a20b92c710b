/**
 * How loud a recording is, as broadcasters measure it, and the gain that makes it as loud as wished.
 *
 * Source: ITU-R BS.1770-4, annex 1 (K weighting, blocks of 400 ms that overlap by 75 %, absolute and
 * relative gate), for one channel. The two filters are designed for the recording's own rate from
 * their frequencies, as csteinmetz1/pyloudnorm does, whose figures PersonaPlex relies on; they differ
 * from the standard's tabulated ones by some hundredths of a decibel.
 */

const BLOCK_SECONDS = 0.4;
/** Blocks begin every 100 ms. */
const STEP = 0.25;
/** LUFS below which a block is no sound. */
const ABSOLUTE_GATE = -70;
/** Decibels below the mean of the sounding blocks at which a block is a pause. */
const RELATIVE_GATE = 10;
const OFFSET = -0.691;

/** A second-order filter, its coefficients divided by a0. */
type Biquad = {
  readonly b: readonly [number, number, number];
  readonly a: readonly [number, number];
};

/**
 * Integrated loudness in LUFS, minus infinity for silence; null for less than one block, 400 ms.
 *
 * @param sampleRate - Hz.
 */
export function integratedLoudness(samples: Float32Array, sampleRate: number): number | null {
  const blockSamples = BLOCK_SECONDS * sampleRate;
  if (samples.length < blockSamples) {
    return null;
  }
  const weighted = weigh(weigh(samples, headShelf(sampleRate)), lowCut(sampleRate));
  const seconds = samples.length / sampleRate;
  const count = roundHalfEven((seconds - BLOCK_SECONDS) / (BLOCK_SECONDS * STEP)) + 1;
  const powers = Array.from({ length: count }, (_, block) => {
    const start = Math.trunc(BLOCK_SECONDS * (block * STEP) * sampleRate);
    const end = Math.trunc(BLOCK_SECONDS * (block * STEP + 1) * sampleRate);
    let sum = 0;
    for (let index = start; index < Math.min(end, weighted.length); index += 1) {
      sum += (weighted[index] as number) ** 2;
    }
    return sum / blockSamples;
  });
  const sounding = powers.filter((power) => loudnessOf(power) >= ABSOLUTE_GATE);
  const gate = loudnessOf(mean(sounding)) - RELATIVE_GATE;
  return loudnessOf(
    mean(powers.filter((power) => loudnessOf(power) > gate && loudnessOf(power) > ABSOLUTE_GATE)),
  );
}

/** Factor that takes a recording from one loudness to another, both in LUFS. */
export function loudnessGain(from: number, to: number): number {
  return 10 ** ((to - from) / 20);
}

function loudnessOf(power: number): number {
  return OFFSET + 10 * Math.log10(power);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** As the reference's library rounds the number of blocks. */
function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Direct form II, transposed. */
function weigh(samples: ArrayLike<number>, { b: [b0, b1, b2], a: [a1, a2] }: Biquad): Float64Array {
  const output = new Float64Array(samples.length);
  let first = 0;
  let second = 0;
  for (let index = 0; index < samples.length; index += 1) {
    const x = samples[index] as number;
    const y = b0 * x + first;
    first = b1 * x - a1 * y + second;
    second = b2 * x - a2 * y;
    output[index] = y;
  }
  return output;
}

/** What a head adds to sound from the front: +4 dB above 1.5 kHz, a shelf of Q 1/√2. */
function headShelf(sampleRate: number): Biquad {
  const amplitude = 10 ** (4 / 40);
  const frequency = (2 * Math.PI * 1500) / sampleRate;
  const cosine = Math.cos(frequency);
  const alpha = Math.sin(frequency) / (2 * Math.SQRT1_2);
  const slope = 2 * Math.sqrt(amplitude) * alpha;
  const plus = amplitude + 1;
  const minus = amplitude - 1;
  const a0 = plus - minus * cosine + slope;
  return {
    b: [
      (amplitude * (plus + minus * cosine + slope)) / a0,
      (-2 * amplitude * (minus + plus * cosine)) / a0,
      (amplitude * (plus + minus * cosine - slope)) / a0,
    ],
    a: [(2 * (minus - plus * cosine)) / a0, (plus - minus * cosine - slope) / a0],
  };
}

/** Low frequencies are heard less: a high-pass filter at 38 Hz of Q 1/2. */
function lowCut(sampleRate: number): Biquad {
  const frequency = (2 * Math.PI * 38) / sampleRate;
  const cosine = Math.cos(frequency);
  const alpha = Math.sin(frequency) / (2 * 0.5);
  const a0 = 1 + alpha;
  const edge = (1 + cosine) / 2 / a0;
  return { b: [edge, -2 * edge, edge], a: [(-2 * cosine) / a0, (1 - alpha) / a0] };
}
