import {
  RoomAudioRenderer,
  RoomContext,
  useConnectionState,
  useLocalParticipant,
  useVoiceAssistant,
} from '@livekit/components-react';
import { LocalAudioTrack, RemoteAudioTrack, Track, type TrackPublication } from 'livekit-client';
import { Captions } from './captions.tsx';
import { Controls } from './controls.tsx';
import { Legend } from './legend.tsx';
import { Latency } from './latency.tsx';
import { ProblemCard } from './problem-card.tsx';
import { StateLine } from './state-line.tsx';
import { useAgentReport } from './use-room-events.ts';
import { useAgentWatch } from './use-agent-watch.ts';
import type { Call } from './use-call.ts';
import { useCaptions } from './use-captions.ts';
import { useLevels } from './use-levels.ts';
import { Voices } from './voices.tsx';

interface CallScreenProps {
  call: Extract<Call, { phase: 'starting' | 'talking' }>;
  onLeave: () => void;
  onCallAgain: () => void;
}

/** A call, from the click on. */
export function CallScreen(props: CallScreenProps) {
  return (
    // The room is new for every call, and with it everything that listens to it.
    <RoomContext.Provider value={props.call.room} key={props.call.id}>
      <Talk {...props} />
      <RoomAudioRenderer />
    </RoomContext.Provider>
  );
}

function Talk({ call, onLeave, onCallAgain }: CallScreenProps) {
  const connection = useConnectionState();
  const { agent, state, audioTrack } = useVoiceAssistant();
  const { localParticipant, isMicrophoneEnabled } = useLocalParticipant();
  const microphone = audioTrackOf(localParticipant.getTrackPublication(Track.Source.Microphone));
  const agentAudio = audioTrackOf(audioTrack?.publication);
  const readLevels = useLevels(agentAudio, microphone);
  const captions = useCaptions();
  const report = useAgentReport(agent?.identity);
  const absence = useAgentWatch(call.phase === 'talking', agent !== undefined);
  const isBusy = report.fatalCode === 'full' || report.fatalCode === 'overloaded';
  const problem = isBusy ? 'busy' : absence;

  return (
    <main className="call">
      <div className="status">
        <StateLine
          call={call}
          connection={connection}
          state={report.state === 'reconnecting' ? 'reconnecting' : state}
          isAlone={problem !== null}
          isMuted={!isMicrophoneEnabled}
        />
        <Legend />
      </div>
      <Voices withoutMotion="meter" readLevels={readLevels} />
      {problem === null ? (
        <Captions captions={captions} isAgentPresent={agent !== undefined} />
      ) : (
        <div className="captions">
          <ProblemCard heading="h2" problem={problem} onRetry={onCallAgain} />
        </div>
      )}
      <footer className="dock">
        <Controls isReady={call.phase === 'talking'} onLeave={onLeave} />
        <Latency agentTrack={agentAudio} userTrack={microphone} stepMs={report.stepMs} />
      </footer>
    </main>
  );
}

function audioTrackOf(publication: TrackPublication | undefined) {
  const track = publication?.track;
  return track instanceof LocalAudioTrack || track instanceof RemoteAudioTrack ? track : undefined;
}
