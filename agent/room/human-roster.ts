import { EventEmitter } from 'node:events';
import {
  ParticipantKind,
  RemoteAudioTrack,
  RoomEvent,
  TrackKind,
  TrackSource,
} from '@livekit/rtc-node';
import type { RemoteParticipant, RemoteTrackPublication, Room } from '@livekit/rtc-node';

/** Kinds of participants that are, or stand for, people. */
const HUMAN_KINDS: readonly ParticipantKind[] = [
  ParticipantKind.STANDARD,
  ParticipantKind.SIP,
  ParticipantKind.CONNECTOR,
];
/** Clients that name no source publish their microphone as UNKNOWN. */
const VOICE_SOURCES: readonly TrackSource[] = [
  TrackSource.SOURCE_MICROPHONE,
  TrackSource.SOURCE_UNKNOWN,
];
/** Set on bots that publish in the name of another participant, avatars for example. */
const ON_BEHALF_ATTRIBUTE = 'lk.publish_on_behalf';
/** How often a subscription that did not come about is asked for again, ms. */
const REFRESH_INTERVAL_MS = 1_000;

const OBSERVED_EVENTS = [
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackUnmuted,
  RoomEvent.Reconnected,
] as const;

type HumanRosterEvents = {
  /** Somebody else is heard from now on; null: nobody is there. */
  heard: [identity: string | null];
  /** The microphone of who is heard; null while there is none. */
  microphone: [track: RemoteAudioTrack | null];
};

/**
 * Knows who in the room is a person, and which of them the model hears: the first to come, and when
 * they leave the next one.
 *
 * It looks at the room as it is, after every event and once a second, instead of following events:
 * around a reconnect they come in any order, and a subscription asked for too early is lost.
 * Tracks are subscribed to one by one, so neither video nor other agents cost anything.
 */
export class HumanRoster extends EventEmitter<HumanRosterEvents> {
  readonly #room: Room;
  readonly #timer: NodeJS.Timeout;
  #heard: string | null = null;
  #microphone: RemoteAudioTrack | null = null;

  /** Nothing is told before `start`, so that listeners can be attached. */
  constructor(room: Room) {
    super();
    this.#room = room;
    for (const event of OBSERVED_EVENTS) {
      room.on(event, this.#refresh);
    }
    this.#timer = setInterval(this.#refresh, REFRESH_INTERVAL_MS);
  }

  /** Identity of who is heard. */
  get heard(): string | null {
    return this.#heard;
  }

  start(): void {
    this.#refresh();
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const event of OBSERVED_EVENTS) {
      this.#room.off(event, this.#refresh);
    }
  }

  /**
   * Subscribes to the microphone anew. Its jitter buffer, which a stall of this process has taught
   * to wait for long, is replaced by one that knows nothing of it.
   */
  renewMicrophone(): void {
    const heard = this.#heard === null ? undefined : this.#room.remoteParticipants.get(this.#heard);
    const publication = heard && voiceOf(heard);
    // `TrackUnsubscribed` makes the refresh ask for it again.
    publication?.setSubscribed(false);
  }

  #refresh = (): void => {
    const humans = [...this.#room.remoteParticipants.values()].filter(isHuman);
    // The map keeps the order of arrival.
    const heard = humans.find((human) => human.identity === this.#heard) ?? humans[0];
    const identity = heard?.identity ?? null;
    if (identity !== this.#heard) {
      this.#heard = identity;
      this.emit('heard', identity);
    }
    const microphone = heard === undefined ? null : subscribedMicrophone(heard);
    if (microphone !== this.#microphone) {
      this.#microphone = microphone;
      this.emit('microphone', microphone);
    }
  };
}

/** True for people; false for agents, recorders, and bots that speak for somebody else. */
export function isHuman(participant: RemoteParticipant): boolean {
  return HUMAN_KINDS.includes(participant.kind) && !(ON_BEHALF_ATTRIBUTE in participant.attributes);
}

/** Finds the first voice track, subscribing to it where needed; never to the sound of a screen. */
function subscribedMicrophone(participant: RemoteParticipant): RemoteAudioTrack | null {
  const publication = voiceOf(participant);
  if (publication?.track instanceof RemoteAudioTrack && publication.subscribed) {
    return publication.track;
  }
  publication?.setSubscribed(true);
  return null;
}

function voiceOf(participant: RemoteParticipant): RemoteTrackPublication | undefined {
  return [...participant.trackPublications.values()].find(isVoice);
}

function isVoice({ kind, source }: RemoteTrackPublication): boolean {
  return kind === TrackKind.KIND_AUDIO && source !== undefined && VOICE_SOURCES.includes(source);
}
