/** `bench resampler`: our resampler beside SoX's, the one in @livekit/rtc-node, in one run. */
import { availableParallelism, cpus } from 'node:os';
import { AudioFrame, AudioResampler, AudioResamplerQuality, dispose } from '@livekit/rtc-node';
import { measureConversion } from '../../../plugins/moshi/audio/measure-conversion.ts';
import type { ConversionQuality } from '../../../plugins/moshi/audio/measure-conversion.ts';
import { createResampler } from '../../../plugins/moshi/audio/resampler.ts';

const CASES = [
  { inputRate: 48_000, outputRate: 24_000, passEdge: 10_500 },
  { inputRate: 24_000, outputRate: 48_000, passEdge: 10_500 },
  { inputRate: 44_100, outputRate: 24_000, passEdge: 10_500 },
  { inputRate: 24_000, outputRate: 44_100, passEdge: 10_500 },
  { inputRate: 22_050, outputRate: 24_000, passEdge: 9_600 },
  { inputRate: 16_000, outputRate: 24_000, passEdge: 7_000 },
  { inputRate: 24_000, outputRate: 16_000, passEdge: 7_000 },
  { inputRate: 8_000, outputRate: 24_000, passEdge: 3_400 },
  { inputRate: 24_000, outputRate: 8_000, passEdge: 3_400 },
];
const SOX_QUALITIES = [
  ['SoX low', AudioResamplerQuality.LOW],
  ['SoX medium', AudioResamplerQuality.MEDIUM],
  ['SoX high', AudioResamplerQuality.HIGH],
  ['SoX very high', AudioResamplerQuality.VERY_HIGH],
] as const;
/** LiveKit delivers audio by 10 ms. */
const CHUNKS_PER_SECOND = 100;
/** Warms the compiler up. */
const WARM_UP_SECONDS = 5;
const TIMED_SECONDS = 2;
/** The best of several runs is the one that other programs disturbed least. */
const TIMED_RUNS = 20;
const DELAY_SECONDS = 2;
const INT16_SCALE = 32_768;

type Converter = {
  push(chunk: Float32Array): Float32Array[];
  flush(): Float32Array[];
  close(): void;
};

export type ResamplerFigures = ConversionQuality & {
  name: string;
  inputRate: number;
  outputRate: number;
  passEdge: number;
  stopEdge: number;
  /** Most sound held back when pushed by 10 ms, ms. */
  delayMs: number;
  /** Seconds of sound per second on one core, pushed by 10 ms. */
  timesRealTime: number;
};

export type ResamplerReport = {
  processor: string;
  cores: number;
  node: string;
  resamplers: ResamplerFigures[];
};

/** Measures and prints: a table, or with `json` one object. Takes about half a minute. */
export async function benchResampler({ json }: { json: boolean }): Promise<ResamplerReport> {
  const report: ResamplerReport = {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    node: process.version,
    resamplers: [],
  };
  for (const { inputRate, outputRate, passEdge } of CASES) {
    const candidates: [string, () => Converter][] = [
      ['ours', () => ourConverter(inputRate, outputRate)],
      ...SOX_QUALITIES.map(([name, quality]): [string, () => Converter] => [
        name,
        () => soxConverter(inputRate, outputRate, quality),
      ]),
    ];
    for (const [name, open] of candidates) {
      report.resamplers.push(measure(name, open, inputRate, outputRate, passEdge));
      // Lets signals and timers through.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  // LiveKit's native library would keep the process alive.
  await dispose();
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
  return report;
}

function measure(
  name: string,
  open: () => Converter,
  inputRate: number,
  outputRate: number,
  passEdge: number,
): ResamplerFigures {
  const stopEdge = Math.min(inputRate, outputRate) / 2;
  const limits = { inputRate, outputRate, passEdge, stopEdge };
  const quality = measureConversion((input) => convertWhole(open, inputRate, input), limits);
  return {
    name,
    ...limits,
    delayMs: measureDelayMs(open, inputRate, outputRate),
    ...quality,
    timesRealTime: measureSpeed(open, inputRate),
  };
}

function convertWhole(open: () => Converter, inputRate: number, input: Float32Array): Float32Array {
  const converter = open();
  const parts: Float32Array[] = [];
  const length = chunkLength(inputRate);
  for (let start = 0; start < input.length; start += length) {
    parts.push(...converter.push(input.slice(start, start + length)));
  }
  parts.push(...converter.flush());
  converter.close();
  const output = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    output.set(part, position);
    position += part.length;
  }
  return output;
}

/** 22.05 kHz has no whole number of samples in 10 ms. */
function chunkLength(inputRate: number): number {
  return Math.round(inputRate / CHUNKS_PER_SECOND);
}

/** Both kinds return output aligned with their input, so what has not come yet is the delay. */
function measureDelayMs(open: () => Converter, inputRate: number, outputRate: number): number {
  const converter = open();
  const chunk = new Float32Array(chunkLength(inputRate));
  let returned = 0;
  let delayMs = 0;
  for (let pushed = 1; pushed <= DELAY_SECONDS * CHUNKS_PER_SECOND; pushed += 1) {
    for (const part of converter.push(chunk)) returned += part.length;
    const heldMs = (1_000 * pushed * chunk.length) / inputRate - (1_000 * returned) / outputRate;
    delayMs = Math.max(delayMs, heldMs);
  }
  converter.close();
  return delayMs;
}

function measureSpeed(open: () => Converter, inputRate: number): number {
  const converter = open();
  const chunk = Float32Array.from(
    { length: chunkLength(inputRate) },
    (_, index) => 0.5 * Math.sin(index / 3),
  );
  const run = (seconds: number) => {
    const start = performance.now();
    for (let pushed = 0; pushed < seconds * CHUNKS_PER_SECOND; pushed += 1) converter.push(chunk);
    return (1_000 * seconds) / (performance.now() - start);
  };
  run(WARM_UP_SECONDS);
  const speeds = Array.from({ length: TIMED_RUNS }, () => run(TIMED_SECONDS));
  converter.close();
  return Math.max(...speeds);
}

function ourConverter(inputRate: number, outputRate: number): Converter {
  const resampler = createResampler({ inputRate, outputRate });
  return {
    push: (chunk) => [resampler.push(chunk)],
    flush: () => [resampler.flush()],
    close: () => undefined,
  };
}

/** SoX's resampler takes and returns 16-bit samples, which alone limits it to about 98 dB. */
function soxConverter(
  inputRate: number,
  outputRate: number,
  quality: AudioResamplerQuality,
): Converter {
  const resampler = new AudioResampler(inputRate, outputRate, 1, quality);
  const samplesOf = (frames: AudioFrame[]) =>
    frames.map((frame) => Float32Array.from(frame.data, (sample) => sample / INT16_SCALE));
  return {
    push: (chunk) => {
      const data = Int16Array.from(chunk, (sample) => Math.round(sample * INT16_SCALE));
      return samplesOf(resampler.push(new AudioFrame(data, inputRate, 1, data.length)));
    },
    flush: () => samplesOf(resampler.flush()),
    close: () => resampler.close(),
  };
}

function table({ processor, cores, node, resamplers }: ResamplerReport): string {
  const header = ['Hz', '', 'delay ms', 'ripple dB', 'stop band dB', 'SNR dB', '× real time'];
  const rows = resamplers.map((figures) => [
    `${figures.inputRate} → ${figures.outputRate}`,
    figures.name,
    figures.delayMs.toFixed(3),
    figures.rippleDb.toFixed(4),
    figures.stopBandDb.toFixed(1),
    figures.signalToNoiseDb.toFixed(1),
    figures.timesRealTime.toFixed(0),
  ]);
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => (row[column] ?? '').length)),
  );
  const lines = [header, ...rows].map((row) =>
    row
      .map((cell, column) =>
        column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  );
  return [
    ...lines,
    '',
    'delay: most sound held back when pushed by 10 ms · ripple: to 7/8 of half the lower rate (3.4 kHz for 8 kHz)',
    'stop band: from half the lower rate · SNR: worst tone of the pass band · SoX works on 16 bits (about 98 dB)',
    `${processor}, ${cores} cores, one used; Node ${node}`,
    '',
  ].join('\n');
}
