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
 * meets a sample: L rows of taps ("phases"), and each output costs one row.
 *
 * Output is aligned with input: y[m] is the value at exactly that instant. What the filter has to
 * wait for is withheld instead of padded, so the first push returns fewer samples and `flush`
 * returns the rest.
 *
 * Sums run over doubles in one fixed order per output sample, whatever the chunking: equal finite
 * input gives equal bits.
 */
import { designEquiripple, equirippleHalfLength } from './equiripple.ts';
import { designWindowedSinc, windowedSincHalfLength } from './windowed-sinc.ts';

/** Input samples handled at a time; bounds the buffer, however long a pushed chunk is. */
const BLOCK_SAMPLES = 4_096;
/** Outputs computed together: each input sample is loaded once for all, into independent sums. */
const GROUP = 4;
/** Fewer phases are listed GROUP times, so that they fill whole groups. */
const FEW_PHASES = 16;
/** 256 MB of doubles; reached only by ratios like 192,001 : 24,000 beyond 192 kHz. */
const MAX_TABLE_ENTRIES = 2 ** 25;
/**
 * A design takes tens of milliseconds, for which a call would stand still whenever a microphone comes
 * back: those of the rates in use are kept. Beyond, ratios are odd ones, and their tables large.
 */
const MOST_KEPT_FILTERS = 16;
const MOST_KEPT_TAPS = 2 ** 16;
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
  readonly #groups: RowGroups;
  readonly #rowLength: number;
  /** Input not yet done with; see `doublesOf` for why this is no Float64Array. */
  readonly #pending: number[];
  #pendingSamples = 0;
  /** Index in #pending of the oldest input sample of the next output. */
  #position = 0;
  /** Where in the cycle of `#groups` the next output lies. */
  #turn = 0;
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
    const { delaySamples, groups } = findFilter(inputRate, outputRate, this.#up, this.#down);
    this.delaySamples = delaySamples;
    this.#rowLength = 2 * delaySamples + 1;
    this.#groups = groups;
    this.#pending = doublesOf(new Float64Array(this.#rowLength + this.#down + BLOCK_SAMPLES));
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
    this.#turn = 0;
    this.#pushedSamples = 0;
    this.#returnedSamples = 0;
  }

  #availableAfter(inputSamples: number): number {
    const starts = this.#pendingSamples + inputSamples - this.#rowLength - this.#position + 1;
    const phase = (this.#turn * this.#down) % this.#up;
    return Math.max(0, Math.ceil((starts * this.#up - phase) / this.#down));
  }

  #consume(chunk: Float32Array, output: Float32Array): void {
    let written = 0;
    for (let start = 0; start < chunk.length; start += BLOCK_SAMPLES) {
      const end = Math.min(chunk.length, start + BLOCK_SAMPLES);
      const count = this.#availableAfter(end - start);
      copySamples(chunk, start, end, this.#pending, this.#pendingSamples);
      this.#pendingSamples += end - start;
      this.#convolve(output, written, count);
      written += count;
      // The position may lie beyond what has arrived when the ratio skips more than a row.
      const done = Math.min(this.#position, this.#pendingSamples);
      copySamples(this.#pending, done, this.#pendingSamples, this.#pending, 0);
      this.#pendingSamples -= done;
      this.#position -= done;
    }
  }

  /** Writes `count` outputs to output[offset…] and moves on to the input of the next one. */
  #convolve(output: Float32Array, offset: number, count: number): void {
    const { taps, windowLength, inputOffsets, cycle, cycleInputs } = this.#groups;
    const end = offset + count;
    let turn = this.#turn;
    let cycleStart = this.#position - (inputOffsets[turn] ?? 0);
    while (offset < end) {
      const whole = Math.floor(Math.min(cycle - turn, end - offset) / GROUP);
      if (turn % GROUP === 0 && whole > 0) {
        dotGroups(
          taps,
          windowLength,
          inputOffsets,
          turn,
          this.#pending,
          cycleStart,
          output,
          offset,
          whole,
        );
        offset += GROUP * whole;
        turn += GROUP * whole;
      } else {
        const member = turn % GROUP;
        const start = inputOffsets[turn] ?? 0;
        const skipped = start - (inputOffsets[turn - member] ?? 0);
        const row = (turn - member) * windowLength + skipped * GROUP + member;
        output[offset] = dot(taps, row, this.#pending, cycleStart + start, this.#rowLength);
        offset += 1;
        turn += 1;
      }
      if (turn === cycle) {
        turn = 0;
        cycleStart += cycleInputs;
      }
    }
    this.#turn = turn;
    this.#position = cycleStart + (inputOffsets[turn] ?? 0);
  }
}

type Filter = { readonly delaySamples: number; readonly groups: RowGroups };

const keptFilters = new Map<string, Filter>();

/** The filter of these rates, which is designed once: nobody writes to it. */
function findFilter(inputRate: number, outputRate: number, up: number, down: number): Filter {
  const key = `${inputRate} ${outputRate}`;
  const kept = keptFilters.get(key);
  if (kept !== undefined) return kept;
  const { rows, delaySamples } =
    inputRate === outputRate
      ? { rows: Float64Array.of(1), delaySamples: 0 }
      : designRows(inputRate, outputRate, up);
  const filter = { delaySamples, groups: groupRows(rows, 2 * delaySamples + 1, up, down) };
  if (keptFilters.size < MOST_KEPT_FILTERS && rows.length <= MOST_KEPT_TAPS) {
    keptFilters.set(key, filter);
  }
  return filter;
}

/** Rows of taps in the order in which outputs use them, GROUP at a time. */
type RowGroups = {
  /**
   * [groups, windowLength, GROUP]: one window of input serves a whole group; rows that begin later
   * or end earlier in it have zeros there, which change no finite sum.
   */
  taps: number[];
  windowLength: number;
  /** Where the input of each output of the cycle begins, from the cycle's first. */
  inputOffsets: Int32Array;
  /** Outputs until the rows repeat; the last group is not full unless GROUP divides this. */
  cycle: number;
  /** Input samples that a cycle moves on by. */
  cycleInputs: number;
};

/** @param rows [up, rowLength]: row p holds the taps for outputs p / up after an input sample, oldest first. */
function groupRows(rows: Float64Array, rowLength: number, up: number, down: number): RowGroups {
  const repeats = up <= FEW_PHASES ? GROUP : 1;
  const cycle = repeats * up;
  const inputOffsets = Int32Array.from({ length: cycle }, (_, n) => Math.floor((n * down) / up));
  const windowLength = rowLength + Math.ceil(((GROUP - 1) * down) / up);
  const taps = new Float64Array(Math.ceil(cycle / GROUP) * windowLength * GROUP);
  for (let turn = 0; turn < cycle; turn += 1) {
    const member = turn % GROUP;
    const skipped = (inputOffsets[turn] ?? 0) - (inputOffsets[turn - member] ?? 0);
    const target = (turn - member) * windowLength + skipped * GROUP + member;
    const row = ((turn * down) % up) * rowLength;
    for (let i = 0; i < rowLength; i += 1) taps[target + i * GROUP] = rows[row + i] ?? 0;
  }
  return {
    taps: doublesOf(taps),
    windowLength,
    inputOffsets,
    cycle,
    cycleInputs: repeats * down,
  };
}

/**
 * The values as an array that holds nothing but doubles. Loops over it run up to twice as fast as
 * over a Float64Array: once any buffer of the process was ever transferred, V8 asks at every load
 * from a typed array whether its buffer is still there.
 */
function doublesOf(values: Float64Array): number[] {
  // V8 stores an array unboxed from its first fraction on; a whole number alone would not do.
  const doubles = [0.5];
  for (let i = 1; i < values.length; i += 1) doubles.push(values[i] ?? 0);
  doubles[0] = values[0] ?? 0;
  return doubles;
}

/** Copies from[start…end) to to[at…], in rising order: to the left within one array is fine. */
function copySamples(
  from: ArrayLike<number>,
  start: number,
  end: number,
  to: number[],
  at: number,
): void {
  for (let i = start; i < end; i += 1) to[at + i - start] = from[i] as number;
}

/**
 * Σ taps[row + GROUP · i] · x[start + i] over i < length: one row on its own.
 *
 * `as number` here and in `dotGroups`: the caller keeps indices in range, and the check that `?? 0`
 * compiles to costs a third of the speed. `| 0` tells the compiler that an index needs no check for
 * overflow, which costs another fifth.
 */
function dot(taps: number[], row: number, x: number[], start: number, length: number): number {
  let sum = 0;
  let i = row | 0;
  const end = (start + length) | 0;
  for (let k = start | 0; k < end; k = (k + 1) | 0) {
    sum += (taps[i] as number) * (x[k] as number);
    i = (i + GROUP) | 0;
  }
  return sum;
}

/**
 * `count` whole groups from that of `turn`. Each sum adds in the same order as in `dot`, so both
 * give the same bits. The outer loop is in here because around a call the compiler runs out of
 * registers.
 */
function dotGroups(
  taps: number[],
  windowLength: number,
  inputOffsets: Int32Array,
  turn: number,
  x: number[],
  cycleStart: number,
  output: Float32Array,
  outputStart: number,
  count: number,
): void {
  let i = (turn * windowLength) | 0;
  for (let group = 0; group < count; group += 1) {
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    let k = (cycleStart + (inputOffsets[turn + GROUP * group] as number)) | 0;
    const end = (k + windowLength) | 0;
    while (k < end) {
      const sample = x[k] as number;
      sum0 += (taps[i] as number) * sample;
      sum1 += (taps[i + 1] as number) * sample;
      sum2 += (taps[i + 2] as number) * sample;
      sum3 += (taps[i + 3] as number) * sample;
      i = (i + GROUP) | 0;
      k = (k + 1) | 0;
    }
    const first = outputStart + GROUP * group;
    output[first] = sum0;
    output[first + 1] = sum1;
    output[first + 2] = sum2;
    output[first + 3] = sum3;
  }
}

/** Designs the filter and cuts it into rows: see `groupRows`. The gain L makes up for the L − 1 missing samples. */
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
