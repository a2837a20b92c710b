import { ParticipantKind } from '@livekit/rtc-node';
import type { Room } from '@livekit/rtc-node';
import { expect, test } from 'vitest';
import { ACCEPTED_AT_ATTRIBUTE, findYoungerRival } from './rival-agent.ts';

type Agent = { identity: string; acceptedAt: number; name?: string; kind?: ParticipantKind };

function participant({
  identity,
  acceptedAt,
  name = 'moshi',
  kind = ParticipantKind.AGENT,
}: Agent) {
  const attributes = { 'lk.agent_name': name, [ACCEPTED_AT_ATTRIBUTE]: `${acceptedAt}` };
  return { identity, kind, attributes };
}

function findIn(self: Agent, others: Agent[]): string | undefined {
  const room = {
    localParticipant: participant(self),
    remoteParticipants: new Map(others.map((other) => [other.identity, participant(other)])),
  };
  return findYoungerRival(room as unknown as Room)?.identity;
}

test('of two agents exactly the older one finds a younger one', () => {
  const older = { identity: 'a', acceptedAt: 1_000 };
  const younger = { identity: 'b', acceptedAt: 2_000 };
  expect(findIn(older, [younger])).toBe('b');
  expect(findIn(younger, [older])).toBeUndefined();
});

test('of two that came in the same millisecond exactly one does', () => {
  const one = { identity: 'a', acceptedAt: 1_000 };
  const other = { identity: 'b', acceptedAt: 1_000 };
  expect([findIn(one, [other]), findIn(other, [one])].filter(Boolean)).toHaveLength(1);
});

test('people and agents of other names are no rivals', () => {
  const self = { identity: 'a', acceptedAt: 1_000 };
  const person = { identity: 'b', acceptedAt: 2_000, kind: ParticipantKind.STANDARD };
  const stranger = { identity: 'c', acceptedAt: 2_000, name: 'notes' };
  expect(findIn(self, [person, stranger])).toBeUndefined();
});
