/**
 * Keeps the sound that waits to be played short, however long a call lasts.
 *
 * The model makes one second of sound per second and the sink plays one per second, so whatever a
 * stall once left in the queue stays there for ever: every stall would add to the latency of the
 * rest of the call. The controller stands between the two. It sees each piece and what is queued at
 * that moment, and returns what to write instead:
 *
 * - ordinarily the piece itself, the same array;
 * - while the queue stays too long, the piece with silence taken out;
 * - if no silence comes for a while, speech shortened by whole pitch periods;
 * - nothing, where the queue is so long that writing would block.
 *
 * All joints are cross-faded with the signal that would have followed. There is no clock and no
 * queue inside; the caller awaits the sink.
 */
import { bestCut, crossFade, cutOut } from './splice.ts';

/** Nothing is done as long as the queue falls to this or less now and then: four ticks of the sink. */
const TOLERATED_MS = 40;
/**
 * Where draining stops: less would turn the next late frame, a few ms on a busy host, into a gap.
 * The queue is never filled up to it on purpose; that would add latency to a host that needs none.
 */
const TARGET_MS = 15;
/**
 * The queue counts as long if it has not been shorter for this long: five model frames. Two frames
 * that come together after a late one do not.
 */
const OBSERVED_MS = 400;
/** More than this is never queued: LiveKit's sink blocks its writer from 200 ms on. */
const LIMIT_MS = 200;
/** Speakers pause about that often; until then only silence is dropped. */
const PATIENCE_MS = 480;
/** Part of speech that may be taken out: at a quarter it is fast but understood. */
const SHORTEN_BY = 0.25;
/** Blocks by which silence is told from sound. */
const BLOCK_MS = 10;
/** RMS below which a block counts as silence: −50 dBFS, above the noise a codec leaves. */
const SILENCE_RMS = 0.00316;
/** Joint inside a piece. */
const FADE_MS = 10;
/** Shortest and longest pitch period looked for: 400 Hz and 50 Hz. */
const LEAST_CUT_MS = 2.5;
const MOST_CUT_MS = 20;

/** What the controller has taken out since it was made or reset, ms. */
export type BacklogCounters = {
  droppedSilenceMs: number;
  shortenedSpeechMs: number;
  /** Dropped because the queue was full, speech or not. */
  droppedOverflowMs: number;
};

export class BacklogController {
  readonly #samplesPerMs: number;
  readonly #nothing = new Float32Array(0);
  /** Queue lengths seen lately, as if all that was taken out since had been missing then. */
  #observed: { backlogMs: number; durationMs: number }[] = [];
  #isDraining = false;
  #drainingMs = 0;
  /** What would have followed the sound written last, if a piece was dropped after it. */
  #continuation: Float32Array | null = null;
  /** Speech that may be taken out now: pieces too short to be cut inside save up for one drop. */
  #allowanceMs = 0;
  #counters: BacklogCounters = { droppedSilenceMs: 0, shortenedSpeechMs: 0, droppedOverflowMs: 0 };

  /** @param sampleRate - Hz of all pieces. */
  constructor(sampleRate: number) {
    this.#samplesPerMs = sampleRate / 1_000;
  }

  get counters(): Readonly<BacklogCounters> {
    return { ...this.#counters };
  }

  /** Forgets what was observed, for a new sink; the counters go on. */
  reset(): void {
    this.#observed = [];
    this.#isDraining = false;
    this.#drainingMs = 0;
    this.#continuation = null;
    this.#allowanceMs = 0;
  }

  /**
   * Returns what to write instead of `piece`, possibly nothing. The result owns its buffer or is
   * `piece` itself, unchanged.
   *
   * @param piece - Samples of any length, 80 ms for a model frame.
   * @param backlogMs - Sound queued in the sink at this moment, before the piece.
   */
  process(piece: Float32Array, backlogMs: number): Float32Array {
    if (piece.length === 0) return piece;
    const durationMs = piece.length / this.#samplesPerMs;
    this.#observe(backlogMs, durationMs);
    if (backlogMs + Math.min(durationMs, BLOCK_MS) > LIMIT_MS) {
      this.#counters.droppedOverflowMs += durationMs;
      this.#isDraining = true;
      return this.#drop(piece, durationMs);
    }
    const excessMs = this.#excessMs(durationMs);
    if (excessMs <= 0) return this.#join(piece);
    const silence = longestSilence(piece, Math.round(BLOCK_MS * this.#samplesPerMs));
    if (silence.length === piece.length && durationMs <= excessMs) {
      this.#counters.droppedSilenceMs += durationMs;
      return this.#drop(piece, durationMs);
    }
    return this.#join(
      this.#withoutSilence(piece, silence, excessMs) ?? this.#shortened(piece, excessMs),
    );
  }

  #observe(backlogMs: number, durationMs: number): void {
    this.#observed.push({ backlogMs, durationMs });
    let spanMs = this.#observed.reduce((sum, entry) => sum + entry.durationMs, 0);
    while (spanMs - (this.#observed[0]?.durationMs ?? spanMs) >= OBSERVED_MS) {
      spanMs -= this.#observed.shift()?.durationMs ?? 0;
    }
    if (this.#isDraining) this.#drainingMs += durationMs;
    this.#allowanceMs = Math.min(this.#allowanceMs + SHORTEN_BY * durationMs, MOST_CUT_MS);
  }

  /** What is queued for nothing: the shortest queue of the observed time, above the target. */
  #excessMs(durationMs: number): number {
    const spanMs = this.#observed.reduce((sum, entry) => sum + entry.durationMs, 0);
    const shortestMs = Math.min(...this.#observed.map((entry) => entry.backlogMs));
    if (shortestMs <= TARGET_MS) {
      this.#isDraining = false;
      this.#drainingMs = 0;
    } else if (shortestMs > TOLERATED_MS && spanMs >= Math.max(OBSERVED_MS, durationMs)) {
      this.#isDraining = true;
    }
    return this.#isDraining ? shortestMs - TARGET_MS : 0;
  }

  #withoutSilence(
    piece: Float32Array,
    silence: { start: number; length: number },
    excessMs: number,
  ): Float32Array | null {
    const fade = Math.round(FADE_MS * this.#samplesPerMs);
    const cut = Math.min(silence.length - fade, Math.round(excessMs * this.#samplesPerMs));
    if (cut < LEAST_CUT_MS * this.#samplesPerMs) return null;
    this.#counters.droppedSilenceMs += this.#takeOut(cut);
    return cutOut(piece, silence.start, cut, fade);
  }

  #shortened(piece: Float32Array, excessMs: number): Float32Array {
    if (this.#drainingMs < PATIENCE_MS) return piece;
    const fade = Math.round(FADE_MS * this.#samplesPerMs);
    const least = Math.round(LEAST_CUT_MS * this.#samplesPerMs);
    const most = Math.floor(
      Math.min(this.#allowanceMs, excessMs, MOST_CUT_MS) * this.#samplesPerMs,
    );
    const durationMs = piece.length / this.#samplesPerMs;
    if (piece.length >= most + 2 * fade) {
      if (most < least) return piece;
      const position = Math.floor((piece.length - most - fade) / 2);
      const cut = bestCut(piece, position, least, most, fade);
      const cutMs = this.#takeOut(cut);
      this.#counters.shortenedSpeechMs += cutMs;
      this.#allowanceMs -= cutMs;
      return cutOut(piece, position, cut, fade);
    }
    if (durationMs > this.#allowanceMs || durationMs > excessMs) return piece;
    this.#counters.shortenedSpeechMs += durationMs;
    this.#allowanceMs -= durationMs;
    return this.#drop(piece, durationMs);
  }

  /** Keeps the beginning of a dropped piece: the next one fades in from it. */
  #drop(piece: Float32Array, durationMs: number): Float32Array {
    this.#continuation ??= piece.slice(0, Math.round(FADE_MS * this.#samplesPerMs));
    this.#takeOut(durationMs * this.#samplesPerMs);
    return this.#nothing;
  }

  #join(piece: Float32Array): Float32Array {
    if (this.#continuation === null || piece.length === 0) return piece;
    const joined = piece.slice();
    crossFade(this.#continuation, joined, Math.min(this.#continuation.length, piece.length));
    this.#continuation = null;
    return joined;
  }

  /** Notes that the queue will be shorter by `samples` than it was going to be; returns the ms. */
  #takeOut(samples: number): number {
    const takenMs = samples / this.#samplesPerMs;
    for (const entry of this.#observed) entry.backlogMs -= takenMs;
    return takenMs;
  }
}

/** The longest run of blocks that are all silent, in samples. */
function longestSilence(
  piece: Float32Array,
  blockLength: number,
): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let block = 0; block < piece.length; block += blockLength) {
    const end = Math.min(piece.length, block + blockLength);
    let energy = 0;
    for (let index = block; index < end; index += 1) energy += (piece[index] ?? 0) ** 2;
    if (energy > SILENCE_RMS ** 2 * (end - block)) start = end;
    else if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}
