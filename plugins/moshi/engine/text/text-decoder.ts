/**
 * Text tokens to text, one token at a time.
 *
 * SentencePiece spells a space as U+2581 and characters outside its vocabulary as single bytes
 * (`<0xE2>`), which become text only when their UTF-8 sequence is complete.
 */
import type { VocabularyPiece } from '../../../../models/manifest.ts';

const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

/** What a token adds to the text. */
type Entry = { text: string } | { byte: number } | null;

/** The part of a model's vocabulary that all its conversations share. */
export class Vocabulary {
  readonly #entries: Entry[];

  /**
   * @param pieces - Indexed by token id.
   * @param silentTokens - Ids that say nothing whatever their spelling: padding and end of padding.
   */
  constructor(pieces: readonly VocabularyPiece[], silentTokens: readonly number[]) {
    this.#entries = pieces.map((entry, id) => (silentTokens.includes(id) ? null : meaning(entry)));
  }

  /** Null for tokens without text and ids that the vocabulary does not have. */
  entry(token: number): Entry {
    return this.#entries[token] ?? null;
  }
}

function meaning({ piece, kind }: VocabularyPiece): Entry {
  switch (kind) {
    case 'normal':
    case 'user':
      return { text: piece.replaceAll('\u2581', ' ') };
    case 'byte': {
      const digits = BYTE_PIECE.exec(piece)?.[1];
      return digits === undefined ? null : { byte: Number.parseInt(digits, 16) };
    }
    case 'unknown':
      // As SentencePiece itself decodes it, without the spaces it puts around.
      return { text: '\u2047' };
    case 'control':
    case 'unused':
      return null;
  }
}

/** The text of one conversation. */
export class StreamingTextDecoder {
  readonly #vocabulary: Vocabulary;
  #utf8 = new TextDecoder();

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
  }

  /** Adds a token and returns the text that it completes, with a leading space where a word starts. */
  push(token: number): string {
    const entry = this.#vocabulary.entry(token);
    if (entry === null) {
      return '';
    }
    if ('byte' in entry) {
      return this.#utf8.decode(Uint8Array.of(entry.byte), { stream: true });
    }
    // Bytes that nothing completes any more come out as U+FFFD rather than vanish.
    return this.#utf8.decode() + entry.text;
  }

  /** What is left of bytes that no character was made of, as U+FFFD: nothing will complete them. */
  flush(): string {
    return this.#utf8.decode();
  }

  /** Forgets bytes that no character was made of. */
  reset(): void {
    this.#utf8 = new TextDecoder();
  }
}
