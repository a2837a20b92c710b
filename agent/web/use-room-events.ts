import { useCallback, useState } from 'react';
import { useDataChannel } from '@livekit/components-react';
import { parseRoomEvent, ROOM_EVENTS_TOPIC, type CallState } from '../events/room-events.ts';

export interface AgentReport {
  /** Where the agent's own connection to its model stands; null before it said so. */
  state: CallState | null;
  /** Median time of one model step, milliseconds. */
  stepMs: number | null;
  /** Why the agent is about to leave, one word; null while it stays. */
  fatalCode: string | null;
}

const NOTHING: AgentReport = { state: null, stepMs: null, fatalCode: null };

/** What the agent last said of itself on the room's data channel. */
export function useAgentReport(agentIdentity: string | undefined): AgentReport {
  const [report, setReport] = useState(NOTHING);
  const onMessage = useCallback(
    (message: { payload: Uint8Array; from?: { identity: string } }) => {
      // Anybody in the room may send on this topic, only the agent is believed.
      if (agentIdentity === undefined || message.from?.identity !== agentIdentity) {
        return;
      }
      const event = parseRoomEvent(message.payload);
      if (event?.type === 'timing') {
        setReport((known) => ({ ...known, stepMs: event.stepMs?.p50 ?? null }));
      } else if (event?.type === 'state') {
        setReport((known) => ({ ...known, state: event.state }));
      } else if (event?.type === 'error' && !event.recoverable) {
        setReport((known) => ({ ...known, fatalCode: event.code }));
      }
    },
    [agentIdentity],
  );
  useDataChannel(ROOM_EVENTS_TOPIC, onMessage);
  return report;
}
