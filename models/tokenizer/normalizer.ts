/**
 * Brings text into the spelling that a SentencePiece vocabulary was made from.
 *
 * Follows google/sentencepiece@f5c7363 src/normalizer.cc (`Normalizer::Normalize`).
 */
import { CharacterRules } from './character-rules.ts';
import type { PieceTrie } from './piece-trie.ts';
import type { NormalizerSettings } from './sentencepiece.ts';
import { characterBytes } from './utf8.ts';

const SPACE = 0x20;
/** U+2581, which stands for a space. */
const ESCAPED_SPACE = Uint8Array.of(0xe2, 0x96, 0x81);

export class Normalizer {
  readonly #settings: NormalizerSettings;
  readonly #spaceAsSuffix: boolean;
  readonly #rules: CharacterRules | null;
  readonly #userPieces: PieceTrie;

  /** @param userPieces - Spellings that no rule touches. */
  constructor(
    settings: Readonly<NormalizerSettings>,
    spaceAsSuffix: boolean,
    userPieces: PieceTrie,
  ) {
    this.#settings = settings;
    this.#spaceAsSuffix = spaceAsSuffix;
    this.#rules =
      settings.characterRules === null ? null : new CharacterRules(settings.characterRules);
    this.#userPieces = userPieces;
  }

  /** UTF-8 to UTF-8. */
  normalize(text: Uint8Array): Uint8Array {
    const { addDummyPrefix, removeExtraSpaces, escapeSpaces } = this.#settings;
    const space = escapeSpaces ? ESCAPED_SPACE : Uint8Array.of(SPACE);
    let start = 0;
    while (removeExtraSpaces && start < text.length) {
      const { length, replacement } = this.#next(text, start);
      if (replacement.length !== 1 || replacement[0] !== SPACE) break;
      start += length;
    }
    if (start === text.length) return new Uint8Array(0);

    const output = new ByteList(2 * text.length);
    if (addDummyPrefix && !this.#spaceAsSuffix) output.append(space);
    let afterSpace = removeExtraSpaces;
    while (start < text.length) {
      const { length, replacement } = this.#next(text, start);
      start += length;
      let skipped = 0;
      while (afterSpace && replacement[skipped] === SPACE) skipped += 1;
      if (skipped < replacement.length) {
        for (const byte of replacement.subarray(skipped)) {
          if (byte === SPACE) output.append(space);
          else output.push(byte);
        }
        afterSpace = removeExtraSpaces && replacement.at(-1) === SPACE;
      } else if (!removeExtraSpaces) {
        afterSpace = false;
      }
    }
    while (removeExtraSpaces && output.endsWith(space)) output.shorten(space.length);
    if (addDummyPrefix && this.#spaceAsSuffix) output.append(space);
    return output.bytes();
  }

  /** How many bytes of the text are taken at once, and what they become. */
  #next(text: Uint8Array, start: number): { length: number; replacement: Uint8Array } {
    const userPiece = this.#userPieces.longestPrefix(text, start);
    if (userPiece === 0) {
      const rule = this.#rules?.match(text, start) ?? null;
      if (rule !== null) return rule;
    }
    const length = userPiece > 0 ? userPiece : characterBytes(text[start] ?? 0);
    return { length, replacement: text.subarray(start, start + length) };
  }
}

/** Bytes that grow in number. */
class ByteList {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  push(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length + 16);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  append(bytes: Uint8Array): void {
    for (const byte of bytes) this.push(byte);
  }

  endsWith(bytes: Uint8Array): boolean {
    const start = this.#length - bytes.length;
    return start >= 0 && bytes.every((byte, index) => this.#bytes[start + index] === byte);
  }

  shorten(count: number): void {
    this.#length -= count;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
