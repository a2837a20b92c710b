import {
  AudioStream,
  ParticipantKind,
  RemoteAudioTrack,
  RoomEvent,
  TrackSource,
} from '@livekit/rtc-node';
import type {
  RemoteParticipant,
  RemoteTrack,
  RemoteTrackPublication,
  Room,
} from '@livekit/rtc-node';
import type { llm } from '@livekit/agents';

const MICROPHONE_RATE = 48_000;
/** The shortest chunks there are: each ms of a longer one would be a ms of latency. */
const MICROPHONE_CHUNK_MS = 10;

type HeardTrack = { sid: string; stop: () => void };

/**
 * Lets a session hear a room: the microphone of one human at a time, the first one's.
 *
 * Begins when somebody hears the agent: what the model said before that would be played to the
 * first listener seconds too late. Agents and shared screens are not listened to. When the track
 * ends, the next microphone of a human is heard, the same person's after a rejoin included; between
 * the two the session hears silence.
 *
 * Takes the place of the framework's input path, which keeps all audio for ever if there is neither
 * VAD nor STT. Needs a room that auto-subscribes to everything.
 *
 * @returns a function that stops listening.
 */
export function hearRoom(room: Room, session: llm.DuplexSession): () => void {
  let heard: HeardTrack | null = null;
  let hasListener = false;

  const hearTrack = (track: RemoteAudioTrack, sid: string): void => {
    const reader = new AudioStream(track, {
      sampleRate: MICROPHONE_RATE,
      numChannels: 1,
      frameSizeMs: MICROPHONE_CHUNK_MS,
    }).getReader();
    heard = { sid, stop: () => void reader.cancel().catch(() => undefined) };
    const pump = async (): Promise<void> => {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || heard?.sid !== sid) {
          return;
        }
        session.pushAudio(value);
      }
    };
    // A stream that breaks off is a track that ended.
    void pump()
      .catch(() => undefined)
      .finally(() => stopHearing(sid));
  };

  const stopHearing = (sid: string): void => {
    if (heard?.sid === sid) {
      heard.stop();
      heard = null;
    }
  };

  const consider = (publication: RemoteTrackPublication, participant: RemoteParticipant): void => {
    const { sid, source, track } = publication;
    const isHuman =
      participant.kind !== ParticipantKind.AGENT && participant.kind !== ParticipantKind.EGRESS;
    const isMicrophone =
      track instanceof RemoteAudioTrack && source === TrackSource.SOURCE_MICROPHONE;
    if (hasListener && heard === null && sid !== undefined && isHuman && isMicrophone) {
      hearTrack(track, sid);
    }
  };

  const considerAll = (): void => {
    for (const participant of room.remoteParticipants.values()) {
      for (const publication of participant.trackPublications.values()) {
        consider(publication, participant);
      }
    }
  };

  const onSubscribed = (
    _track: RemoteTrack,
    publication: RemoteTrackPublication,
    participant: RemoteParticipant,
  ): void => consider(publication, participant);

  const onUnsubscribed = (_track: RemoteTrack, publication: RemoteTrackPublication): void => {
    if (publication.sid !== undefined) {
      stopHearing(publication.sid);
      considerAll();
    }
  };

  const onListener = (): void => {
    hasListener = true;
    considerAll();
  };

  room.on(RoomEvent.TrackSubscribed, onSubscribed);
  room.on(RoomEvent.TrackUnsubscribed, onUnsubscribed);
  room.on(RoomEvent.LocalTrackSubscribed, onListener);
  for (const publication of room.localParticipant?.trackPublications.values() ?? []) {
    void publication.waitForSubscription().then(onListener);
  }
  return () => {
    hasListener = false;
    room.off(RoomEvent.LocalTrackSubscribed, onListener);
    room.off(RoomEvent.TrackSubscribed, onSubscribed);
    room.off(RoomEvent.TrackUnsubscribed, onUnsubscribed);
    if (heard !== null) {
      stopHearing(heard.sid);
    }
  };
}
