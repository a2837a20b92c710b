import {
  AudioFrame,
  AudioSource,
  AudioStream,
  LocalAudioTrack,
  ParticipantKind,
  RemoteAudioTrack,
  Room,
  RoomEvent,
  TrackPublishOptions,
  TrackSource,
} from '@livekit/rtc-node';
import type { LocalTrackPublication } from '@livekit/rtc-node';
import { createResampler } from '../../plugins/moshi/index.ts';
import { parseRoomEvent, ROOM_EVENTS_TOPIC } from '../events/room-events.ts';
import type { RoomEvent as AgentEvent } from '../events/room-events.ts';

const ROOM_RATE = 48_000;
const CHUNK_MS = 10;
const CHUNK_SAMPLES = (ROOM_RATE * CHUNK_MS) / 1_000;
/** Energy of a 10 ms chunk above which somebody is heard, RMS of full scale. */
const AUDIBLE_LEVEL = 0.01;

export type HeardChunk = { atMs: number; level: number };
export type HeardText = {
  atMs: number;
  text: string;
  segmentId: string;
  trackId: string | undefined;
  /** Whose words they are. */
  sender: string;
  isFinal: boolean;
};

/**
 * Somebody on the phone with the agent: speaks samples in real time, and writes down what is heard,
 * read and told, each with the time (`performance.now`) at which it arrived.
 */
export class Caller {
  readonly identity: string;
  readonly room = new Room();
  readonly levels: HeardChunk[] = [];
  readonly texts: HeardText[] = [];
  readonly events: { atMs: number; event: AgentEvent }[] = [];
  joinedMs = 0;
  readonly #source = new AudioSource(ROOM_RATE, 1, 50);
  #queue = new Float32Array(0);
  #position = 0;
  #publication: LocalTrackPublication | null = null;
  #microphone: LocalAudioTrack | null = null;
  #clock: NodeJS.Timeout | null = null;
  #spoken: (() => void)[] = [];

  constructor(identity: string) {
    this.identity = identity;
  }

  /** @param subscribes - Whether everything is listened to at once, or what `subscribe` asks for. */
  async join(url: string, token: string, subscribes = true): Promise<void> {
    this.room.on(RoomEvent.TrackSubscribed, (track, _publication, participant) => {
      if (track instanceof RemoteAudioTrack && participant.kind === ParticipantKind.AGENT) {
        void this.#listen(track);
      }
    });
    this.room.on(RoomEvent.DataReceived, (payload, _participant, _kind, topic) => {
      const event = topic === ROOM_EVENTS_TOPIC ? parseRoomEvent(payload) : null;
      if (event !== null) {
        this.events.push({ atMs: performance.now(), event });
      }
    });
    this.room.registerTextStreamHandler('lk.transcription', (reader, sender) => {
      void this.#read(reader, sender.identity);
    });
    await this.room.connect(url, token, { autoSubscribe: subscribes, dynacast: false });
    this.joinedMs = performance.now();
    await this.publishMicrophone();
  }

  async publishMicrophone(): Promise<void> {
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    this.#microphone = LocalAudioTrack.createAudioTrack('microphone', this.#source);
    this.#publication =
      (await this.room.localParticipant?.publishTrack(this.#microphone, options)) ?? null;
    this.#clock ??= this.#startClock();
  }

  async unpublishMicrophone(): Promise<void> {
    if (this.#publication?.sid !== undefined) {
      await this.room.localParticipant?.unpublishTrack(this.#publication.sid, false);
    }
  }

  /** Listens to the agent from now on. */
  subscribe(): void {
    for (const participant of this.room.remoteParticipants.values()) {
      participant.trackPublications.forEach((publication) => publication.setSubscribed(true));
    }
  }

  /**
   * Mutes the microphone the way a button does: the server and everybody in the room are told, and
   * no sound is sent. `LocalAudioTrack` offers no method for it, the library beneath has a request.
   */
  mute(isMuted: boolean): void {
    const trackHandle = this.#microphone?.ffi_handle.handle;
    if (trackHandle !== undefined) {
      globalThis._ffiClientInstance?.request({
        message: { case: 'localTrackMute', value: { trackHandle, mute: isMuted } },
      });
    }
  }

  /** Says samples of any rate; resolves when the last one has left. */
  say(samples: Float32Array, sampleRate: number): Promise<void> {
    const resampler = createResampler({ inputRate: sampleRate, outputRate: ROOM_RATE });
    const speech = [resampler.push(samples), resampler.flush()];
    const rest = this.#queue.subarray(this.#position);
    this.#queue = Float32Array.from([...rest, ...(speech[0] ?? []), ...(speech[1] ?? [])]);
    this.#position = 0;
    return new Promise((resolve) => this.#spoken.push(resolve));
  }

  /** The agent's words since then, as one text. */
  textSince(fromMs: number): string {
    return this.texts
      .filter(({ atMs, sender }) => atMs >= fromMs && sender !== this.identity)
      .map(({ text }) => text)
      .join('')
      .trim();
  }

  /** Duration of audible sound in a span of time, ms. */
  audibleMs(fromMs: number, toMs: number = Infinity): number {
    const heard = this.levels.filter(
      ({ atMs, level }) => atMs >= fromMs && atMs < toMs && level > AUDIBLE_LEVEL,
    );
    return heard.length * CHUNK_MS;
  }

  /** When the agent was last audible before that time. */
  lastAudibleMs(beforeMs: number = Infinity): number {
    const last = this.levels.findLast(
      ({ atMs, level }) => atMs < beforeMs && level > AUDIBLE_LEVEL,
    );
    return last?.atMs ?? -Infinity;
  }

  /** When the agent was first audible after that time. */
  firstAudibleMs(fromMs: number): number {
    const first = this.levels.find(({ atMs, level }) => atMs >= fromMs && level > AUDIBLE_LEVEL);
    return first?.atMs ?? Infinity;
  }

  async leave(): Promise<void> {
    if (this.#clock !== null) {
      clearInterval(this.#clock);
      this.#clock = null;
    }
    await this.room.disconnect();
    await this.#source.close();
  }

  #startClock(): NodeJS.Timeout {
    const startMs = performance.now();
    let sentChunks = 0;
    let sending = Promise.resolve();
    return setInterval(() => {
      const due = Math.floor((performance.now() - startMs) / CHUNK_MS);
      // A stall of this process is not made up for: it would delay the caller for good.
      sentChunks = Math.max(sentChunks, due - 5);
      for (; sentChunks < due; sentChunks += 1) {
        const pcm = this.#nextChunk();
        sending = sending
          .then(() => this.#source.captureFrame(new AudioFrame(pcm, ROOM_RATE, 1, pcm.length)))
          .catch(() => undefined);
      }
    }, CHUNK_MS / 2);
  }

  #nextChunk(): Int16Array {
    const pcm = new Int16Array(CHUNK_SAMPLES);
    for (let index = 0; index < CHUNK_SAMPLES && this.#position < this.#queue.length; index += 1) {
      pcm[index] = Math.round((this.#queue[this.#position] ?? 0) * 32_767);
      this.#position += 1;
    }
    if (this.#position >= this.#queue.length) {
      this.#spoken.splice(0).forEach((resolve) => resolve());
    }
    return pcm;
  }

  async #listen(track: RemoteAudioTrack): Promise<void> {
    const stream = new AudioStream(track, {
      sampleRate: ROOM_RATE,
      numChannels: 1,
      frameSizeMs: CHUNK_MS,
    });
    const reader = stream.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      let sum = 0;
      for (const sample of value.data) {
        sum += (sample / 32_768) ** 2;
      }
      const level = Math.sqrt(sum / value.data.length);
      this.levels.push({ atMs: performance.now(), level });
    }
  }

  async #read(
    reader: AsyncIterable<string> & { info: { attributes?: Record<string, string> } },
    sender: string,
  ): Promise<void> {
    const attributes = reader.info.attributes ?? {};
    try {
      for await (const text of reader) {
        this.texts.push({
          atMs: performance.now(),
          text,
          segmentId: attributes['lk.segment_id'] ?? '',
          trackId: attributes['lk.transcribed_track_id'],
          sender,
          isFinal: attributes['lk.transcription_final'] === 'true',
        });
      }
    } catch {
      // The sender was cut off; what arrived counts.
    }
  }
}
