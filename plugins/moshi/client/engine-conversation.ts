import { EventEmitter } from 'node:events';
import { WebSocket } from 'ws';
import {
  ProtocolError,
  decodeFrameMessage,
  encodeAudioMessage,
} from '../protocol/frame-message.ts';
import type { FrameMessage } from '../protocol/frame-message.ts';
import {
  CLOSE_CODES,
  CONVERSATION_PATH,
  FRAME_SAMPLES,
  MAX_MESSAGE_BYTES,
  PROTOCOL_VERSION,
  WIRE_SAMPLE_RATE,
  engineErrorCode,
  engineMessage,
} from '../protocol/messages.ts';
import type {
  ClientMessage,
  EngineErrorCode,
  EngineMessage,
  ReadyMessage,
  StartMessage,
  TurnEndMessage,
  WordMessage,
} from '../protocol/messages.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { parseEngineAddress, webSocketTarget } from './engine-address.ts';
import type { EngineAddress } from './engine-address.ts';
import { EngineConnectionError, isFatal } from './engine-connection-error.ts';
import { RetryBudget, defaultRetryOptions } from './retry-budget.ts';
import type { RetryOptions } from './retry-budget.ts';

export type EngineConversationOptions = {
  /** `unix:/path.sock` · `ws://host:port` · `wss://host:port`. */
  engineUrl: string;
  /** Bearer token, needed by engines that listen beyond loopback. */
  engineToken?: string | undefined;
  /** Whether the engine is to write down what it hears instead of speaking; other engines are refused. */
  transcribes?: boolean | undefined;
  /** Takes the slot that was reserved under this key. */
  reservationKey?: string | undefined;
  /** Missing fields take the model's defaults. */
  sampling?: StartMessage['sampling'];
  /** Value by name of a condition of the model; missing ones take the model's defaults. */
  conditions?: StartMessage['conditions'];
  /** Strength of classifier-free guidance, for models that run with it. */
  guidance?: number | undefined;
  /** Name of a voice that the engine knows, for models that take one. */
  voice?: string | undefined;
  /** Role in words, for models that take one. */
  prompt?: string | undefined;
  /** u32 that makes sampling reproducible; random if missing. */
  seed?: number | undefined;
  retry?: Partial<RetryOptions> | undefined;
  clock?: Clock | undefined;
  /** Uniform in [0, 1), for the jitter of the retries. */
  random?: (() => number) | undefined;
};

export type EngineConversationEvents = {
  /** The engine listens, with an empty conversation. `connectMs`: from the attempt's start to here. */
  ready: [event: { ready: ReadyMessage; connectMs: number; attempt: number }];
  /** One 80 ms step. */
  frame: [frame: FrameMessage];
  /** A word that was heard, from an engine that transcribes. */
  word: [word: WordMessage];
  /** The speaker has finished, and all words until then have come. */
  turn_end: [turnEnd: TurnEndMessage];
  /** A reset took effect: the next frame is step 0. */
  reset_done: [];
  /** The connection is lost or was not made; the next attempt starts after `delayMs`. */
  reconnecting: [event: { error: EngineConnectionError; delayMs: number }];
  /** Given up, for good. */
  failed: [error: EngineConnectionError];
};

/** Unsent input above which new input is dropped: what is older than this nobody wants to hear. */
const MAX_UNSENT_MS = 240;
const MAX_UNSENT_BYTES = (MAX_UNSENT_MS * WIRE_SAMPLE_RATE * 4) / 1000;
/** A host that vanished sends no FIN: ask every so often whether it is still there. */
const PING_INTERVAL_MS = 2_000;
const SILENT_PEER_MS = 6_000;
/** Close code for a peer that cannot be understood. */
const CLOSE_PROTOCOL_ERROR = CLOSE_CODES.bad_message;

type State = 'idle' | 'connecting' | 'ready' | 'waiting' | 'ended';

/**
 * One conversation with an engine over one WebSocket, reconnected when it breaks.
 *
 * A new connection is a new, empty conversation: an engine that was restarted remembers nothing.
 * Input that finds no connection is dropped and counted, because audio that waited is late for ever.
 */
export class EngineConversation extends EventEmitter<EngineConversationEvents> {
  readonly #options: EngineConversationOptions;
  readonly #address: EngineAddress;
  readonly #retry: RetryOptions;
  readonly #clock: Clock;
  readonly #budget: RetryBudget;
  #state: State = 'idle';
  #socket: WebSocket | null = null;
  #attempt = 0;
  #attemptStartedMs = 0;
  #lastHeardMs = 0;
  #awaitingReset = false;
  #droppedSamples = 0;
  /**
   * The frame that is being filled. An engine steps on whole frames, so one message a frame comes no
   * later than many small ones and costs both sides a quarter.
   */
  readonly #frame = new Float32Array(FRAME_SAMPLES);
  #frameSamples = 0;
  #cancelTimer: () => void = () => undefined;

  /** @throws TypeError if the URL is not an engine's. */
  constructor(options: EngineConversationOptions) {
    super();
    this.#options = options;
    this.#address = parseEngineAddress(options.engineUrl);
    this.#retry = { ...defaultRetryOptions, ...options.retry };
    this.#clock = options.clock ?? systemClock;
    this.#budget = new RetryBudget(this.#retry, options.random ?? Math.random);
  }

  /** Input samples (24 kHz) that were dropped because no engine was there to take them. */
  get droppedSamples(): number {
    return this.#droppedSamples;
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  /** Starts the first attempt. Everything that follows is told by events. */
  connect(): void {
    if (this.#state === 'idle') {
      this.#openSocket();
    }
  }

  /**
   * Takes what the user said, 24 kHz mono in [-1, 1], any length, and sends each frame as soon as it is
   * full. Never blocks, never queues more.
   */
  pushSamples(samples: Float32Array): void {
    const socket = this.#socket;
    if (this.#state !== 'ready' || socket === null) {
      this.#droppedSamples += samples.length;
      return;
    }
    for (let start = 0; start < samples.length;) {
      const taken = samples.subarray(start, start + FRAME_SAMPLES - this.#frameSamples);
      this.#frame.set(taken, this.#frameSamples);
      this.#frameSamples += taken.length;
      start += taken.length;
      if (this.#frameSamples < FRAME_SAMPLES) {
        return;
      }
      this.#frameSamples = 0;
      if (socket.bufferedAmount > MAX_UNSENT_BYTES) {
        this.#droppedSamples += FRAME_SAMPLES;
      } else {
        socket.send(encodeAudioMessage(this.#frame));
      }
    }
  }

  /** Makes the engine forget the conversation. Frames of the old one are dropped from here on. */
  reset(): void {
    if (this.#state === 'ready') {
      this.#awaitingReset = true;
      this.#frameSamples = 0;
      this.#send({ type: 'reset' });
    }
  }

  /** Ends the conversation and frees its slot. No event follows. */
  close(): void {
    this.#state = 'ended';
    this.#dropSocket(1000, 'conversation over');
  }

  #openSocket(): void {
    this.#state = 'connecting';
    this.#attempt += 1;
    this.#awaitingReset = false;
    this.#frameSamples = 0;
    this.#attemptStartedMs = this.#clock.now();
    this.#lastHeardMs = this.#attemptStartedMs;
    const target = webSocketTarget(this.#address, CONVERSATION_PATH);
    const token = this.#options.engineToken;
    const socket = new WebSocket(target.url, {
      ...(target.agent && { agent: target.agent }),
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: false,
      ...(this.#address.socketPath !== null && { generateMask: leaveUnmasked }),
    });
    this.#socket = socket;
    const ifCurrent = (action: () => void): void => {
      if (this.#socket === socket) {
        action();
      }
    };
    socket.on('open', () => ifCurrent(() => this.#sendStart()));
    socket.on('message', (data, isBinary) =>
      ifCurrent(() => this.#receive(data as Buffer, isBinary)),
    );
    socket.on('pong', () => ifCurrent(() => (this.#lastHeardMs = this.#clock.now())));
    socket.on('unexpected-response', (request, response) => {
      request.destroy();
      ifCurrent(() => this.#lose(this.#refusal(response.statusCode ?? 0)));
    });
    socket.on('close', (code, reason) =>
      ifCurrent(() => this.#lose(this.#closeReason(code, reason.toString()))),
    );
    // 'close' follows, but without the reason.
    socket.on('error', (error) => ifCurrent(() => this.#lose(this.#socketError(error))));
    this.#limitAttempt();
  }

  #limitAttempt(): void {
    this.#cancelTimer = this.#clock.schedule(this.#retry.attemptMs, () =>
      this.#lose(EngineConnectionError.timeout(this.#address.url, this.#retry.attemptMs)),
    );
  }

  #sendStart(): void {
    const { voice, prompt, reservationKey, sampling, seed, conditions, guidance } = this.#options;
    this.#send({
      type: 'start',
      protocol: PROTOCOL_VERSION,
      ...(reservationKey !== undefined && { reservationKey }),
      ...(sampling !== undefined && { sampling }),
      ...(seed !== undefined && { seed }),
      ...(voice !== undefined && { voice }),
      ...(prompt !== undefined && { prompt }),
      ...(conditions !== undefined && { conditions }),
      ...(guidance !== undefined && { guidance }),
    });
  }

  #send(message: ClientMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  #receive(data: Buffer, isBinary: boolean): void {
    this.#lastHeardMs = this.#clock.now();
    let message: FrameMessage | EngineMessage;
    try {
      message = isBinary ? parseFrame(data) : engineMessage.parse(JSON.parse(data.toString()));
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error);
      this.#lose(EngineConnectionError.notAnEngine(this.#address.url, found, error));
      return;
    }
    if (!('type' in message)) {
      this.#receiveFrame(message);
      return;
    }
    switch (message.type) {
      case 'ready':
        this.#receiveReady(message);
        return;
      case 'prompting':
        // A prompt takes its time; as long as it goes on the engine is well.
        if (this.#state === 'connecting') {
          this.#cancelTimer();
          this.#limitAttempt();
        }
        return;
      case 'reset_done':
        this.#awaitingReset = false;
        this.emit('reset_done');
        return;
      case 'word':
      case 'turn_end':
        this.#receiveHeard(message);
        return;
      case 'error':
        this.#lose(new EngineConnectionError(message.code, this.#told(message.message)));
        return;
    }
  }

  #receiveReady(ready: ReadyMessage): void {
    if (this.#state !== 'connecting') {
      this.#lose(EngineConnectionError.notAnEngine(this.#address.url, 'a second "ready".'));
      return;
    }
    if (ready.protocol !== PROTOCOL_VERSION) {
      this.#lose(
        new EngineConnectionError(
          'protocol_version',
          this.#told(
            `it speaks protocol ${ready.protocol}, this side ${PROTOCOL_VERSION}; run the same version on both sides.`,
          ),
        ),
      );
      return;
    }
    if (ready.model.transcribes !== (this.#options.transcribes ?? false)) {
      this.#lose(EngineConnectionError.wrongModel(this.#address.url, ready.model));
      return;
    }
    this.#cancelTimer();
    this.#state = 'ready';
    const nowMs = this.#clock.now();
    this.#budget.connected(nowMs);
    this.#schedulePing();
    this.emit('ready', {
      ready,
      connectMs: nowMs - this.#attemptStartedMs,
      attempt: this.#attempt,
    });
  }

  #receiveFrame(frame: FrameMessage): void {
    if (this.#state !== 'ready') {
      this.#lose(EngineConnectionError.notAnEngine(this.#address.url, 'a frame before "ready".'));
    } else if (!this.#awaitingReset) {
      this.emit('frame', frame);
    }
  }

  #receiveHeard(message: WordMessage | TurnEndMessage): void {
    if (this.#state !== 'ready') {
      this.#lose(EngineConnectionError.notAnEngine(this.#address.url, 'words before "ready".'));
    } else if (!this.#awaitingReset) {
      if (message.type === 'word') {
        this.emit('word', message);
      } else {
        this.emit('turn_end', message);
      }
    }
  }

  #schedulePing(): void {
    this.#cancelTimer = this.#clock.schedule(PING_INTERVAL_MS, () => {
      const silentMs = this.#clock.now() - this.#lastHeardMs;
      if (silentMs >= SILENT_PEER_MS) {
        this.#lose(EngineConnectionError.timeout(this.#address.url, silentMs));
        return;
      }
      this.#socket?.ping();
      this.#schedulePing();
    });
  }

  /** The one way out of a connection: try again, or give up. */
  #lose(error: EngineConnectionError): void {
    const code = error.problem === 'not_an_engine' ? CLOSE_PROTOCOL_ERROR : 1000;
    this.#dropSocket(code, error.problem);
    const delayMs = isFatal(error) ? null : this.#budget.failed(this.#clock.now());
    if (delayMs === null) {
      this.#state = 'ended';
      this.emit('failed', error);
      return;
    }
    this.#state = 'waiting';
    this.#cancelTimer = this.#clock.schedule(delayMs, () => this.#openSocket());
    this.emit('reconnecting', { error, delayMs });
  }

  #dropSocket(code: number, reason: string): void {
    this.#cancelTimer();
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) {
      return;
    }
    // A socket that is still connecting reports its own abortion as an error; nobody else may care.
    if (socket.readyState === WebSocket.OPEN) {
      socket.close(code, reason);
    } else {
      socket.terminate();
    }
  }

  #refusal(statusCode: number): EngineConnectionError {
    const { url } = this.#address;
    return statusCode === 401 || statusCode === 403
      ? EngineConnectionError.unauthorized(url)
      : EngineConnectionError.notAnEngine(url, `HTTP status ${statusCode}.`);
  }

  #socketError(error: Error): EngineConnectionError {
    return this.#state === 'ready'
      ? new EngineConnectionError('closed', this.#told(error.message), { cause: error })
      : EngineConnectionError.unreachable(this.#address.url, error);
  }

  #closeReason(code: number, reason: string): EngineConnectionError {
    const problem = problemOfCloseCode(code);
    if (problem === 'unauthorized') {
      return EngineConnectionError.unauthorized(this.#address.url);
    }
    const detail = reason === '' ? `the connection was closed with code ${code}.` : reason;
    return new EngineConnectionError(problem ?? 'closed', this.#told(detail));
  }

  #told(detail: string): string {
    return `Engine at ${this.#address.url}: ${detail}`;
  }
}

/**
 * Masks keep proxies from taking what a client sends for something else (RFC 6455 §10.3). Nothing lies
 * between the ends of a unix socket, and there a mask of zeros spares both the work.
 */
function leaveUnmasked(mask: Buffer): void {
  mask.fill(0);
}

/** @throws ProtocolError if the bytes are not a frame whose samples can be played. */
function parseFrame(data: Buffer): FrameMessage {
  const frame = decodeFrameMessage(data);
  for (let index = 0; index < frame.pcm.length; index += 1) {
    if (!Number.isFinite(frame.pcm[index])) {
      throw new ProtocolError(`Sample ${index} of frame ${frame.step} is not a finite number.`);
    }
  }
  return frame;
}

function problemOfCloseCode(code: number): EngineErrorCode | null {
  return engineErrorCode.options.find((problem) => CLOSE_CODES[problem] === code) ?? null;
}
