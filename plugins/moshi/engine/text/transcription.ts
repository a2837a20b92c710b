/**
 * What a model that transcribes makes of one conversation: words with their times, and ends of turns,
 * each after the last word of its turn.
 */
import type { ModelManifest } from '../../../../models/manifest.ts';
import { EndOfTurn, TURN_HORIZON_SECONDS } from './end-of-turn.ts';
import type { Vocabulary } from './text-decoder.ts';
import { TimedWords, type WordEvent } from './timed-words.ts';

export type TranscriptionEvent =
  | WordEvent
  /** The speaker had finished by then, and all words said before it have come. */
  | { readonly type: 'turn_end'; readonly atMs: number };

/** What is asked of a manifest; `transcription` is not null. */
export type TranscribingManifest = Pick<
  ModelManifest,
  'sampleRate' | 'frameSamples' | 'paddingToken' | 'endOfPaddingToken' | 'maxDelay' | 'pauses'
> & { readonly transcription: NonNullable<ModelManifest['transcription']> };

/** Whether a model transcribes. */
export function transcribes<Manifest extends ModelManifest>(
  manifest: Manifest,
): manifest is Manifest & TranscribingManifest {
  return manifest.transcription !== null;
}

export class Transcription {
  readonly #words: TimedWords;
  readonly #turn: EndOfTurn;
  /** Which head is asked for ends of turns; null for models that cannot tell. */
  readonly #turnHead: number | null;
  readonly #frameMs: number;
  readonly #maxDelay: number;
  readonly #delayFrames: number;
  readonly #leadingSilenceMs: number;
  #steps = 0;
  #skippedMs = 0;
  /** A turn that has ended while its last words are still to come. */
  #ended: { atMs: number; dueStep: number } | null = null;

  constructor(manifest: TranscribingManifest, vocabulary: Vocabulary) {
    const { transcription, sampleRate, frameSamples, paddingToken, endOfPaddingToken } = manifest;
    const { delayFrames, leadingSilenceSamples } = transcription;
    this.#frameMs = (1_000 * frameSamples) / sampleRate;
    this.#maxDelay = manifest.maxDelay;
    this.#delayFrames = delayFrames;
    this.#leadingSilenceMs = (1_000 * leadingSilenceSamples) / sampleRate;
    const head = manifest.pauses?.horizonsSeconds?.indexOf(TURN_HORIZON_SECONDS) ?? -1;
    this.#turnHead = head === -1 ? null : head;
    this.#turn = new EndOfTurn(delayFrames);
    this.#words = new TimedWords({
      vocabulary,
      paddingToken,
      endOfPaddingToken,
      delayFrames,
      leadingSilenceMs: this.#leadingSilenceMs,
    });
  }

  /**
   * Takes what the next step gave; the first step of a conversation hears nothing.
   *
   * @param token - Of the text stream.
   * @param pauses - [heads] probabilities that the speaker has paused; null from models without such heads.
   */
  push(token: number, pauses: readonly number[] | null): TranscriptionEvent[] {
    this.#steps += 1;
    if (this.#steps <= this.#maxDelay) {
      return [];
    }
    const events: TranscriptionEvent[] = this.#words.push(token).map((event) => this.#shift(event));
    const pause = this.#turnHead === null ? undefined : pauses?.[this.#turnHead];
    const hasWord = events.some(({ type }) => type === 'word');
    const agoSteps = pause === undefined ? null : this.#turn.push(pause, hasWord);
    if (agoSteps !== null) {
      const pauseStep = this.#steps - agoSteps;
      const heardMs = (pauseStep - 1) * this.#frameMs - this.#leadingSilenceMs;
      this.#ended = {
        atMs: Math.max(0, heardMs) + this.#skippedMs,
        dueStep: pauseStep + this.#delayFrames,
      };
    }
    if (this.#ended !== null && this.#steps >= this.#ended.dueStep) {
      events.push(...this.#endTurn());
    }
    return events;
  }

  /** Frames that were never heard: time goes on without them. */
  skip(frames: number): void {
    this.#skippedMs += frames * this.#frameMs;
  }

  /**
   * Returns what was under way.
   * @param soundMs - When the sound ended: what was heard after it is silence.
   */
  finish(soundMs: number): TranscriptionEvent[] {
    const events = this.#words.finish(soundMs - this.#skippedMs);
    return [...events.map((event) => this.#shift(event)), ...this.#endTurn()];
  }

  #endTurn(): TranscriptionEvent[] {
    const ended = this.#ended;
    this.#ended = null;
    return ended === null ? [] : [{ type: 'turn_end', atMs: ended.atMs }];
  }

  #shift(event: WordEvent): WordEvent {
    return event.type === 'word'
      ? { ...event, startMs: event.startMs + this.#skippedMs }
      : { ...event, endMs: event.endMs + this.#skippedMs };
  }
}
