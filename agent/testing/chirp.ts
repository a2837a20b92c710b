/**
 * Finding out how long sound was under way: send a chirp, record, and look where it is.
 *
 * A linear sweep has one sharp peak in its autocorrelation, and normalised correlation finds it at
 * any volume.
 */

export type ChirpOptions = {
  /** Hz. */
  sampleRate: number;
  durationMs: number;
  /** Hz at the beginning. */
  from: number;
  /** Hz at the end. */
  to: number;
  /** Peak, full scale 1. */
  amplitude: number;
};

/** Returns a sweep from `from` to `to`, faded in and out by a Hann window: nothing that clicks. */
export function makeChirp({
  sampleRate,
  durationMs,
  from,
  to,
  amplitude,
}: ChirpOptions): Float32Array {
  const length = Math.round((durationMs * sampleRate) / 1_000);
  return Float32Array.from({ length }, (_, index) => {
    const t = index / sampleRate;
    const sweep = (to - from) / (length / sampleRate);
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * (index + 0.5)) / length);
    return amplitude * window * Math.sin(2 * Math.PI * (from + (sweep * t) / 2) * t);
  });
}

export type ChirpMatch = {
  /** Sample of the recording at which the chirp begins, with a fraction. */
  position: number;
  /** Normalised correlation there, 0 to 1; undisturbed 1. */
  score: number;
};

/**
 * Returns where in `recording` the chirp fits best, whatever its volume and sign; null if the
 * recording is shorter than the chirp or silent.
 */
export function findChirp(recording: Float32Array, chirp: Float32Array): ChirpMatch | null {
  const positions = recording.length - chirp.length + 1;
  if (positions < 1) return null;
  const correlation = correlate(recording, chirp);
  const chirpEnergy = chirp.reduce((sum, sample) => sum + sample * sample, 0);
  let energy = 0;
  for (let index = 0; index < chirp.length; index += 1) energy += (recording[index] ?? 0) ** 2;
  let position = -1;
  let score = 0;
  for (let index = 0; index < positions; index += 1) {
    // −120 dBFS: where there is nothing, rounding errors must not win.
    const floor = 1e-12 * chirp.length;
    const value =
      Math.abs(correlation[index] ?? 0) / Math.sqrt(chirpEnergy * Math.max(energy, floor));
    if (value > score) {
      score = value;
      position = index;
    }
    energy += (recording[index + chirp.length] ?? 0) ** 2 - (recording[index] ?? 0) ** 2;
  }
  if (position < 0) return null;
  return {
    position: position + peakOffset(correlation, position, positions),
    score: Math.min(1, score),
  };
}

/** Where the parabola through a peak and its neighbours has its top, −½ to ½. */
function peakOffset(values: Float64Array, index: number, length: number): number {
  if (index === 0 || index === length - 1) return 0;
  const before = Math.abs(values[index - 1] ?? 0);
  const peak = Math.abs(values[index] ?? 0);
  const after = Math.abs(values[index + 1] ?? 0);
  const curvature = before - 2 * peak + after;
  if (curvature >= 0) return 0;
  return Math.max(-0.5, Math.min(0.5, (before - after) / (2 * curvature)));
}

/** Σ_i recording[k + i] · chirp[i] for every k, by FFT: a second has 48,000 positions. */
function correlate(recording: Float32Array, chirp: Float32Array): Float64Array {
  const size = 2 ** Math.ceil(Math.log2(recording.length + chirp.length));
  const a = { real: new Float64Array(size), imaginary: new Float64Array(size) };
  const b = { real: new Float64Array(size), imaginary: new Float64Array(size) };
  a.real.set(recording);
  b.real.set(chirp);
  transform(a.real, a.imaginary);
  transform(b.real, b.imaginary);
  for (let k = 0; k < size; k += 1) {
    const ar = a.real[k] ?? 0;
    const ai = a.imaginary[k] ?? 0;
    const br = b.real[k] ?? 0;
    const bi = b.imaginary[k] ?? 0;
    // a · conj(b), conjugated once more: the forward transform then serves as the inverse.
    a.real[k] = (ar * br + ai * bi) / size;
    a.imaginary[k] = -(ai * br - ar * bi) / size;
  }
  transform(a.real, a.imaginary);
  return a.real;
}

/** Fast Fourier transform in place, radix 2 (J. W. Cooley, J. W. Tukey, 1965); the length is a power of two. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const size = real.length;
  for (let index = 1, reversed = 0; index < size; index += 1) {
    let bit = size >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (index < reversed) {
      swap(real, index, reversed);
      swap(imaginary, index, reversed);
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let offset = 0; offset < half; offset += 1) {
      const angle = (-Math.PI * offset) / half;
      const cosine = Math.cos(angle);
      const sine = Math.sin(angle);
      for (let even = offset; even < size; even += 2 * half) {
        const odd = even + half;
        const r = (real[odd] ?? 0) * cosine - (imaginary[odd] ?? 0) * sine;
        const i = (real[odd] ?? 0) * sine + (imaginary[odd] ?? 0) * cosine;
        real[odd] = (real[even] ?? 0) - r;
        imaginary[odd] = (imaginary[even] ?? 0) - i;
        real[even] = (real[even] ?? 0) + r;
        imaginary[even] = (imaginary[even] ?? 0) + i;
      }
    }
  }
}

function swap(values: Float64Array, i: number, j: number): void {
  const kept = values[i] ?? 0;
  values[i] = values[j] ?? 0;
  values[j] = kept;
}
