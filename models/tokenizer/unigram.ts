/**
 * Splits text into the pieces whose scores add up to the most (Viterbi).
 *
 * Follows google/sentencepiece@f5c7363 src/unigram_model.cc (`Model::EncodeOptimized`), including
 * which sums are rounded to float32: equal sums are common, and the first found wins.
 */
import { ROOT, type PieceTrie } from './piece-trie.ts';
import type { ScoredPiece } from './sentencepiece.ts';
import type { Segment, Segmenter } from './tokenizer.ts';
import { characterBytes } from './utf8.ts';

/** What an unknown character costs beyond the least likely piece. */
const UNKNOWN_PENALTY = 10;

/** Smallest normal float32: what the reference begins its search for the highest score with. */
const SMALLEST_FLOAT32 = 2 ** -126;

export function unigramSegmenter(
  pieces: readonly ScoredPiece[],
  trie: PieceTrie,
  unknownId: number,
): Segmenter {
  const normalScores = pieces.filter(({ kind }) => kind === 'normal').map(({ score }) => score);
  const highest = normalScores.reduce((a, b) => Math.max(a, b), SMALLEST_FLOAT32);
  const lowest = normalScores.reduce((a, b) => Math.min(a, b), Infinity);
  const unknownScore = Math.fround(lowest - UNKNOWN_PENALTY);

  return (text) => {
    // Of the best split that ends at each byte: its last piece, where that starts, its sum.
    const lastPiece = new Int32Array(text.length + 1);
    const startsAt = new Int32Array(text.length + 1).fill(-1);
    const best = new Float32Array(text.length + 1);
    const offer = (end: number, start: number, id: number, sum: number): void => {
      if (startsAt[end] !== -1 && !(sum > (best[end] ?? 0))) return;
      best[end] = sum;
      startsAt[end] = start;
      lastPiece[end] = id;
    };
    for (let start = 0; start < text.length;) {
      const sumBefore = best[start] ?? 0;
      const nextCharacter = Math.min(start + characterBytes(text[start] ?? 0), text.length);
      let isCharacterKnown = false;
      let node = ROOT;
      for (let end = start + 1; end <= text.length; end += 1) {
        node = trie.step(node, text[end - 1] ?? 0);
        if (node === -1) break;
        const id = trie.idAt(node);
        const piece = id === -1 ? undefined : pieces[id];
        if (piece === undefined || piece.kind === 'unused') continue;
        // Pieces that users defined always win.
        const score = piece.kind === 'user' ? (end - start) * highest - 0.1 : piece.score;
        offer(end, start, id, score + sumBefore);
        isCharacterKnown ||= end === nextCharacter;
      }
      if (!isCharacterKnown) {
        offer(nextCharacter, start, unknownId, Math.fround(unknownScore + sumBefore));
      }
      start = nextCharacter;
    }
    const segments: Segment[] = [];
    for (let end = text.length; end > 0;) {
      const start = startsAt[end] ?? 0;
      segments.push({ id: lastPiece[end] ?? unknownId, start, end });
      end = start;
    }
    return segments.reverse();
  };
}
