import { randomBytes } from 'node:crypto';
import { AccessToken, RoomAgentDispatch, RoomConfiguration, TrackSource } from 'livekit-server-sdk';
import { AGENT_NAME } from './requests.ts';

/** Expiry concerns the first connection only: LiveKit refreshes the token of who is inside. */
const TOKEN_TTL_SECONDS = 600;

/** Seconds LiveKit keeps a room that nobody entered, and one that everybody left. */
const EMPTY_TIMEOUT_SECONDS = 60;
const DEPARTURE_TIMEOUT_SECONDS = 20;

export interface JoinTokenOptions {
  apiKey: string;
  apiSecret: string;
  room: string;
  identity: string;
  name: string | undefined;
  metadata: string | undefined;
  attributes: Record<string, string> | undefined;
  agentMetadata: string | undefined;
  maxParticipants: number | undefined;
}

/**
 * A JWT that admits one person to one room for ten minutes, with a microphone and nothing else, and
 * that brings the agent along if the join creates the room.
 */
export async function createJoinToken(options: JoinTokenOptions): Promise<string> {
  const token = new AccessToken(options.apiKey, options.apiSecret, {
    identity: options.identity,
    ttl: TOKEN_TTL_SECONDS,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(options.attributes === undefined ? {} : { attributes: options.attributes }),
  });
  token.addGrant({
    room: options.room,
    roomJoin: true,
    canPublish: true,
    canPublishSources: [TrackSource.MICROPHONE],
    canSubscribe: true,
    canPublishData: true,
    canUpdateOwnMetadata: false,
  });
  token.roomConfig = new RoomConfiguration({
    emptyTimeout: EMPTY_TIMEOUT_SECONDS,
    departureTimeout: DEPARTURE_TIMEOUT_SECONDS,
    maxParticipants: options.maxParticipants ?? 0,
    agents: [
      new RoomAgentDispatch({ agentName: AGENT_NAME, metadata: options.agentMetadata ?? '' }),
    ],
  });
  return token.toJwt();
}

/** An identity nobody can guess: who joins under a present one's identity throws that one out. */
export function createIdentity(): string {
  return `visitor-${randomBytes(9).toString('base64url')}`;
}

export function createRoomName(): string {
  return `room-${randomBytes(16).toString('base64url')}`;
}
