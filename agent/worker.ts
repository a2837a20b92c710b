/** Registers with LiveKit as the agent `moshi` and runs one job process per room. */
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  AgentServer,
  InferenceRunner,
  ServerOptions,
  WorkerPermissions,
  initializeLogger,
  log,
} from '@livekit/agents';
import type { JobRequest } from '@livekit/agents';
import { RoomServiceClient, ServerError } from 'livekit-server-sdk';
import { fetchEngineHealth, reserveSlot } from '../plugins/moshi/index.ts';
import { requireLiveKit } from './config.ts';
import type { Config, LiveKitCredentials } from './config.ts';
import { listenForSignals, whenAborted } from './commands/until-signal.ts';
import { ACCEPTED_AT_ATTRIBUTE } from './room/rival-agent.ts';

/** What tokens and dispatches call us. */
export const AGENT_NAME = 'moshi';

const HEALTH_HOST = '127.0.0.1';
/** A job process holds one WebRTC connection and no model: 150 MB in the long run. */
const JOB_MEMORY_WARNING_MB = 400;
const JOB_MEMORY_LIMIT_MB = 800;
const LIVEKIT_RETRY_MS = 2_000;
/**
 * A job process loads in two seconds, on a host that has much else to do in more than the ten that the framework
 * allows: it would be ended, and the next one begin with nothing, for as long as the host is busy.
 */
const LOAD_TIMEOUT_MS = 60_000;

/**
 * Answers LiveKit's job requests until SIGINT or SIGTERM; then the rooms are left in good order.
 *
 * @throws ConfigError if LiveKit is not configured.
 * @throws Error if LiveKit refuses the API key. A server that does not answer is waited for.
 */
export async function runWorker(config: Config): Promise<void> {
  const livekit = requireLiveKit(config);
  const { stop } = listenForSignals();
  initializeLogger({ pretty: false, level: config.logLevel });
  await untilAccepted(livekit, stop);
  if (stop.aborted) {
    return;
  }
  forgetInferenceProcess();
  const server = new AgentServer(createServerOptions(config, livekit));
  const running = server.run();
  await Promise.race([running, whenAborted(stop)]);
  await server.close();
}

function createServerOptions(config: Config, livekit: LiveKitCredentials): ServerOptions {
  const { url, token } = config.engine;
  return new ServerOptions({
    agent: fileURLToPath(new URL('main.ts', import.meta.url)),
    agentName: AGENT_NAME,
    wsURL: livekit.url,
    apiKey: livekit.apiKey,
    apiSecret: livekit.apiSecret,
    host: HEALTH_HOST,
    port: config.worker.port,
    // The framework's own "production" would replace port 0 by 8081.
    production: false,
    logLevel: config.logLevel,
    numIdleProcesses: 1,
    initializeProcessTimeout: LOAD_TIMEOUT_MS,
    jobMemoryWarnMB: JOB_MEMORY_WARNING_MB,
    jobMemoryLimitMB: JOB_MEMORY_LIMIT_MB,
    // Giving up would orphan calls that are well: an outage of LiveKit ends when it ends.
    maxRetry: Number.POSITIVE_INFINITY,
    // canUpdateMetadata: `lk.agent.state` is an attribute of the participant.
    permissions: new WorkerPermissions(true, true, true, true),
    loadFunc: () => loadBySlots(url, token),
    loadThreshold: 1,
    requestFunc: (request) => answer(request, url, token),
  });
}

/**
 * Share that is taken of the slots that the engine would serve in time; an engine that does not
 * answer has none to give.
 */
async function loadBySlots(url: string, token: string | undefined): Promise<number> {
  try {
    const health = await fetchEngineHealth(url, token);
    const { status, slotsUsed, slotsUsable } = health;
    return status === 'ok' && slotsUsed < slotsUsable ? slotsUsed / slotsUsable : 1;
  } catch {
    return 1;
  }
}

/** Takes a job only when a slot is held for it: two jobs may be offered within one load report. */
async function answer(request: JobRequest, url: string, token: string | undefined): Promise<void> {
  let outcome: string;
  try {
    outcome = await reserveSlot(url, request.id, token);
  } catch (error) {
    outcome = error instanceof Error ? error.message : String(error);
  }
  if (outcome === 'reserved') {
    await request.accept('Moshi', '', '', { [ACCEPTED_AT_ATTRIBUTE]: `${Date.now()}` });
    return;
  }
  log().warn({ jobId: request.id, reason: outcome }, 'no engine slot for a room, job refused');
  await request.reject();
}

/**
 * Waits for LiveKit to answer.
 *
 * @throws Error if it refuses the key: the framework would try again for ever without saying why.
 */
async function untilAccepted(livekit: LiveKitCredentials, stop: AbortSignal): Promise<void> {
  const { url, apiKey, apiSecret } = livekit;
  const rooms = new RoomServiceClient(url.replace(/^ws/, 'http'), apiKey, apiSecret);
  let isReported = false;
  while (!stop.aborted) {
    try {
      await rooms.listRooms();
      return;
    } catch (error) {
      if (error instanceof ServerError && error.status === 401) {
        throw new Error(
          `LiveKit at ${url} refuses the API key "${apiKey}" with its secret (HTTP 401): ` +
            'set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a pair that this server knows.',
          { cause: error },
        );
      }
      if (!isReported) {
        isReported = true;
        const reason = error instanceof Error ? error.message : String(error);
        log().warn({ url, reason }, 'LiveKit does not answer yet, trying again until it does');
      }
      await delay(LIVEKIT_RETRY_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }
}

/**
 * Keeps the framework from starting a process for its turn detector: 325 MB that a model which
 * takes the turns itself never uses. There is no option for it.
 */
function forgetInferenceProcess(): void {
  InferenceRunner.registerRunner = () => undefined;
}
