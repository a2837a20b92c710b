import { ConnectionState } from 'livekit-client';
import type { Call } from './use-call.ts';

interface StateLineProps {
  call: Extract<Call, { phase: 'starting' | 'talking' }>;
  connection: ConnectionState;
  /** What the agent says of itself. */
  state: string;
  isMuted: boolean;
  /** Nobody is on the other side, and another part of the page says why. */
  isAlone: boolean;
}

/** One short sentence: where the call stands. */
export function StateLine(props: StateLineProps) {
  const { tone, text } = describe(props);
  return (
    <p className="state" role="status" data-tone={tone}>
      <span className="dot" aria-hidden="true" />
      {text}
    </p>
  );
}

type Tone = 'wait' | 'agent' | 'user' | 'muted';

function describe({ call, connection, state, isMuted, isAlone }: StateLineProps): {
  tone: Tone;
  text: string;
} {
  if (call.phase === 'starting') {
    return {
      tone: 'wait',
      text: call.step === 'microphone' ? 'Waiting for your microphone' : 'Connecting',
    };
  }
  if (
    connection === ConnectionState.Reconnecting ||
    connection === ConnectionState.SignalReconnecting
  ) {
    return { tone: 'wait', text: 'Connection lost, reconnecting' };
  }
  if (isAlone) {
    return { tone: 'muted', text: 'Nobody on the line' };
  }
  if (state === 'reconnecting') {
    return { tone: 'wait', text: 'Moshi was cut off, it will be back in a moment' };
  }
  if (state === 'speaking') {
    return {
      tone: 'agent',
      text: isMuted ? 'Moshi is speaking, you are muted' : 'Moshi is speaking',
    };
  }
  if (state === 'listening' || state === 'thinking' || state === 'idle') {
    return isMuted
      ? { tone: 'muted', text: 'You are muted' }
      : { tone: 'user', text: 'Moshi is listening' };
  }
  return { tone: 'wait', text: 'Calling Moshi' };
}
