/** Serves conversations with one model over WebSocket: what the command `engine` runs. */
import { timingSafeEqual, createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import { z } from 'zod';

import {
  CONVERSATION_PATH,
  HEALTH_PATH,
  MAX_MESSAGE_BYTES,
  METRICS_PATH,
  PROTOCOL_VERSION,
  RESERVATIONS_PATH,
  reservationKey,
  type HealthReport,
  type ModelInfo,
} from '../../protocol/messages.ts';
import { Admission, STEP_LIMIT_MS, type Refusal } from '../scheduling/admission.ts';
import { availableMemory } from '../model/available-memory.ts';
import { ClientConnection } from './client-connection.ts';
import { Conversations } from '../conversations/conversations.ts';
import type { DeviceOptions } from '../device/device-messages.ts';
import { DeviceThread } from '../device/device-thread.ts';
import { EngineMetrics } from '../metrics/engine-metrics.ts';
import { HostLoad } from '../metrics/host-load.ts';
import { listen, parseListenUrl } from './listen.ts';
import { megabytes, memoryNeeds, refuseTooLittleMemory } from '../model/memory-needs.ts';
import { openModelDirectory, readVocabulary } from '../model/model-directory.ts';
import { DEVICE_MEMORY, type Device } from '../onnxruntime/execution-provider.ts';
import { listProcessors } from '../onnxruntime/processor-list.ts';
import type { OperatorThreads } from '../onnxruntime/thread-pinning.ts';
import { RESERVATION_MS, Reservations } from '../conversations/reservations.ts';
import type { PromptMaker } from '../prompts/system-prompt.ts';
import { StepTimes } from '../scheduling/step-times.ts';
import { transcribes } from '../text/transcription.ts';

/** For prompts that conversations may begin with again: one of a 7B model, many of a small one. */
const SNAPSHOT_BUDGET_BYTES = 2e9;
/** A reservation's body is a key of at most 200 characters. */
const MAX_BODY_BYTES = 4_096;

export type EngineServerOptions = OperatorThreads & {
  /** Folder that `models/build.ts` wrote. */
  modelDirectory: string;
  /** `unix:/path` or `ws://host:port`; port 0 takes a free one. */
  url: string;
  /** What clients must show as bearer token; needed unless the host is this machine. */
  token?: string;
  /** Conversations at once. */
  slots: number;
  device: Device;
  logger: Logger;
  /** Opens the device; a thread of this process if missing. */
  openDevice?: (options: DeviceOptions) => Promise<DeviceThread>;
  /** A step that takes this long hangs, unless steps are known to be that slow; 5 s if missing. */
  hangingStepMs?: number;
  /** Longest step that keeps up with speech, ms; conversations that would make it longer are refused. */
  stepLimitMs?: number;
  /** For models that take prompts. */
  prompts?: PromptMaker | null;
  /** Monotonic, ms. */
  clock?: () => number;
  /** Memory that this process may still take; of machine and container if missing. */
  availableBytes?: () => number;
};

export type EngineServer = {
  /** Where clients connect. */
  readonly url: string;
  /** Resolves with the reason if the engine loses its device: the process should end. */
  readonly failed: Promise<string>;
  /**
   * Tells the clients, frees the device and stops listening.
   *
   * @returns False if the device did not let go: then this process ends by a signal only.
   */
  close(): Promise<boolean>;
};

/**
 * Loads the model and listens.
 *
 * @throws ListenError, ModelDirectoryError, MemoryError or DeviceError, each saying what to do.
 */
export async function startEngineServer(options: EngineServerOptions): Promise<EngineServer> {
  const { modelDirectory, url, token, slots, device, threads, processors, logger } = options;
  const address = parseListenUrl(url, token !== undefined);
  const model = await openModelDirectory(modelDirectory);
  const vocabulary = await readVocabulary(model);
  const needs = memoryNeeds(model, slots);
  // Where states live on another device its own allocator says what is missing.
  const availableBytes = options.availableBytes ?? availableMemory;
  const isOwnMemory = DEVICE_MEMORY[device] === null;
  let snapshotBudgetBytes = model.manifest.prompt === null ? 0 : SNAPSHOT_BUDGET_BYTES;
  if (isOwnMemory) {
    const spareBytes = refuseTooLittleMemory(needs, availableBytes());
    snapshotBudgetBytes = Math.min(snapshotBudgetBytes, spareBytes / 2);
  }
  const openDevice = options.openDevice ?? ((given) => DeviceThread.open(given));
  const deviceThread = await openDevice({
    model,
    slots,
    device,
    threads,
    processors,
    snapshotBudgetBytes,
  });
  if (isOwnMemory) {
    try {
      refuseTooLittleMemory({ ...needs, weightsBytes: 0 }, availableBytes());
    } catch (error) {
      await deviceThread.close();
      throw error;
    }
  }
  const now = options.clock ?? (() => performance.now());
  const reservations = new Reservations(now);
  const stepTimes = new StepTimes(deviceThread.idleStepMs, now);
  const admission = new Admission({
    slots,
    batches: deviceThread.batches,
    stepTimes,
    limitMs: options.stepLimitMs ?? STEP_LIMIT_MS,
  });
  const { manifest } = model;
  const modelInfo: ModelInfo = {
    name: manifest.name,
    isDemo: manifest.isDemo,
    paddingToken: manifest.paddingToken,
    endOfPaddingToken: manifest.endOfPaddingToken,
    maxDelay: manifest.maxDelay,
    transcribes: transcribes(manifest),
  };
  const used = (): number => conversations.attached + reservations.held;
  const usable = (): number => admission.usableSlots;
  const refusal = (): Refusal =>
    admission.refusal(used(), reservations.nextExpiryMs) ?? {
      code: 'full',
      message: 'The last slot of this engine has just been taken.',
    };
  const hostLoad = new HostLoad();
  const metrics = new EngineMetrics({ total: slots, usable, used }, hostLoad);
  let reportFailure: (reason: string) => void;
  const failed = new Promise<string>((resolve) => (reportFailure = resolve));
  const conversations = new Conversations({
    device: deviceThread,
    manifest,
    vocabulary,
    slots,
    metrics,
    stepTimes,
    hangingStepMs: options.hangingStepMs,
    logger,
    now,
    onFailure: (reason) => reportFailure(reason),
  });
  const connections = new Set<ClientConnection>();
  let draining = false;

  const tooSlow = (): { warning?: string } => {
    const reason = usable() === 0 ? admission.refusal(0, null) : null;
    return reason === null ? {} : { warning: reason.message };
  };
  const health = (): HealthReport => ({
    status: conversations.failure !== null ? 'failed' : draining ? 'draining' : 'ok',
    protocol: PROTOCOL_VERSION,
    model: modelInfo,
    device,
    slotsTotal: slots,
    slotsUsable: usable(),
    slotsUsed: used(),
    bytesPerConversation: needs.bytesPerConversation,
    ...metrics.report(),
    ...tooSlow(),
  });
  const takesConversations = (): boolean => !draining && conversations.failure === null;

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      logger.error({ error }, 'request failed');
      response.destroy();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://engine').pathname;
    if (path === HEALTH_PATH && request.method === 'GET') {
      const report = health();
      reply(response, report.status === 'ok' ? 200 : 503, report);
      return;
    }
    if (!isAuthorized(request, token)) {
      reply(response, 401, { error: 'unauthorized', message: 'Send the engine’s bearer token.' });
      return;
    }
    if (path === METRICS_PATH && request.method === 'GET') {
      response.writeHead(200, { 'content-type': metrics.registry.contentType });
      response.end(await metrics.registry.metrics());
    } else if (path === RESERVATIONS_PATH && request.method === 'POST') {
      const key = await reservationOf(request);
      if (key === null) {
        reply(response, 400, { error: 'bad_message', message: 'Expected {"key": "…"}.' });
      } else if (!takesConversations()) {
        reply(response, 503, { error: 'shutting_down', message: 'The engine takes nobody now.' });
      } else if (reservations.hold(key, usable() - conversations.attached)) {
        reply(response, 201, { expiresInMs: RESERVATION_MS });
      } else {
        const { code, ...rest } = refusal();
        reply(response, 409, { error: code, ...rest });
      }
    } else if (path.startsWith(`${RESERVATIONS_PATH}/`) && request.method === 'DELETE') {
      const key = decodeKey(path.slice(RESERVATIONS_PATH.length + 1));
      if (key !== null && reservations.end(key)) {
        response.writeHead(204).end();
      } else {
        reply(response, 404, { error: 'not_found', message: 'No such reservation.' });
      }
    } else {
      reply(response, 404, { error: 'not_found', message: `There is no ${path}.` });
    }
  }

  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    // 24 kHz float samples hardly shrink, and compressing them costs time on every frame.
    perMessageDeflate: false,
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = new URL(request.url ?? '/', 'http://engine').pathname;
    if (path !== CONVERSATION_PATH) {
      refuseUpgrade(socket, '404 Not Found');
    } else if (!isAuthorized(request, token)) {
      metrics.error('unauthorized');
      refuseUpgrade(socket, '401 Unauthorized');
    } else {
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const connection = new ClientConnection(webSocket, socket, {
          manifest,
          model: modelInfo,
          metrics,
          logger,
          prompts: options.prompts ?? null,
          attach: (key, row, listener, prompt) => {
            const hadPlace = key !== undefined && reservations.end(key);
            if (!hadPlace && used() >= usable()) {
              return { refusal: refusal() };
            }
            const conversation = conversations.attach(row, listener, prompt);
            return conversation === null ? { refusal: refusal() } : { conversation };
          },
        });
        connections.add(connection);
        webSocket.on('close', () => connections.delete(connection));
        if (!takesConversations()) {
          connection.end(
            draining ? 'shutting_down' : 'model_failed',
            conversations.failure ?? 'The engine is shutting down.',
          );
        }
      });
    }
  });

  let listeningUrl: string;
  try {
    listeningUrl = await listen(server, address);
  } catch (error) {
    await deviceThread.close();
    throw error;
  }
  logger.info(
    {
      url: listeningUrl,
      model: manifest.name,
      device,
      slots,
      slotsUsable: usable(),
      threads,
      ...(processors !== undefined && { processors: listProcessors(processors) }),
      memoryPerConversation: megabytes(needs.bytesPerConversation),
      idleStepMs: Object.fromEntries(deviceThread.idleStepMs),
    },
    'listening',
  );
  const { warning } = tooSlow();
  if (warning !== undefined) {
    logger.warn(warning);
  }

  return {
    url: listeningUrl,
    failed,
    async close() {
      draining = true;
      for (const connection of connections) {
        connection.end('shutting_down', 'The engine is shutting down.');
      }
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const isFree = await deviceThread.close();
      server.closeAllConnections();
      hostLoad.stop();
      await closed;
      return isFree;
    },
  };
}

/** Compares digests, so that the time taken tells nothing about the token, not even its length. */
function isAuthorized(request: IncomingMessage, token: string | undefined): boolean {
  if (token === undefined) {
    return true;
  }
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const shown = request.headers.authorization ?? '';
  return timingSafeEqual(digest(shown), digest(`Bearer ${token}`));
}

async function reservationOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) {
      return null;
    }
    chunks.push(chunk);
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    return z.object({ key: reservationKey }).parse(body).key;
  } catch {
    return null;
  }
}

function decodeKey(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}

function reply(response: ServerResponse, statusCode: number, body: object): void {
  response.writeHead(statusCode, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.on('error', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
