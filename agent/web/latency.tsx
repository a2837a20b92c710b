import { useEffect, useState } from 'react';
import type { LocalAudioTrack, RemoteAudioTrack } from 'livekit-client';

type AudioTrack = LocalAudioTrack | RemoteAudioTrack | undefined;

interface LatencyProps {
  agentTrack: AudioTrack;
  userTrack: AudioTrack;
  /** Time the model takes for 80 ms of conversation. */
  stepMs: number | null;
}

interface NetworkFigures {
  roundTripMs: number | null;
  jitterMs: number | null;
  bufferMs: number | null;
}

const NOTHING: NetworkFigures = { roundTripMs: null, jitterMs: null, bufferMs: null };
const INTERVAL_MS = 2_000;

/** How long the way is: figures of the network and of the model. */
export function Latency({ agentTrack, userTrack, stepMs }: LatencyProps) {
  const network = useNetworkFigures(agentTrack, userTrack);
  return (
    <dl className="latency" aria-label="Latency">
      <Figure name="Model" value={stepMs} title="Model’s time for 80 ms of conversation" />
      <Figure name="Network" value={network.roundTripMs} title="Round trip to the server" />
      <Figure name="Jitter" value={network.jitterMs} title="Of the packets with Moshi’s voice" />
      <Figure name="Buffer" value={network.bufferMs} title="Wait before Moshi’s voice is played" />
    </dl>
  );
}

function Figure({ name, value, title }: { name: string; value: number | null; title: string }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{value === null ? '–' : `${Math.round(value)} ms`}</dd>
    </div>
  );
}

function useNetworkFigures(agentTrack: AudioTrack, userTrack: AudioTrack): NetworkFigures {
  const [figures, setFigures] = useState(NOTHING);
  useEffect(() => {
    if (agentTrack === undefined && userTrack === undefined) {
      return;
    }
    let isCurrent = true;
    const read = async () => {
      const [received, sent] = await Promise.all([
        agentTrack?.getRTCStatsReport(),
        userTrack?.getRTCStatsReport(),
      ]);
      if (isCurrent) {
        setFigures(readFigures(received, sent));
      }
    };
    const timer = setInterval(() => void read(), INTERVAL_MS);
    return () => {
      isCurrent = false;
      clearInterval(timer);
    };
  }, [agentTrack, userTrack]);
  return figures;
}

/** WebRTC statistics count in seconds. */
function readFigures(
  received: RTCStatsReport | undefined,
  sent: RTCStatsReport | undefined,
): NetworkFigures {
  const inbound = find(received, 'inbound-rtp');
  const pair = find(sent, 'candidate-pair', 'currentRoundTripTime');
  const emitted = number(inbound?.['jitterBufferEmittedCount']);
  const delay = number(inbound?.['jitterBufferDelay']);
  return {
    roundTripMs: toMs(number(pair?.['currentRoundTripTime'])),
    jitterMs: toMs(number(inbound?.['jitter'])),
    bufferMs: delay !== null && emitted !== null && emitted > 0 ? (delay / emitted) * 1000 : null,
  };
}

function find(
  report: RTCStatsReport | undefined,
  type: string,
  field?: string,
): Record<string, unknown> | undefined {
  let found: Record<string, unknown> | undefined;
  report?.forEach((entry: Record<string, unknown>) => {
    if (entry['type'] === type && (field === undefined || typeof entry[field] === 'number')) {
      found = entry;
    }
  });
  return found;
}

function number(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}

function toMs(seconds: number | null): number | null {
  return seconds === null ? null : seconds * 1000;
}
