/**
 * Makes a model say a given text at its own pace: it decides when to pause and when to speak, the
 * script decides which words.
 *
 * Moshi writes what it says as it says it: padding while it is silent, the end of padding in the frame
 * before a word, then the word's pieces in frames one after the other. So padding is kept as the model
 * writes it, and where it would write anything else it writes the script's next piece. Kyutai trained
 * none of its conversing models for this (its synthesis, kyutai-labs/moshi@e6a55d2
 * moshi/moshi/models/tts.py `StateMachine`, is where the rules come from): words may be slurred.
 */
import type { VocabularyPiece } from '../../../../models/manifest.ts';
import { FREE } from './system-prompt.ts';

/** Frames of padding after which the next word comes whether the model likes it or not. */
const MAX_PADDING_FRAMES = 10;

/** Pieces of a script; at three to four a second these take five minutes. */
const MAX_PIECES = 1_000;

/** A text that cannot be said. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError';
}

export type ScriptModel = {
  readonly paddingToken: number;
  readonly endOfPaddingToken: number;
  /** Indexed by token id. */
  readonly pieces: readonly VocabularyPiece[];
};

/** One conversation's script. Every step asks `next` what to force, and tells `took` what came of it. */
export class ScriptedSpeech {
  readonly #paddingToken: number;
  readonly #endOfPaddingToken: number;
  readonly #words: (readonly number[])[];
  /** Pieces of the word that is being said. */
  #pieces: readonly number[] = [];
  #paddingFrames = 0;
  #isAnnounced = false;

  /**
   * @param tokens - Of the text, as its tokenizer splits it.
   * @throws ScriptError if the text is empty, too long, or the model has no pieces for it.
   */
  constructor(model: ScriptModel, tokens: readonly number[]) {
    this.#paddingToken = model.paddingToken;
    this.#endOfPaddingToken = model.endOfPaddingToken;
    this.#words = splitWords(model, tokens);
  }

  /** Whether every piece has been written; its sound takes the model's delay longer. */
  get isDone(): boolean {
    return this.#words.length === 0 && this.#pieces.length === 0;
  }

  /** Most steps that the rest can take. */
  get mostSteps(): number {
    return this.#words.reduce(
      (steps, pieces) => steps + pieces.length + MAX_PADDING_FRAMES + 1,
      this.#pieces.length,
    );
  }

  /** Value for the graph's input `forced_text`: a token, or one in place of all but padding. */
  next(): number {
    const [piece] = this.#pieces;
    if (piece !== undefined) return piece;
    const first = this.#words[0]?.[0];
    // With nothing left to say, silence takes the place of words of its own.
    if (first === undefined) return insteadOfWords(this.#paddingToken);
    if (this.#paddingFrames < MAX_PADDING_FRAMES) return insteadOfWords(first);
    return this.#isAnnounced ? first : this.#endOfPaddingToken;
  }

  /** @param token - What the model wrote in the step that `next` was for. */
  took(token: number): void {
    if (this.#pieces.length > 0) {
      this.#pieces = this.#pieces.slice(1);
      return;
    }
    const [word] = this.#words;
    if (word !== undefined && token === word[0]) {
      this.#words.shift();
      this.#pieces = word.slice(1);
      this.#paddingFrames = 0;
      this.#isAnnounced = false;
      return;
    }
    this.#paddingFrames += 1;
    this.#isAnnounced = token === this.#endOfPaddingToken;
  }
}

/** What `forced_text` calls "this token in place of all but padding" (models/manifest.ts). */
function insteadOfWords(token: number): number {
  return FREE - 1 - token;
}

function splitWords(
  { pieces, paddingToken, endOfPaddingToken }: ScriptModel,
  tokens: readonly number[],
): number[][] {
  if (tokens.length === 0) throw new ScriptError('There is nothing to say: the text is empty.');
  if (tokens.length > MAX_PIECES) {
    throw new ScriptError(
      `The text has ${tokens.length} tokens, ${MAX_PIECES} are the most: make it shorter.`,
    );
  }
  const words: number[][] = [];
  for (const token of tokens) {
    const piece = pieces[token];
    const isSilent = token === paddingToken || token === endOfPaddingToken;
    if (piece === undefined || piece.kind === 'unknown' || isSilent) {
      throw new ScriptError(
        'The text has characters that the model cannot write: leave them out, or spell them as words.',
      );
    }
    const word = words.at(-1);
    if (word === undefined || piece.piece.startsWith('\u2581')) words.push([token]);
    else word.push(token);
  }
  return words;
}
