import { EventEmitter } from 'node:events';
import { log, shortuuid } from '@livekit/agents';
import type { Clock } from '../client/clock.ts';
import type { EngineConnectionError } from '../client/engine-connection-error.ts';
import { EngineConversation } from '../client/engine-conversation.ts';
import type { EngineConversationOptions } from '../client/engine-conversation.ts';
import type { RetryOptions } from '../client/retry-budget.ts';
import { WIRE_SAMPLE_RATE } from '../protocol/messages.ts';
import { UserTurns } from './user-turns.ts';
import type { UserTurn, UserWord } from './user-turns.ts';

/** The engine that writes down what is heard. */
export type TranscriberOptions = Pick<EngineConversationOptions, 'engineUrl' | 'engineToken'>;

export type UserTranscriberOptions = TranscriberOptions & {
  clock: Clock;
  random?: (() => number) | undefined;
  /** Where on the time line that words are told on something lies that was heard after so much sound, ms. */
  timeOf: (heardMs: number) => number;
};

export type UserTranscriberEvents = {
  /** A word, and the turn so far; `startedAt` is when the turn began, ms since 1970. */
  word: [word: UserWord, turn: UserTurn, startedAt: number];
  /** A turn is over. */
  turn: [turn: UserTurn, startedAt: number];
};

/** Silence without words after which a turn is over in which the model heard no end, ms. */
const TURN_SILENCE_MS = 3_000;
/** Nobody waits for a transcript as they do for an answer, so it is tried for ever, and less often. */
const RETRY: Partial<RetryOptions> = { outageMs: Infinity, maxDelayMs: 10_000 };

/**
 * Writes down what a session hears, by an engine of its own.
 *
 * A helper, never a condition: whatever happens to its engine, nobody waits for it and nothing is thrown.
 * Trouble is told in the log, once, and what was said meanwhile is counted as dropped. Times follow all
 * that was pushed, also when the engine comes and goes.
 */
export class UserTranscriber extends EventEmitter<UserTranscriberEvents> {
  readonly #conversation: EngineConversation;
  readonly #clock: Clock;
  readonly #timeOf: (heardMs: number) => number;
  readonly #turns = new UserTurns(() => shortuuid('item_'));
  #pushedSamples = 0;
  /** Where in all that was pushed the engine's conversation begins. */
  #originSamples = 0;
  #droppedBefore = 0;
  #startedAt: number | null = null;
  #inTrouble = false;
  #cancelSilence: () => void = () => undefined;

  constructor({ timeOf, ...options }: UserTranscriberOptions) {
    super();
    this.#clock = options.clock;
    this.#timeOf = timeOf;
    this.#conversation = new EngineConversation({ ...options, transcribes: true, retry: RETRY });
    this.#conversation.on('ready', () => this.#onReady());
    this.#conversation.on('word', ({ text, startMs }) => this.#onWord(text, startMs));
    this.#conversation.on('turn_end', ({ atMs }) => this.#finish(this.#heardAt(atMs)));
    this.#conversation.on('reconnecting', ({ error }) => this.#onLost(error));
    this.#conversation.on('failed', (error) => {
      const { problem: code, message: reason } = error;
      log().error({ code, reason }, 'nobody writes down what is said in this conversation');
    });
  }

  /** Samples that nobody wrote down because no engine was there to take them. */
  get droppedSamples(): number {
    return this.#conversation.droppedSamples;
  }

  connect(): void {
    this.#conversation.connect();
  }

  /** Hears samples of 24 kHz mono in [-1, 1], any number. */
  pushSamples(samples: Float32Array): void {
    this.#pushedSamples += samples.length;
    this.#conversation.pushSamples(samples);
  }

  /** Ends the turn under way and makes the model forget what it has heard. */
  reset(): void {
    this.finishTurn();
    this.#beginHere();
    this.#conversation.reset();
  }

  /** Ends the turn under way, if there is one, though no pause was heard. */
  finishTurn(): void {
    this.#finish();
  }

  /** Ends the turn under way and leaves the engine. */
  close(): void {
    this.finishTurn();
    this.#conversation.close();
  }

  get #pushedMs(): number {
    return (1_000 * this.#pushedSamples) / WIRE_SAMPLE_RATE;
  }

  /** When in all that was pushed the engine heard what it says it heard then, ms. */
  #heardAt(engineMs: number): number {
    const neverSent = this.droppedSamples - this.#droppedBefore;
    return engineMs + (1_000 * (this.#originSamples + neverSent)) / WIRE_SAMPLE_RATE;
  }

  /** The next sample is the first of the engine's conversation. */
  #beginHere(): void {
    this.#originSamples = this.#pushedSamples;
    this.#droppedBefore = this.droppedSamples;
  }

  #finish(pauseMs?: number): void {
    this.#cancelSilence();
    const turn = this.#turns.end(pauseMs === undefined ? undefined : this.#timeOf(pauseMs));
    const startedAt = this.#startedAt;
    this.#startedAt = null;
    if (turn !== null && startedAt !== null) {
      this.emit('turn', turn, startedAt);
    }
  }

  #onReady(): void {
    this.#beginHere();
    if (this.#inTrouble) {
      this.#inTrouble = false;
      const droppedMs = Math.round((1_000 * this.droppedSamples) / WIRE_SAMPLE_RATE);
      log().info({ droppedMs }, 'what is said is written down again');
    }
  }

  #onWord(text: string, engineMs: number): void {
    const startMs = this.#heardAt(engineMs);
    const { word, turn } = this.#turns.push(
      text,
      this.#timeOf(startMs),
      this.#timeOf(this.#pushedMs),
    );
    this.#startedAt ??= Date.now() - Math.max(0, Math.round(this.#pushedMs - startMs));
    this.#cancelSilence();
    this.#cancelSilence = this.#clock.schedule(TURN_SILENCE_MS, () => this.finishTurn());
    this.emit('word', word, turn, this.#startedAt);
  }

  #onLost({ problem: code, message: reason }: EngineConnectionError): void {
    if (!this.#inTrouble) {
      this.#inTrouble = true;
      log().warn(
        { code, reason },
        'nobody writes down what is said, trying again until somebody does',
      );
    }
  }
}
