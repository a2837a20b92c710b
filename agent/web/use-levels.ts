import { useEffect, useMemo, useRef } from 'react';
import { createAudioAnalyser, type LocalAudioTrack, type RemoteAudioTrack } from 'livekit-client';
import type { Levels } from './voices.tsx';

type AudioTrack = LocalAudioTrack | RemoteAudioTrack;

/** Reads the loudness of both tracks, on demand; 0 for one that is missing. */
export function useLevels(
  agentTrack: AudioTrack | undefined,
  userTrack: AudioTrack | undefined,
): () => Levels {
  const agent = useLevel(agentTrack);
  const user = useLevel(userTrack);
  return useMemo(() => () => ({ agent: agent.current(), user: user.current() }), [agent, user]);
}

function useLevel(track: AudioTrack | undefined): { readonly current: () => number } {
  const read = useRef<() => number>(silence);
  useEffect(() => {
    if (track === undefined) {
      return;
    }
    // A clone would go on while the original is muted.
    const { analyser, cleanup } = createAudioAnalyser(track, {
      cloneTrack: false,
      fftSize: 1024,
      smoothingTimeConstant: 0,
    });
    const samples = new Float32Array(analyser.fftSize);
    read.current = () => {
      analyser.getFloatTimeDomainData(samples);
      return loudness(samples);
    };
    return () => {
      read.current = silence;
      void cleanup();
    };
  }, [track]);
  return read;
}

function silence(): number {
  return 0;
}

/** Root mean square on a scale that fits speech: −50 dB is 0, full scale 1, in between as heard. */
function loudness(samples: Float32Array): number {
  let energy = 0;
  for (const sample of samples) {
    energy += sample * sample;
  }
  const decibels = 10 * Math.log10(energy / samples.length + 1e-12);
  return Math.min(1, Math.max(0, (decibels + 50) / 50) ** 1.5);
}
