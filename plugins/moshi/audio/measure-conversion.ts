/** What a sample-rate converter does to tones: measured from its output alone, so that any can be compared. */

/** Takes a whole recording, full scale 1, and returns it at the other rate, aligned in time. */
export type Conversion = (input: Float32Array) => Float32Array;

export type ConversionLimits = {
  inputRate: number;
  outputRate: number;
  /** Hz up to which tones should pass unchanged. */
  passEdge: number;
  /** Hz from which nothing should come through: half the lower rate. */
  stopEdge: number;
};

export type ConversionQuality = {
  /** Largest deviation of the gain from 1 up to the pass edge, dB. */
  rippleDb: number;
  /** Smallest attenuation beyond the stop edge, dB: of tones that fold when the rate falls, of mirror images when it rises. */
  stopBandDb: number;
  /** Smallest ratio of a tone in the pass band to everything else in the output, dB. */
  signalToNoiseDb: number;
};

const TONE_COUNT = 32;
const TONE_SECONDS = 0.25;
/** Left out at both ends: filters ring there. */
const EDGE_SECONDS = 0.05;
/** −6 dBFS: converters of 16 bits keep room for overshoot. */
const AMPLITUDE = 0.5;
/** The tone next to the stop edge; closer, the tone and its image cannot be told apart. */
const EDGE_DISTANCE_HZ = 40;

export function measureConversion(
  convert: Conversion,
  { inputRate, outputRate, passEdge, stopEdge }: ConversionLimits,
): ConversionQuality {
  let rippleDb = 0;
  let signalToNoiseDb = Infinity;
  for (const frequency of tones(passEdge / TONE_COUNT, passEdge)) {
    const { toneRms, restRms } = passTone(convert, inputRate, outputRate, frequency);
    rippleDb = Math.max(rippleDb, Math.abs(decibels(toneRms / (AMPLITUDE * Math.SQRT1_2))));
    signalToNoiseDb = Math.min(signalToNoiseDb, decibels(toneRms / restRms));
  }
  let stopBandDb = Infinity;
  const isDown = inputRate > outputRate;
  const stopTones = isDown
    ? tones(stopEdge, inputRate / 2 - EDGE_DISTANCE_HZ)
    : tones(stopEdge / TONE_COUNT, stopEdge - EDGE_DISTANCE_HZ);
  for (const frequency of stopTones) {
    const { restRms, totalRms } = passTone(convert, inputRate, outputRate, frequency);
    const leakedRms = isDown ? totalRms : restRms;
    stopBandDb = Math.min(stopBandDb, decibels((AMPLITUDE * Math.SQRT1_2) / leakedRms));
  }
  return { rippleDb, stopBandDb, signalToNoiseDb };
}

/** `TONE_COUNT` frequencies from `first` to `last`, both included. */
function tones(first: number, last: number): number[] {
  return Array.from(
    { length: TONE_COUNT },
    (_, index) => first + ((last - first) * index) / (TONE_COUNT - 1),
  );
}

function passTone(
  convert: Conversion,
  inputRate: number,
  outputRate: number,
  frequency: number,
): { toneRms: number; restRms: number; totalRms: number } {
  // A phase that is no symmetry of the sampling instants.
  const input = Float32Array.from(
    { length: Math.round(TONE_SECONDS * inputRate) },
    (_, n) => AMPLITUDE * Math.sin((2 * Math.PI * frequency * n) / inputRate + 0.7),
  );
  const output = convert(input);
  const from = Math.round(EDGE_SECONDS * outputRate);
  const to = Math.min(output.length, Math.round((TONE_SECONDS - EDGE_SECONDS) * outputRate));
  return separateTone(output.subarray(from, to), (2 * Math.PI * frequency) / outputRate);
}

/** Fits a sine of the angular frequency by least squares; the rest is what the fit leaves. */
function separateTone(
  signal: Float32Array,
  angularFrequency: number,
): { toneRms: number; restRms: number; totalRms: number } {
  let cc = 0;
  let cs = 0;
  let ss = 0;
  let xc = 0;
  let xs = 0;
  signal.forEach((sample, n) => {
    const cosine = Math.cos(angularFrequency * n);
    const sine = Math.sin(angularFrequency * n);
    cc += cosine * cosine;
    cs += cosine * sine;
    ss += sine * sine;
    xc += sample * cosine;
    xs += sample * sine;
  });
  const determinant = cc * ss - cs * cs;
  const a = (xc * ss - xs * cs) / determinant;
  const b = (xs * cc - xc * cs) / determinant;
  let rest = 0;
  let total = 0;
  signal.forEach((sample, n) => {
    const fitted = a * Math.cos(angularFrequency * n) + b * Math.sin(angularFrequency * n);
    rest += (sample - fitted) ** 2;
    total += sample * sample;
  });
  return {
    toneRms: Math.hypot(a, b) * Math.SQRT1_2,
    restRms: Math.sqrt(rest / signal.length),
    totalRms: Math.sqrt(total / signal.length),
  };
}

function decibels(ratio: number): number {
  return 20 * Math.log10(ratio);
}
