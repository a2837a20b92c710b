/**
 * Linear-phase low-pass filters of the shortest length: Chebyshev approximation by the Remez
 * exchange (J. H. McClellan, T. W. Parks, L. R. Rabiner, "A computer program for designing optimum
 * FIR linear phase digital filters", 1973), with the barycentric form of the interpolation.
 *
 * All frequencies are in cycles per sample of the filter's own rate, 0 to 0.5.
 */

/**
 * Pass-band error allowed per unit of stop-band error. Nobody hears 0.005 dB of ripple and the stop
 * band gains 30 dB from it.
 */
const PASS_ERROR_PER_STOP_ERROR = 1_000;
/**
 * Half the filter's length in samples, times its transition width: by Kaiser's estimate 125 dB at
 * a ripple of 0.005 dB.
 */
const HALF_LENGTH_TIMES_TRANSITION = 2.8125;
/** Points of the frequency grid per extremum: the usual 16. */
const GRID_DENSITY = 16;
const MAX_EXCHANGES = 100;
/** Largest and smallest extremum agree to this part when the exchange has converged. */
const CONVERGED = 1e-4;

/** Samples on either side of the centre that this transition needs. */
export function equirippleHalfLength(passEdge: number, stopEdge: number): number {
  return Math.ceil(HALF_LENGTH_TIMES_TRANSITION / (stopEdge - passEdge) - 1e-9);
}

type Grid = { x: Float64Array; desired: Float64Array; weight: Float64Array };

/**
 * Returns [2 · halfLength + 1] taps, symmetric; null if the exchange did not converge, which
 * rounding causes for half lengths of several hundred.
 */
export function designEquiripple(
  halfLength: number,
  passEdge: number,
  stopEdge: number,
): Float64Array | null {
  const grid = makeGrid(halfLength, passEdge, stopEdge);
  const extremumCount = halfLength + 2;
  let extrema = Array.from({ length: extremumCount }, (_, i) =>
    Math.round((i * (grid.x.length - 1)) / (extremumCount - 1)),
  );
  for (let exchange = 0; exchange < MAX_EXCHANGES; exchange += 1) {
    const response = interpolate(grid, extrema);
    const error = grid.x.map(
      (x, i) => ((grid.desired[i] ?? 0) - response(x)) * (grid.weight[i] ?? 0),
    );
    const next = alternatingExtrema(error, extremumCount);
    if (next === null) return null;
    extrema = next;
    const sizes = extrema.map((i) => Math.abs(error[i] ?? 0));
    const largest = Math.max(...sizes);
    if (largest - Math.min(...sizes) < CONVERGED * largest) {
      return tapsOf(interpolate(grid, extrema), halfLength);
    }
  }
  return null;
}

/** Both bands with their edges, in cosines of the angular frequency. */
function makeGrid(halfLength: number, passEdge: number, stopEdge: number): Grid {
  const step = 0.5 / (GRID_DENSITY * (halfLength + 1));
  const passCount = Math.max(2, Math.ceil(passEdge / step));
  const stopCount = Math.max(2, Math.ceil((0.5 - stopEdge) / step));
  const count = passCount + stopCount;
  const x = new Float64Array(count);
  const desired = new Float64Array(count);
  const weight = new Float64Array(count);
  for (let i = 0; i < count; i += 1) {
    const isPass = i < passCount;
    const frequency = isPass
      ? (passEdge * i) / (passCount - 1)
      : stopEdge + ((0.5 - stopEdge) * (i - passCount)) / (stopCount - 1);
    x[i] = Math.cos(2 * Math.PI * frequency);
    desired[i] = isPass ? 1 : 0;
    weight[i] = isPass ? 1 / PASS_ERROR_PER_STOP_ERROR : 1;
  }
  return { x, desired, weight };
}

/** The cosine polynomial whose weighted error alternates with one size over `extrema`. */
function interpolate(grid: Grid, extrema: number[]): (x: number) => number {
  const nodes = extrema.map((i) => grid.x[i] ?? 0);
  // Differences of cosines average ½ in the geometric mean; twice them keeps the product in range.
  const reciprocals = nodes.map((node, i) =>
    nodes.reduce((product, other, j) => (i === j ? product : product / (2 * (node - other))), 1),
  );
  let numerator = 0;
  let denominator = 0;
  reciprocals.forEach((reciprocal, i) => {
    const index = extrema[i] ?? 0;
    numerator += reciprocal * (grid.desired[index] ?? 0);
    denominator += ((i % 2 === 0 ? 1 : -1) * reciprocal) / (grid.weight[index] ?? 1);
  });
  const deviation = numerator / denominator;
  const values = extrema.map(
    (index, i) =>
      (grid.desired[index] ?? 0) - ((i % 2 === 0 ? 1 : -1) * deviation) / (grid.weight[index] ?? 1),
  );
  return (x) => {
    let above = 0;
    let below = 0;
    for (let i = 0; i < nodes.length; i += 1) {
      const distance = x - (nodes[i] ?? 0);
      if (distance === 0) return values[i] ?? 0;
      const factor = (reciprocals[i] ?? 0) / distance;
      above += factor * (values[i] ?? 0);
      below += factor;
    }
    return above / below;
  };
}

/** Grid indices of `count` extrema of alternating sign, the largest there are; null if there are fewer. */
function alternatingExtrema(error: Float64Array, count: number): number[] | null {
  const found: number[] = [];
  for (let i = 0; i < error.length; i += 1) {
    const value = error[i] ?? 0;
    const sign = Math.sign(value);
    if (sign === 0) continue;
    const before = (error[i - 1] ?? 0) * sign;
    const after = (error[i + 1] ?? 0) * sign;
    if (Math.abs(value) < before || Math.abs(value) < after) continue;
    const last = found.at(-1);
    if (last === undefined || Math.sign(error[last] ?? 0) !== sign) found.push(i);
    else if (Math.abs(value) > Math.abs(error[last] ?? 0)) found[found.length - 1] = i;
  }
  // Dropping from the ends keeps the signs alternating.
  while (found.length > count) {
    const first = Math.abs(error[found[0] ?? 0] ?? 0);
    const last = Math.abs(error[found.at(-1) ?? 0] ?? 0);
    if (first < last) found.shift();
    else found.pop();
  }
  return found.length === count ? found : null;
}

/** Inverse discrete Fourier transform of the zero-phase response, sampled at its 2K + 1 frequencies. */
function tapsOf(response: (x: number) => number, halfLength: number): Float64Array {
  const length = 2 * halfLength + 1;
  const samples = Array.from({ length: halfLength + 1 }, (_, k) =>
    response(Math.cos((2 * Math.PI * k) / length)),
  );
  const taps = new Float64Array(length);
  for (let n = 0; n <= halfLength; n += 1) {
    let sum = samples[0] ?? 0;
    for (let k = 1; k <= halfLength; k += 1) {
      sum += 2 * (samples[k] ?? 0) * Math.cos((2 * Math.PI * k * n) / length);
    }
    taps[halfLength - n] = sum / length;
    taps[halfLength + n] = sum / length;
  }
  return taps;
}
