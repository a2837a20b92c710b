/**
 * A stand-in for an engine, for tests of this side of the protocol: it runs no model. It answers
 * every 1,920 samples it hears with the frame, or the words, that the test's script gives for that step.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { decodeAudioMessage, encodeFrameMessage } from '../protocol/frame-message.ts';
import type { FrameMessage } from '../protocol/frame-message.ts';
import {
  CLOSE_CODES,
  FRAME_SAMPLES,
  PROTOCOL_VERSION,
  clientMessage,
} from '../protocol/messages.ts';
import type {
  ClientMessage,
  EngineErrorCode,
  ModelInfo,
  TurnEndMessage,
  WordMessage,
} from '../protocol/messages.ts';

export const stubModel: ModelInfo = {
  name: 'stub',
  isDemo: false,
  paddingToken: 3,
  endOfPaddingToken: 0,
  maxDelay: 2,
  transcribes: false,
};

const stubTranscriber: ModelInfo = { ...stubModel, name: 'transcriber', transcribes: true };

export type StubEngineScript = {
  /** What one step says; missing fields: silence, padding. */
  frame?: (step: number, heard: Float32Array) => Partial<FrameMessage>;
  /** What is told in one step; with this the stub transcribes, and says no frames. */
  heard?: (step: number, heard: Float32Array) => (WordMessage | TurnEndMessage)[];
  /** Takes over a connection: nothing is answered unless this does it. */
  connection?: (socket: WebSocket, request: IncomingMessage) => void;
  /** Answers plain HTTP requests; 404 if missing. */
  http?: (request: IncomingMessage, response: ServerResponse) => void;
};

export class StubEngine {
  /** As a client takes it. */
  readonly url: string;
  readonly sockets = new Set<WebSocket>();
  readonly received: ClientMessage[] = [];
  /** Headers of all upgrade requests, in order. */
  readonly authorizations: (string | undefined)[] = [];
  heardSamples = 0;
  readonly #server: Server;
  readonly #script: StubEngineScript;

  constructor(url: string, server: Server, script: StubEngineScript) {
    this.url = url;
    this.#server = server;
    this.#script = script;
    const sockets = new WebSocketServer({ server, maxPayload: 1 << 30 });
    sockets.on('connection', (socket, request) => {
      this.sockets.add(socket);
      this.authorizations.push(request.headers.authorization);
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
      if (script.connection === undefined) {
        this.#converse(socket);
      } else {
        script.connection(socket, request);
      }
    });
  }

  /** @param where - A port of 127.0.0.1 (0: any), or the path of a unix socket. */
  static async start(where: number | string, script: StubEngineScript = {}): Promise<StubEngine> {
    const server = createServer((request, response) => {
      if (script.http === undefined) {
        response.writeHead(404).end();
      } else {
        script.http(request, response);
      }
    });
    await new Promise<void>((resolve) => {
      if (typeof where === 'string') {
        server.listen(where, resolve);
      } else {
        server.listen(where, '127.0.0.1', resolve);
      }
    });
    const address = server.address();
    const url =
      typeof address === 'object' && address !== null
        ? `ws://127.0.0.1:${address.port}`
        : `unix:${address ?? ''}`;
    return new StubEngine(url, server, script);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Dies as a killed process does: no close frames. */
  async kill(): Promise<void> {
    for (const socket of this.sockets) {
      socket.terminate();
    }
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #converse(socket: WebSocket): void {
    let step = 0;
    let pending = new Float32Array(0);
    socket.on('message', (data, isBinary) => {
      if (!isBinary) {
        const message = clientMessage.parse(JSON.parse((data as Buffer).toString()));
        this.received.push(message);
        if (message.type === 'reset') {
          step = 0;
        }
        const model = this.#script.heard === undefined ? stubModel : stubTranscriber;
        socket.send(message.type === 'start' ? readyText({ model }) : '{"type":"reset_done"}');
        return;
      }
      const samples = decodeAudioMessage(data as Buffer);
      this.heardSamples += samples.length;
      const all = new Float32Array(pending.length + samples.length);
      all.set(pending);
      all.set(samples, pending.length);
      let start = 0;
      for (; start + FRAME_SAMPLES <= all.length; start += FRAME_SAMPLES) {
        const heard = all.slice(start, start + FRAME_SAMPLES);
        if (this.#script.heard === undefined) {
          socket.send(encodeFrameMessage(stubFrame(step, this.#script.frame?.(step, heard))));
        } else {
          for (const message of this.#script.heard(step, heard)) {
            socket.send(JSON.stringify(message));
          }
        }
        step += 1;
      }
      pending = all.slice(start);
    });
  }
}

export function readyText(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({
    type: 'ready',
    protocol: PROTOCOL_VERSION,
    conversationId: 'stub-conversation',
    model: stubModel,
    ...changes,
  });
}

/** Tells an error the way an engine does: a message, then the close code. */
export function refuse(socket: WebSocket, code: EngineErrorCode): void {
  socket.send(JSON.stringify({ type: 'error', code, message: `refused: ${code}` }));
  socket.close(CLOSE_CODES[code], code);
}

export function stubFrame(step: number, changes: Partial<FrameMessage> = {}): FrameMessage {
  return {
    step,
    textToken: stubModel.paddingToken,
    text: '',
    hasAudio: true,
    stepMs: 1,
    queuedMs: 0,
    droppedFrames: 0,
    pcm: new Float32Array(FRAME_SAMPLES),
    ...changes,
  };
}
