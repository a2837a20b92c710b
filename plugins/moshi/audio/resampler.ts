/**
 * Converts a stream from one sample rate to another: any ratio of whole rates, chunks of any
 * length, linear phase, constant delay.
 *
 * With the reduced ratio L / M (output / input), output sample m lies at time m·M / L in input
 * samples, and
 *
 *   y[m] = Σ_n x[n] · h[m·M − n·L]
 *
 * where h is one low-pass filter at L times the input rate. For one m only every L-th tap of h
 * meets a sample, so h is stored as L rows ("phases") and each output costs one row.
 *
 * Output is aligned with input: y[m] is the value at exactly that instant. What the filter has to
 * wait for is withheld instead of padded, so the first push returns fewer samples and `flush`
 * returns the rest.
 *
 * Sums run over doubles in one fixed order per output sample, whatever the chunking: equal input
 * gives equal bits.
 */
import { designEquiripple, equirippleHalfLength } from './equiripple.ts';
import { designWindowedSinc, windowedSincHalfLength } from './windowed-sinc.ts';

/** Input samples handled at a time; bounds the buffer, however long a pushed chunk is. */
const BLOCK_SAMPLES = 4_096;
/** 10 ms hold at least four outputs of each of so many phases. */
const MOST_BLOCKED_PHASES = 16;
/** 256 MB of doubles; reached only by ratios like 192,001 : 24,000 beyond 192 kHz. */
const MAX_TABLE_ENTRIES = 2 ** 25;
/** Beyond, the exchange needs seconds and then loses to rounding. */
const MAX_EQUIRIPPLE_HALF_LENGTH = 256;
/**
 * The pass band ends at this part of the lower rate's half; the stop band starts at the half
 * itself, so that nothing folds. 24 kHz: 10.5 to 12 kHz.
 */
const PASS_BAND = 0.875;
/** Telephone audio is specified to 3.4 kHz; the wider transition keeps the delay short. */
const PASS_BAND_TELEPHONE = 0.85;
const TELEPHONE_RATE = 8_000;

export type ResamplerOptions = {
  /** Hz, a whole number. */
  inputRate: number;
  /** Hz, a whole number. */
  outputRate: number;
};

/** @throws RangeError if a rate is not a positive whole number or the ratio needs too large a table. */
export function createResampler(options: ResamplerOptions): Resampler {
  return new Resampler(options);
}

export class Resampler {
  readonly inputRate: number;
  readonly outputRate: number;
  /** Input samples that have to follow an instant before the output of that instant appears. */
  readonly delaySamples: number;
  /** L of the reduced ratio L / M. */
  readonly #up: number;
  /** M of the reduced ratio L / M. */
  readonly #down: number;
  /** [L, rowLength]: row p holds the taps for outputs p / L after an input sample, oldest first. */
  readonly #rows: Float64Array;
  readonly #rowLength: number;
  /** Input not yet done with, as doubles: loads in the inner loop need no conversion. */
  readonly #pending: Float64Array;
  #pendingSamples = 0;
  /** Index in #pending of the oldest input sample of the next output. */
  #position = 0;
  /** Row of the next output. */
  #phase = 0;
  #pushedSamples = 0;
  #returnedSamples = 0;

  constructor({ inputRate, outputRate }: ResamplerOptions) {
    requireRate('inputRate', inputRate);
    requireRate('outputRate', outputRate);
    this.inputRate = inputRate;
    this.outputRate = outputRate;
    const divisor = greatestCommonDivisor(inputRate, outputRate);
    this.#up = outputRate / divisor;
    this.#down = inputRate / divisor;
    const filter =
      inputRate === outputRate
        ? { rows: Float64Array.of(1), delaySamples: 0 }
        : designRows(inputRate, outputRate, this.#up);
    this.#rows = filter.rows;
    this.delaySamples = filter.delaySamples;
    this.#rowLength = 2 * filter.delaySamples + 1;
    this.#pending = new Float64Array(this.#rowLength + this.#down + BLOCK_SAMPLES);
    this.reset();
  }

  /** `delaySamples` as a duration. */
  get delayMs(): number {
    return (1_000 * this.delaySamples) / this.inputRate;
  }

  /**
   * Takes input samples, any number, and returns the output samples that they complete, in a
   * fresh array that owns its buffer. The chunk is not kept.
   */
  push(chunk: Float32Array): Float32Array {
    const output = new Float32Array(this.#availableAfter(chunk.length));
    this.#consume(chunk, output);
    this.#pushedSamples += chunk.length;
    this.#returnedSamples += output.length;
    return output;
  }

  /**
   * Ends the stream: returns what the delay still held, so that all pushes and this call together
   * return round(input samples · outputRate / inputRate), and resets.
   */
  flush(): Float32Array {
    const total = Math.round((this.#pushedSamples * this.#up) / this.#down);
    const missing = total - this.#returnedSamples;
    const tail = this.push(new Float32Array(this.delaySamples)).slice(0, missing);
    this.reset();
    return tail;
  }

  /** Forgets all input: as good as new. */
  reset(): void {
    // Silence before the first sample: the left half of the filter.
    this.#pending.fill(0, 0, this.delaySamples);
    this.#pendingSamples = this.delaySamples;
    this.#position = 0;
    this.#phase = 0;
    this.#pushedSamples = 0;
    this.#returnedSamples = 0;
  }

  #availableAfter(inputSamples: number): number {
    const starts = this.#pendingSamples + inputSamples - this.#rowLength - this.#position + 1;
    return Math.max(0, Math.ceil((starts * this.#up - this.#phase) / this.#down));
  }

  #consume(chunk: Float32Array, output: Float32Array): void {
    let written = 0;
    for (let start = 0; start < chunk.length; start += BLOCK_SAMPLES) {
      const end = Math.min(chunk.length, start + BLOCK_SAMPLES);
      const count = this.#availableAfter(end - start);
      this.#pending.set(chunk.subarray(start, end), this.#pendingSamples);
      this.#pendingSamples += end - start;
      this.#convolve(output, written, count);
      written += count;
      const steps = this.#phase + count * this.#down;
      this.#position += Math.floor(steps / this.#up);
      this.#phase = steps % this.#up;
      // The position may lie beyond what has arrived when the ratio skips more than a row.
      const done = Math.min(this.#position, this.#pendingSamples);
      this.#pending.copyWithin(0, done, this.#pendingSamples);
      this.#pendingSamples -= done;
      this.#position -= done;
    }
  }

  /** Writes `count` outputs to output[offset…] without moving the position. */
  #convolve(output: Float32Array, offset: number, count: number): void {
    if (this.#up > MOST_BLOCKED_PHASES) {
      for (let m = 0; m < count; m += 1) {
        output[offset + m] = splitDot(
          this.#rows,
          this.#rowOf(m),
          this.#pending,
          this.#startOf(m),
          this.#rowLength,
        );
      }
      return;
    }
    // Outputs of one phase lie `down` inputs apart and share their taps: four at a time load each
    // tap once and keep four independent sums, which is what makes the loop fast.
    const perPhase = Math.floor(count / this.#up);
    const blocks = perPhase - (perPhase % 4);
    for (let m = 0; m < this.#up && blocks > 0; m += 1) {
      dotBlocks(
        this.#rows,
        this.#rowOf(m),
        this.#pending,
        this.#startOf(m),
        this.#down,
        this.#rowLength,
        output,
        offset + m,
        this.#up,
        blocks,
      );
    }
    for (let m = blocks * this.#up; m < count; m += 1) {
      output[offset + m] = dot(
        this.#rows,
        this.#rowOf(m),
        this.#pending,
        this.#startOf(m),
        this.#rowLength,
      );
    }
  }

  /** Where in #rows the taps of the m-th output from here begin. */
  #rowOf(m: number): number {
    return ((this.#phase + m * this.#down) % this.#up) * this.#rowLength;
  }

  /** Where in #pending the input of the m-th output from here begins. */
  #startOf(m: number): number {
    return this.#position + Math.floor((this.#phase + m * this.#down) / this.#up);
  }
}

/**
 * Σ taps[row + i] · x[start + i] over i < length.
 *
 * `as number` here and in the other kernels: the caller keeps indices in range, and the check that `?? 0`
 * compiles to costs a third of the speed.
 */
function dot(
  taps: Float64Array,
  row: number,
  x: Float64Array,
  start: number,
  length: number,
): number {
  let sum = 0;
  for (let i = 0; i < length; i += 1) sum += (taps[row + i] as number) * (x[start + i] as number);
  return sum;
}

/**
 * `dot` with four sums that take turns, for outputs that have no companions of their phase. Another
 * order of adding, so a ratio uses either this or the others, never both.
 */
function splitDot(
  taps: Float64Array,
  row: number,
  x: Float64Array,
  start: number,
  length: number,
): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let x0 = start;
  let i = row;
  const end = row + length;
  for (; i + 3 < end; i += 4) {
    sum0 += (taps[i] as number) * (x[x0] as number);
    sum1 += (taps[i + 1] as number) * (x[x0 + 1] as number);
    sum2 += (taps[i + 2] as number) * (x[x0 + 2] as number);
    sum3 += (taps[i + 3] as number) * (x[x0 + 3] as number);
    x0 += 4;
  }
  for (; i < end; i += 1) sum0 += (taps[i] as number) * (x[x0++] as number);
  return sum0 + sum1 + (sum2 + sum3);
}

/**
 * `count` dots, a multiple of four, whose inputs lie `stride` apart, written `outputStride` apart.
 * Each sum adds in the same order as in `dot`, so both give the same bits. The outer loop is in
 * here because around a call the compiler runs out of registers.
 */
function dotBlocks(
  taps: Float64Array,
  row: number,
  x: Float64Array,
  start: number,
  stride: number,
  length: number,
  output: Float32Array,
  outputStart: number,
  outputStride: number,
  count: number,
): void {
  const end = row + length;
  for (let block = 0; block < count; block += 4) {
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    let x0 = start;
    let x1 = x0 + stride;
    let x2 = x1 + stride;
    let x3 = x2 + stride;
    for (let i = row; i < end; i += 1) {
      const tap = taps[i] as number;
      sum0 += tap * (x[x0++] as number);
      sum1 += tap * (x[x1++] as number);
      sum2 += tap * (x[x2++] as number);
      sum3 += tap * (x[x3++] as number);
    }
    output[outputStart] = sum0;
    output[outputStart + outputStride] = sum1;
    output[outputStart + 2 * outputStride] = sum2;
    output[outputStart + 3 * outputStride] = sum3;
    start += 4 * stride;
    outputStart += 4 * outputStride;
  }
}

/** Designs the filter and cuts it into rows: see `#rows`. The gain L makes up for the L − 1 missing samples. */
function designRows(
  inputRate: number,
  outputRate: number,
  up: number,
): { rows: Float64Array; delaySamples: number } {
  const prototypeRate = inputRate * up;
  const lowerRate = Math.min(inputRate, outputRate);
  const passBand = lowerRate <= TELEPHONE_RATE ? PASS_BAND_TELEPHONE : PASS_BAND;
  const stopEdge = lowerRate / 2 / prototypeRate;
  const passEdge = passBand * stopEdge;
  const { taps, delaySamples } =
    designShort(up, passEdge, stopEdge) ?? designLong(up, passEdge, stopEdge);
  const rowLength = 2 * delaySamples + 1;
  const halfLength = delaySamples * up;
  const rows = new Float64Array(up * rowLength);
  for (let phase = 0; phase < up; phase += 1) {
    for (let i = 0; i < rowLength; i += 1) {
      const tap = taps[halfLength + phase - (i - delaySamples) * up] ?? 0;
      rows[phase * rowLength + i] = up * tap;
    }
  }
  return { rows, delaySamples };
}

type Design = { taps: Float64Array; delaySamples: number };

/** The shortest filter there is, for ratios of small numbers; null beyond what can be computed. */
function designShort(up: number, passEdge: number, stopEdge: number): Design | null {
  // A whole number of input samples on either side makes the delay the same for every phase.
  const delaySamples = Math.ceil(equirippleHalfLength(passEdge, stopEdge) / up);
  const halfLength = delaySamples * up;
  if (halfLength > MAX_EQUIRIPPLE_HALF_LENGTH) return null;
  const taps = designEquiripple(halfLength, passEdge, stopEdge);
  return taps && { taps, delaySamples };
}

/** A filter a quarter longer, in closed form: ratios such as 80 : 147 need tens of thousands of taps. */
function designLong(up: number, passEdge: number, stopEdge: number): Design {
  const delaySamples = Math.ceil(windowedSincHalfLength(passEdge, stopEdge) / up);
  const length = up * (2 * delaySamples + 1);
  if (length > MAX_TABLE_ENTRIES) {
    throw new RangeError(
      `Cannot resample these two rates (they have no large common divisor): the filter would have ${length} taps, the limit is ${MAX_TABLE_ENTRIES}. Convert to a standard rate first.`,
    );
  }
  return { taps: designWindowedSinc(delaySamples * up, passEdge, stopEdge), delaySamples };
}

function requireRate(name: string, rate: number): void {
  if (!Number.isSafeInteger(rate) || rate <= 0) {
    throw new RangeError(`${name} must be a positive whole number of Hz, got ${rate}.`);
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
