/**
 * Splits text into characters and joins neighbours, those of the best score first, as long as what
 * they make is a piece.
 *
 * Follows google/sentencepiece@180a6fb src/bpe_model.cc (`Model::SampleEncode` without dropout).
 */
import type { PieceTrie } from './piece-trie.ts';
import type { ScoredPiece } from './sentencepiece.ts';
import type { Segment, Segmenter } from './tokenizer.ts';
import { characterBytes } from './utf8.ts';

/** Two neighbouring symbols that can be joined. */
type Pair = { left: number; right: number; score: number; length: number };

export function bytePairSegmenter(
  pieces: readonly ScoredPiece[],
  trie: PieceTrie,
  userPieces: PieceTrie,
  unknownId: number,
): Segmenter {
  return (text) => {
    // Symbols are slices of the text in a linked list; one that was joined to its left is empty.
    const starts: number[] = [];
    const ends: number[] = [];
    const isFrozen: boolean[] = [];
    for (let start = 0; start < text.length; start = ends.at(-1) ?? text.length) {
      const userPiece = userPieces.longestPrefix(text, start);
      const length = userPiece > 0 ? userPiece : characterBytes(text[start] ?? 0);
      starts.push(start);
      ends.push(Math.min(start + length, text.length));
      isFrozen.push(userPiece > 0);
    }
    const previous = starts.map((_, index) => index - 1);
    const next = starts.map((_, index) => (index + 1 < starts.length ? index + 1 : -1));
    const lengthOf = (symbol: number): number => (ends[symbol] ?? 0) - (starts[symbol] ?? 0);

    const agenda = new PairHeap();
    /** How a piece that is no longer used was made, by its spelling. */
    const origins = new Map<string, readonly [Segment, Segment]>();
    const propose = (left: number, right: number): void => {
      if (left === -1 || right === -1) return;
      if (isFrozen[left] === true || isFrozen[right] === true) return;
      const start = starts[left] ?? 0;
      const middle = starts[right] ?? 0;
      const end = ends[right] ?? 0;
      const id = trie.find(text, start, end);
      const piece = pieces[id];
      if (piece === undefined) return;
      agenda.push({ left, right, score: piece.score, length: end - start });
      if (piece.kind === 'unused') {
        origins.set(piece.piece, [segment(start, middle), segment(middle, end)]);
      }
    };
    const segment = (start: number, end: number): Segment => {
      const id = trie.find(text, start, end);
      return { id: id === -1 ? unknownId : id, start, end };
    };

    for (let symbol = 1; symbol < starts.length; symbol += 1) propose(symbol - 1, symbol);
    for (let pair = agenda.pop(); pair !== undefined; pair = agenda.pop()) {
      const { left, right, length } = pair;
      const isStale =
        lengthOf(left) === 0 ||
        lengthOf(right) === 0 ||
        lengthOf(left) + lengthOf(right) !== length;
      if (isStale) continue;
      ends[left] = ends[right] ?? 0;
      ends[right] = starts[right] ?? 0;
      const after = next[right] ?? -1;
      next[left] = after;
      if (after !== -1) previous[after] = left;
      propose(previous[left] ?? -1, left);
      propose(left, after);
    }

    const segments: Segment[] = [];
    const emit = (found: Segment): void => {
      const piece = pieces[found.id];
      const origin = piece?.kind === 'unused' ? origins.get(piece.piece) : undefined;
      if (origin === undefined) segments.push(found);
      else origin.forEach(emit);
    };
    for (let symbol = starts.length === 0 ? -1 : 0; symbol !== -1; symbol = next[symbol] ?? -1) {
      emit(segment(starts[symbol] ?? 0, ends[symbol] ?? 0));
    }
    return segments;
  };
}

/** Gives the pair of the highest score first, of equal ones the leftmost. */
class PairHeap {
  readonly #pairs: Pair[] = [];

  push(pair: Pair): void {
    const pairs = this.#pairs;
    let hole = pairs.push(pair) - 1;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = pairs[parent];
      if (above === undefined || !precedes(pair, above)) break;
      pairs[hole] = above;
      hole = parent;
    }
    pairs[hole] = pair;
  }

  pop(): Pair | undefined {
    const pairs = this.#pairs;
    const top = pairs[0];
    const last = pairs.pop();
    if (last === undefined || pairs.length === 0) return top;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      let below = pairs[child];
      const other = pairs[child + 1];
      if (below === undefined) break;
      if (other !== undefined && precedes(other, below)) {
        child += 1;
        below = other;
      }
      if (!precedes(below, last)) break;
      pairs[hole] = below;
      hole = child;
    }
    pairs[hole] = last;
    return top;
  }
}

function precedes(a: Pair, b: Pair): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}
