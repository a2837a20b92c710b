import { ParticipantKind } from '@livekit/rtc-node';
import type { RemoteParticipant, Room } from '@livekit/rtc-node';

/** Participant attribute: when the worker took the job, ms since 1970. */
export const ACCEPTED_AT_ATTRIBUTE = 'moshi.accepted_at';
/** Participant attribute that LiveKit's workers set. */
const AGENT_NAME_ATTRIBUTE = 'lk.agent_name';

/**
 * Finds an agent of our name that was sent to this room after us.
 *
 * When the LiveKit server restarts, a caller who comes back before the agent makes the server send
 * another one. Two would talk to each other's caller; the older leaves, and because both compare
 * the same two numbers they agree on which that is.
 */
export function findYoungerRival(room: Room): RemoteParticipant | undefined {
  const self = room.localParticipant;
  if (self === undefined) {
    return undefined;
  }
  const own = ageKey(self);
  return [...room.remoteParticipants.values()].find(
    (other) =>
      other.kind === ParticipantKind.AGENT &&
      other.attributes[AGENT_NAME_ATTRIBUTE] === self.attributes[AGENT_NAME_ATTRIBUTE] &&
      isAfter(ageKey(other), own),
  );
}

type AgeKey = { acceptedAt: number; identity: string };

function ageKey(agent: { attributes: Record<string, string>; identity: string }): AgeKey {
  const acceptedAt = Number(agent.attributes[ACCEPTED_AT_ATTRIBUTE]);
  return { acceptedAt: Number.isFinite(acceptedAt) ? acceptedAt : 0, identity: agent.identity };
}

function isAfter(a: AgeKey, b: AgeKey): boolean {
  return a.acceptedAt === b.acceptedAt ? a.identity > b.identity : a.acceptedAt > b.acceptedAt;
}
