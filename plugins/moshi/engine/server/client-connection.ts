/** One client's WebSocket: its messages checked, its conversation started and ended. */
import { randomInt, randomUUID } from 'node:crypto';
import type { Writable } from 'node:stream';
import type { Logger } from 'pino';
import { WebSocket, type RawData } from 'ws';
import type { z } from 'zod';

import type { ModelManifest } from '../../../../models/manifest.ts';
import { decodeAudioMessage } from '../../protocol/frame-message.ts';
import {
  CLOSE_CODES,
  clientMessage,
  PROTOCOL_VERSION,
  type EngineErrorCode,
  type EngineMessage,
  type ModelInfo,
  type StartMessage,
} from '../../protocol/messages.ts';
import type { Refusal } from '../scheduling/admission.ts';
import { chooseConditions } from '../prompts/condition-choice.ts';
import { FrameSender } from './frame-sender.ts';
import type { Conversation, ConversationListener } from '../conversations/conversations.ts';
import type { EngineMetrics } from '../metrics/engine-metrics.ts';
import type { RowOptions } from '../stepping/frame-stepper.ts';
import type { PromptMaker, SystemPrompt } from '../prompts/system-prompt.ts';

const START_TIMEOUT_MS = 5_000;
const PING_INTERVAL_MS = 10_000;
/** About 3 s of frames: whoever is that far behind hears the past. */
const MAX_UNREAD_BYTES = 300_000;
/**
 * Far beyond any sound (full scale is 1). What overflows in the encoder would not show in the output
 * but leave the conversation deaf, because the nearest code to "not a number" is still a code.
 */
const LOUDEST_SAMPLE = 1_000;
/** Time for the close handshake; a client that does not read never answers it. */
const CLOSE_GRACE_MS = 1_000;
const MAX_ISSUES = 5;

export type ClientConnectionOptions = {
  manifest: ModelManifest;
  model: ModelInfo;
  metrics: EngineMetrics;
  logger: Logger;
  /** Null for models that take no prompt. */
  prompts: PromptMaker | null;
  attach: (
    reservationKey: string | undefined,
    options: RowOptions,
    listener: ConversationListener,
    prompt: SystemPrompt | null,
  ) => { conversation: Conversation } | { refusal: Refusal };
};

export class ClientConnection {
  readonly #socket: WebSocket;
  readonly #frames: FrameSender;
  readonly #options: ClientConnectionOptions;
  readonly #id = randomUUID();
  readonly #startTimeout: NodeJS.Timeout;
  readonly #pings: NodeJS.Timeout;
  #conversation: Conversation | null = null;
  #hasStarted = false;
  #ended = false;
  #answersPings = true;

  /** @param stream - What the WebSocket runs over. */
  constructor(socket: WebSocket, stream: Writable, options: ClientConnectionOptions) {
    this.#socket = socket;
    this.#frames = new FrameSender(stream);
    this.#options = options;
    this.#startTimeout = setTimeout(() => {
      this.end('bad_message', `No start message within ${START_TIMEOUT_MS / 1000} s.`);
    }, START_TIMEOUT_MS);
    this.#pings = setInterval(() => this.#ping(), PING_INTERVAL_MS);
    socket.on('pong', () => (this.#answersPings = true));
    socket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    socket.on('close', () => this.#leave());
    socket.on('error', (error: Error & { code?: string }) => {
      // ws closes the socket itself, with 1009 if the message was too large.
      const tooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
      this.#options.metrics.error(tooLarge ? 'too_large' : 'bad_message');
      this.#options.logger.warn({ conversation: this.#id, reason: error.message }, 'socket failed');
      this.#leave();
    });
  }

  /** Tells the client why, closes, and frees the slot. */
  end(code: EngineErrorCode, message: string, retryAfterMs?: number): void {
    if (this.#ended) {
      return;
    }
    this.#leave();
    this.#options.metrics.error(code);
    this.#options.logger.info({ conversation: this.#id, code, reason: message }, 'client refused');
    this.#send({
      type: 'error',
      code,
      message,
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    });
    this.#socket.close(CLOSE_CODES[code]);
    setTimeout(() => this.#socket.terminate(), CLOSE_GRACE_MS).unref();
  }

  #leave(): void {
    this.#ended = true;
    clearTimeout(this.#startTimeout);
    clearInterval(this.#pings);
    this.#conversation?.leave();
    this.#conversation = null;
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    if (this.#ended) {
      return;
    }
    const bytes = asBytes(data);
    try {
      if (isBinary) {
        this.#onAudio(bytes);
      } else {
        this.#onControl(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
      }
    } catch (error) {
      this.end('bad_message', error instanceof Error ? error.message : String(error));
    }
  }

  #onAudio(bytes: Uint8Array): void {
    if (this.#conversation === null) {
      this.end('bad_message', 'Audio came before the start message.');
      return;
    }
    const samples = decodeAudioMessage(bytes);
    if (isTooLoud(samples)) {
      this.end('bad_message', `A sample is beyond ±${LOUDEST_SAMPLE}; full scale is ±1.`);
      return;
    }
    this.#conversation.push(samples);
  }

  #onControl(text: string): void {
    const version = protocolOf(text);
    if (version !== undefined && version !== PROTOCOL_VERSION) {
      this.end(
        'protocol_version',
        `This engine speaks protocol ${PROTOCOL_VERSION}, the client ${JSON.stringify(version)}. Update the older one.`,
      );
      return;
    }
    const parsed = clientMessage.safeParse(JSON.parse(text));
    if (!parsed.success) {
      this.end('bad_message', `Not a message of this protocol: ${describeIssues(parsed.error)}.`);
      return;
    }
    const message = parsed.data;
    switch (message.type) {
      case 'start':
        this.#start(message);
        break;
      case 'reset':
        if (this.#conversation === null) {
          this.end('bad_message', 'A reset came before the start message.');
          return;
        }
        this.#conversation.reset();
        this.#send({ type: 'reset_done' });
    }
  }

  #start(message: StartMessage): void {
    if (this.#hasStarted) {
      this.end('bad_message', 'A second start message came in one conversation.');
      return;
    }
    this.#hasStarted = true;
    clearTimeout(this.#startTimeout);
    const { voice, prompt: text } = message;
    const { prompts, model } = this.#options;
    if (prompts !== null) {
      prompts.make({ voice, text }).then(
        (prompt) => this.#converse(message, prompt),
        (error: unknown) => {
          this.end('prompt_refused', error instanceof Error ? error.message : String(error));
        },
      );
    } else if (voice !== undefined || text !== undefined) {
      this.end('prompt_refused', `The model ${model.name} takes neither voice nor prompt.`);
    } else {
      this.#converse(message, null);
    }
  }

  #converse(message: StartMessage, prompt: SystemPrompt | null): void {
    if (this.#ended) {
      return;
    }
    const { reservationKey, sampling, seed, conditions, guidance } = message;
    const row: RowOptions = {
      sampling: { ...this.#options.manifest.sampling, ...definedOnly(sampling ?? {}) },
      seed: seed ?? randomInt(0x1_0000_0000),
      ...definedOnly({ conditions, guidance }),
    };
    // Throws, and so ends this connection, before a slot is taken.
    chooseConditions(this.#options.manifest, row);
    const outcome = this.#options.attach(
      reservationKey,
      row,
      {
        onReady: () =>
          this.#send({
            type: 'ready',
            protocol: PROTOCOL_VERSION,
            conversationId: this.#id,
            model: this.#options.model,
          }),
        onPrompting: (stepsLeft) => this.#send({ type: 'prompting', stepsLeft }),
        onFrame: (frame) => {
          if (this.#socket.readyState === WebSocket.OPEN) {
            this.#frames.send(frame);
          }
          this.#refuseSlowReader();
        },
        onHeard: (message) => {
          this.#send(message);
          this.#refuseSlowReader();
        },
        onFailed: (reason) => this.end('model_failed', reason),
      },
      prompt,
    );
    if ('refusal' in outcome) {
      const { code, message, retryAfterMs } = outcome.refusal;
      this.end(code, message, retryAfterMs);
      return;
    }
    const { conversation } = outcome;
    this.#conversation = conversation;
    this.#options.logger.info({ conversation: this.#id, slot: conversation.slot }, 'started');
  }

  #refuseSlowReader(): void {
    if (this.#socket.bufferedAmount > MAX_UNREAD_BYTES) {
      this.end('slow_reader', `The client left ${this.#socket.bufferedAmount} bytes unread.`);
    }
  }

  /** A peer that vanished without a word would hold its slot for ever. */
  #ping(): void {
    if (!this.#answersPings) {
      this.#options.logger.warn({ conversation: this.#id }, 'client vanished');
      this.#socket.terminate();
      return;
    }
    this.#answersPings = false;
    this.#socket.ping();
  }

  #send(message: EngineMessage): void {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(message));
    }
  }
}

/** The version a start message claims, before anything else of it is believed. */
function protocolOf(text: string): unknown {
  const message: unknown = JSON.parse(text);
  return typeof message === 'object' &&
    message !== null &&
    'type' in message &&
    message.type === 'start' &&
    'protocol' in message
    ? message.protocol
    : undefined;
}

/** One line that names the fields, short enough for a log. */
function describeIssues({ issues }: z.ZodError): string {
  return issues
    .slice(0, MAX_ISSUES)
    .map(({ path, message }) => `${path.join('.') || 'it'}: ${message}`)
    .join('; ');
}

function definedOnly<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function isTooLoud(samples: Float32Array): boolean {
  for (let index = 0; index < samples.length; index += 1) {
    if (Math.abs(samples[index] ?? 0) > LOUDEST_SAMPLE) {
      return true;
    }
  }
  return false;
}

function asBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) {
    return Buffer.concat(data);
  }
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
