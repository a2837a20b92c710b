import { useCallback, useEffect, useRef, useState } from 'react';
import { DisconnectReason, Room, RoomEvent } from 'livekit-client';
import { fetchTicket } from './api.ts';
import { openMicrophone } from './microphone.ts';
import { CallError, type Problem } from './problems.ts';

/** `id` counts the calls of this page. */
export type Call =
  | { phase: 'idle' }
  | { phase: 'starting'; id: number; step: 'microphone' | 'connection'; room: Room }
  | { phase: 'talking'; id: number; room: Room; startedAtMs: number }
  | { phase: 'ended'; durationMs: number }
  | { phase: 'failed'; problem: Problem };

export interface CallControls {
  call: Call;
  start: () => void;
  leave: () => void;
}

/**
 * One call at a time: microphone first (nobody should take a line and then not be heard), then a
 * token, then the room.
 */
export function useCall(linkId: string | undefined): CallControls {
  const [call, setCall] = useState<Call>({ phase: 'idle' });
  const count = useRef(0);
  const abort = useRef<AbortController | null>(null);

  const start = useCallback(() => {
    abort.current?.abort();
    const controller = new AbortController();
    abort.current = controller;
    const room = new Room({ publishDefaults: { dtx: false } });
    controller.signal.addEventListener('abort', () => void room.disconnect());
    count.current += 1;
    void connect(count.current, room, linkId, controller.signal, setCall);
  }, [linkId]);

  const leave = useCallback(() => {
    abort.current?.abort();
    setCall((current) =>
      current.phase === 'talking'
        ? { phase: 'ended', durationMs: Date.now() - current.startedAtMs }
        : { phase: 'idle' },
    );
  }, []);

  useEffect(() => () => abort.current?.abort(), []);

  return { call, start, leave };
}

async function connect(
  id: number,
  room: Room,
  linkId: string | undefined,
  signal: AbortSignal,
  setCall: (call: Call) => void,
): Promise<void> {
  const fail = (problem: Problem) => {
    if (!signal.aborted) {
      setCall({ phase: 'failed', problem });
    }
  };
  setCall({ phase: 'starting', id, step: 'microphone', room });
  try {
    const microphone = await openMicrophone();
    signal.addEventListener('abort', () => microphone.stop());
    try {
      signal.throwIfAborted();
      setCall({ phase: 'starting', id, step: 'connection', room });
      const ticket = await fetchTicket(linkId, signal);
      await room.connect(ticket.server_url, ticket.participant_token);
      await room.localParticipant.publishTrack(microphone);
      signal.throwIfAborted();
    } catch (error) {
      microphone.stop();
      throw error;
    }
    room.on(RoomEvent.Disconnected, (reason) => {
      microphone.stop();
      fail(problemOf(reason));
    });
    setCall({ phase: 'talking', id, room, startedAtMs: Date.now() });
  } catch (error) {
    await room.disconnect();
    fail(error instanceof CallError ? error.problem : 'cannot_connect');
  }
}

function problemOf(reason: DisconnectReason | undefined): Problem {
  switch (reason) {
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'elsewhere';
    case DisconnectReason.PARTICIPANT_REMOVED:
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'removed';
    default:
      return 'connection_lost';
  }
}
