import { useEffect } from 'react';
import { useLocalParticipant } from '@livekit/components-react';
import { HangUpIcon, MicrophoneIcon, MutedIcon } from './icons.tsx';

/** Mute (also by the key M) and leave. */
export function Controls({ isReady, onLeave }: { isReady: boolean; onLeave: () => void }) {
  const { localParticipant, isMicrophoneEnabled } = useLocalParticipant();

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
      if (event.key.toLowerCase() === 'm' && isPlain && isReady) {
        void localParticipant.setMicrophoneEnabled(!localParticipant.isMicrophoneEnabled);
      }
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [localParticipant, isReady]);

  return (
    <div className="controls">
      <button
        type="button"
        className="round"
        aria-pressed={!isMicrophoneEnabled && isReady}
        aria-keyshortcuts="M"
        title="Mute or unmute (M)"
        disabled={!isReady}
        onClick={() => void localParticipant.setMicrophoneEnabled(!isMicrophoneEnabled)}
      >
        {isMicrophoneEnabled || !isReady ? <MicrophoneIcon /> : <MutedIcon />}
        <span>{isMicrophoneEnabled || !isReady ? 'Mute' : 'Unmute'}</span>
      </button>
      <button type="button" className="round leave" onClick={onLeave}>
        <HangUpIcon />
        <span>Leave</span>
      </button>
    </div>
  );
}
