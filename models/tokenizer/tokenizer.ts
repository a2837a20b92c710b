/**
 * Turns text into token ids and back, as SentencePiece does.
 *
 * Our own because nothing on npm fits: `@huggingface/tokenizers` reads other files, the
 * `sentencepiece-js` family embeds megabytes of foreign vocabularies with a compiled SentencePiece.
 *
 * Follows google/sentencepiece@02555b8 src/sentencepiece_processor.cc
 * (`PopulateSentencePieceText`, `Decode`).
 */
import { CheckpointError } from '../checkpoints/checkpoint-error.ts';
import type { VocabularyPiece } from '../manifest.ts';
import { bytePairSegmenter } from './byte-pair.ts';
import { Normalizer } from './normalizer.ts';
import { PieceTrie } from './piece-trie.ts';
import { readSentencePieceModel, type SentencePieceModel } from './sentencepiece.ts';
import { unigramSegmenter } from './unigram.ts';
import { decodeBytes } from './utf8.ts';

/** Bytes `start` to `end` of a normalised text are spelled by the piece `id`. */
export type Segment = { readonly id: number; readonly start: number; readonly end: number };

/** Splits normalised text, UTF-8, into adjoining segments. */
export type Segmenter = (text: Uint8Array) => Segment[];

/** Longest text that is encoded at once, UTF-16 units: a book, and far beyond any prompt. */
export const MAX_TEXT_LENGTH = 1_000_000;

const BYTES = 256;

export class Tokenizer {
  /** Indexed by token id. */
  readonly pieces: readonly VocabularyPiece[];
  readonly #model: SentencePieceModel;
  readonly #normalizer: Normalizer;
  readonly #segment: Segmenter;
  readonly #unknownId: number;
  /** Token id by byte; null for models without byte pieces. */
  readonly #byteIds: readonly number[] | null;
  /** Byte by token id. */
  readonly #bytes: ReadonlyMap<number, number>;

  /** @throws CheckpointError naming what of the model is malformed or not implemented. */
  constructor(model: SentencePieceModel) {
    const { pieces, algorithm } = model;
    this.#model = model;
    this.pieces = pieces;
    if (model.rewritesDecodedText) {
      throw new CheckpointError('The tokenizer has a denormalizer_spec, which is not implemented.');
    }
    this.#unknownId = pieces.findIndex(({ kind }) => kind === 'unknown');
    if (this.#unknownId === -1) throw new CheckpointError('The tokenizer has no unknown piece.');
    const trie = new PieceTrie();
    const userPieces = new PieceTrie();
    const utf8 = new TextEncoder();
    const bytes = new Map<number, number>();
    for (const [id, { piece, kind }] of pieces.entries()) {
      if (kind === 'byte') bytes.set(id, byteOf(piece));
      if (kind !== 'normal' && kind !== 'user' && kind !== 'unused') continue;
      const spelling = utf8.encode(piece);
      if (spelling.length === 0) throw new CheckpointError(`The tokenizer's piece ${id} is empty.`);
      trie.add(spelling, id);
      if (kind === 'user') userPieces.add(spelling, id);
    }
    this.#bytes = bytes;
    this.#byteIds = model.byteFallback ? byteIds(bytes) : null;
    this.#normalizer = new Normalizer(model.normalizer, model.spaceAsSuffix, userPieces);
    switch (algorithm) {
      case 'unigram':
        this.#segment = unigramSegmenter(pieces, trie, this.#unknownId);
        break;
      case 'byte-pair':
        this.#segment = bytePairSegmenter(pieces, trie, userPieces, this.#unknownId);
        break;
      case 'word':
      case 'character':
        throw new CheckpointError(
          `The tokenizer is a ${algorithm} model of SentencePiece; unigram and byte-pair models are implemented.`,
        );
    }
  }

  /**
   * Token ids of a text, without marks of its beginning and end. Lone surrogates count as U+FFFD;
   * control pieces are never found in text, however it is spelled.
   * @throws RangeError beyond `MAX_TEXT_LENGTH`.
   */
  encode(text: string): number[] {
    if (text.length > MAX_TEXT_LENGTH) {
      throw new RangeError(
        `a text of ${text.length} characters is too long, ${MAX_TEXT_LENGTH} can be encoded at once`,
      );
    }
    const normalized = this.#normalizer.normalize(new TextEncoder().encode(text));
    const ids: number[] = [];
    for (const { id, start, end } of this.#segment(normalized)) {
      if (id !== this.#unknownId) {
        ids.push(id);
      } else if (this.#byteIds !== null) {
        for (const byte of normalized.subarray(start, end)) ids.push(this.#byteIds[byte] ?? id);
      } else if (ids.at(-1) !== id) {
        // A run of unknown characters is one unknown piece.
        ids.push(id);
      }
    }
    return ids;
  }

  /**
   * Text of token ids; control pieces say nothing, and the space before the first word is left out.
   * @throws RangeError for an id that the vocabulary does not have.
   */
  decode(ids: readonly number[]): string {
    const { addDummyPrefix, removeExtraSpaces } = this.#model.normalizer;
    let text = '';
    let pendingBytes: number[] = [];
    let isAtStart = addDummyPrefix || removeExtraSpaces;
    let wasSpaceRemoved = false;
    for (const id of ids) {
      const entry = this.pieces[id];
      if (entry === undefined) {
        throw new RangeError(`token ${id} is outside the vocabulary of ${this.pieces.length}`);
      }
      const byte = this.#bytes.get(id);
      if (byte !== undefined) {
        pendingBytes.push(byte);
        continue;
      }
      text += decodeBytes(pendingBytes);
      pendingBytes = [];
      if (wasSpaceRemoved || text !== '') isAtStart = false;
      wasSpaceRemoved = false;
      if (entry.kind === 'control') continue;
      if (entry.kind === 'unknown') {
        text += this.#model.unknownText;
        continue;
      }
      let spelling = entry.piece;
      if (isAtStart && spelling.startsWith('\u2581')) {
        spelling = spelling.slice(1);
        // Where extra spaces are removed, all at the start are extra.
        wasSpaceRemoved = !removeExtraSpaces;
      }
      text += spelling.replaceAll('\u2581', ' ');
    }
    return text + decodeBytes(pendingBytes);
  }
}

/** @throws CheckpointError when the file is missing, no SentencePiece model or not implemented. */
export async function openTokenizer(path: string): Promise<Tokenizer> {
  return new Tokenizer(await readSentencePieceModel(path));
}

function byteOf(piece: string): number {
  const digits = /^<0x([0-9A-F]{2})>$/.exec(piece)?.[1];
  if (digits === undefined) {
    throw new CheckpointError(`The tokenizer's byte piece ${JSON.stringify(piece)} is malformed.`);
  }
  return Number.parseInt(digits, 16);
}

function byteIds(bytes: ReadonlyMap<number, number>): number[] {
  const ids: number[] = [];
  for (const [id, byte] of bytes) ids[byte] = id;
  if (bytes.size !== BYTES || Object.keys(ids).length !== BYTES) {
    throw new CheckpointError('The tokenizer falls back to bytes, but lacks pieces for some.');
  }
  return ids;
}
