import {
  AgentDispatchClient,
  ParticipantInfo_State,
  RoomServiceClient,
  ServerError,
} from 'livekit-server-sdk';
import { ApiError } from './api-error.ts';
import { AGENT_NAME } from './requests.ts';

export interface RoomState {
  /** Identities of the humans inside. */
  humans: readonly string[];
  /** The agent is inside, or on its way. */
  hasAgent: boolean;
}

/** What this server asks LiveKit. Every method gives up after a few seconds. */
export interface RoomDirectory {
  /** Null if no such room is running. @throws {ApiError} 503 when LiveKit fails. */
  describeRoom(room: string): Promise<RoomState | null>;
  /** Sends the agent into a running room. @throws {ApiError} 503 when LiveKit fails. */
  dispatchAgent(room: string, metadata: string): Promise<void>;
  /** Resolves if LiveKit answers and accepts our key. @throws {ApiError} 503. */
  check(): Promise<void>;
}

/** `livekit.ParticipantInfo.Kind` and `livekit.JobStatus`, which the SDK does not export. */
const KIND_AGENT = 4;
const JOB_PENDING = 0;
const JOB_RUNNING = 1;

const REQUEST_TIMEOUT_SECONDS = 3;

/** A dispatch without a job yet counts as on its way for so long; a lost one is never retried. */
const DISPATCH_GRACE_MS = 5_000;

export interface LiveKitAccess {
  url: string;
  apiKey: string;
  apiSecret: string;
}

export function createRoomDirectory(access: LiveKitAccess, clock: () => number): RoomDirectory {
  const host = access.url.replace(/^ws/, 'http');
  const options = { requestTimeout: REQUEST_TIMEOUT_SECONDS, failover: false };
  const rooms = new RoomServiceClient(host, access.apiKey, access.apiSecret, options);
  const dispatches = new AgentDispatchClient(host, access.apiKey, access.apiSecret, options);

  async function isAgentOnItsWay(room: string): Promise<boolean> {
    const known = await dispatches.listDispatch(room);
    return known.some(({ agentName, state }) => {
      if (agentName !== AGENT_NAME || state === undefined || state.deletedAt > 0n) {
        return false;
      }
      const ageMs = clock() - Number(state.createdAt / 1_000_000n);
      return state.jobs.length === 0
        ? ageMs < DISPATCH_GRACE_MS
        : state.jobs.some((job) => {
            const status: number = job.state?.status ?? JOB_PENDING;
            return status === JOB_RUNNING || (status === JOB_PENDING && ageMs < DISPATCH_GRACE_MS);
          });
    });
  }

  return {
    describeRoom: (room) =>
      ask(access, async () => {
        const [running] = await rooms.listRooms([room]);
        if (running === undefined) {
          return null;
        }
        const inside = (await rooms.listParticipants(room)).filter(
          ({ state }) => state !== ParticipantInfo_State.DISCONNECTED,
        );
        const agents = inside.filter(isAgent);
        const isOurs = agents.some(
          ({ attributes }) => (attributes['lk.agent.name'] ?? AGENT_NAME) === AGENT_NAME,
        );
        return {
          humans: inside
            .filter((participant) => !isAgent(participant))
            .map(({ identity }) => identity),
          hasAgent: isOurs || (await isAgentOnItsWay(room)),
        };
      }),
    dispatchAgent: (room, metadata) =>
      ask(access, async () => {
        await dispatches.createDispatch(room, AGENT_NAME, { metadata });
      }),
    check: () =>
      ask(access, async () => {
        await rooms.listRooms(['-']);
      }),
  };
}

function isAgent(participant: { kind: number }): boolean {
  return participant.kind === KIND_AGENT;
}

/** Runs a request to LiveKit and says in our own words why it failed. */
async function ask<T>(access: LiveKitAccess, request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof ServerError && (error.status === 401 || error.status === 403)) {
      throw new ApiError(
        503,
        'livekit_refused',
        `The LiveKit server at ${access.url} refuses this server's API key: ` +
          'check LIVEKIT_API_KEY and LIVEKIT_API_SECRET.',
        { cause: error },
      );
    }
    throw new ApiError(
      503,
      'livekit_unreachable',
      `The LiveKit server at ${access.url} does not answer: ${reasonOf(error)}.`,
      { cause: error, retryAfterSeconds: 5 },
    );
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ServerError) {
    return `HTTP ${error.status} ${error.message.slice(0, 200)}`;
  }
  if (error instanceof Error) {
    if (error.name === 'TimeoutError') {
      return `nothing came back within ${REQUEST_TIMEOUT_SECONDS} s`;
    }
    const cause = error.cause;
    return cause instanceof Error && 'code' in cause ? String(cause.code) : error.message;
  }
  return 'unknown failure';
}
