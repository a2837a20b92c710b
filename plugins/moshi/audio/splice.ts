/** Joining two stretches of one voice so that nobody hears where something was taken out. */

/** Correlation is measured on every such sample; speech has its pitch well below 1/8 of 48 kHz. */
const CORRELATION_STEP = 8;

/**
 * Writes to[0…] over the beginning of `target`, faded from `from`: at index 0 all `from`, after
 * `length` samples all `target`. The curve is a raised cosine: alike signals keep their level.
 */
export function crossFade(from: Float32Array, target: Float32Array, length: number): void {
  for (let index = 0; index < length; index += 1) {
    const into = 0.5 - 0.5 * Math.cos((Math.PI * (index + 0.5)) / length);
    const before = from[index] ?? 0;
    target[index] = before + into * ((target[index] ?? 0) - before);
  }
}

/**
 * Returns `piece` without `cut` samples at `position`: what follows fades in over `fade` samples.
 * Needs position + cut + fade ≤ piece.length.
 */
export function cutOut(
  piece: Float32Array,
  position: number,
  cut: number,
  fade: number,
): Float32Array {
  const output = new Float32Array(piece.length - cut);
  output.set(piece.subarray(0, position));
  const rest = output.subarray(position);
  rest.set(piece.subarray(position + cut));
  crossFade(piece.subarray(position, position + fade), rest, fade);
  return output;
}

/**
 * The cut in [least, most] after which the signal goes on most like it did: a pitch period or a
 * few, as in WSOLA (W. Verhelst, M. Roelands, 1993).
 */
export function bestCut(
  piece: Float32Array,
  position: number,
  least: number,
  most: number,
  fade: number,
): number {
  const coarse = bestOf(piece, position, fade, least, most, CORRELATION_STEP, CORRELATION_STEP);
  return bestOf(
    piece,
    position,
    fade,
    Math.max(least, coarse - CORRELATION_STEP),
    Math.min(most, coarse + CORRELATION_STEP),
    1,
    CORRELATION_STEP / 2,
  );
}

function bestOf(
  piece: Float32Array,
  position: number,
  fade: number,
  least: number,
  most: number,
  lagStep: number,
  sampleStep: number,
): number {
  let best = most;
  let bestScore = -Infinity;
  // From the longest down, so that silence, where all are alike, gives the longest.
  for (let cut = most; cut >= least; cut -= lagStep) {
    let product = 0;
    let energy = 1e-9;
    for (let index = 0; index < fade; index += sampleStep) {
      const before = piece[position + index] ?? 0;
      const after = piece[position + cut + index] ?? 0;
      product += before * after;
      energy += after * after;
    }
    const score = product / Math.sqrt(energy);
    if (score > bestScore) {
      bestScore = score;
      best = cut;
    }
  }
  return best;
}
