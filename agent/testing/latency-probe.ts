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
import { findChirp, makeChirp } from './chirp.ts';

const SAMPLE_RATE = 48_000;
const CHUNK_MS = 10;
const CHUNK_SAMPLES = (SAMPLE_RATE * CHUNK_MS) / 1_000;
const CHUNKS_PER_CHIRP = 60;
/** Time between two chirps; delays up to this long are told apart. */
export const CHIRP_INTERVAL_MS = CHUNKS_PER_CHIRP * CHUNK_MS;
const CHIRP = makeChirp({
  sampleRate: SAMPLE_RATE,
  durationMs: 40,
  from: 600,
  to: 6_000,
  amplitude: 0.5,
});
const CHIRP_CHUNKS = Math.ceil(CHIRP.length / CHUNK_SAMPLES);
/** Correlation from which a chirp counts as heard: codecs take something away. */
const LEAST_SCORE = 0.5;
/** Own sound that waits for the network is a delay of this probe, not of what it measures. */
const MOST_QUEUED_MS = 12;

type Chunk = { arrivedMs: number; pcm: Int16Array };

/**
 * A participant that sends chirps and listens for those of another one.
 *
 * A sample leaves the mouth `CHUNK_MS` before its chunk is handed over, and reaches the ear when
 * its chunk arrives: what sound cards add on either side is not part of the path.
 */
export class LatencyProbe {
  readonly room = new Room();
  /** When each chirp left the mouth, ms. */
  readonly sentMs: number[] = [];
  readonly #source = new AudioSource(SAMPLE_RATE, 1, 50);
  readonly #heard: Chunk[] = [];
  #timer: NodeJS.Timeout | null = null;
  #isHearing = false;

  get isHearing(): boolean {
    return this.#isHearing;
  }

  /** @param hearsAgents - Whether the voice of an agent is listened to, or that of people. */
  async join(url: string, token: string, hearsAgents: boolean): Promise<void> {
    this.room.on(RoomEvent.TrackSubscribed, (track, _publication, participant) => {
      const isAgent = participant.kind === ParticipantKind.AGENT;
      if (track instanceof RemoteAudioTrack && isAgent === hearsAgents) {
        void this.#listen(track);
      }
    });
    await this.room.connect(url, token, { autoSubscribe: true, dynacast: false });
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    const track = LocalAudioTrack.createAudioTrack('microphone', this.#source);
    await this.room.localParticipant?.publishTrack(track, options);
    this.#startTalking();
  }

  /**
   * Delay of a chirp, by what was heard after it was sent; null if it was not heard. Blocks for tens
   * of milliseconds: not to be called while others are measured.
   */
  delayMs(sentMs: number): number | null {
    const recording = this.#heard.filter(
      ({ arrivedMs }) => arrivedMs >= sentMs && arrivedMs < sentMs + CHIRP_INTERVAL_MS + CHUNK_MS,
    );
    // The correlation is normalised, so the scale of 16 bits may stay.
    const samples = new Float32Array(recording.length * CHUNK_SAMPLES);
    recording.forEach((chunk, index) => samples.set(chunk.pcm, index * CHUNK_SAMPLES));
    const match = findChirp(samples, CHIRP);
    if (match === null || match.score < LEAST_SCORE) {
      return null;
    }
    const chunkIndex = Math.floor(match.position / CHUNK_SAMPLES);
    const withinMs = ((match.position - chunkIndex * CHUNK_SAMPLES) / SAMPLE_RATE) * 1_000;
    return (recording[chunkIndex]?.arrivedMs ?? Number.NaN) + withinMs - sentMs;
  }

  async leave(): Promise<void> {
    if (this.#timer !== null) {
      clearInterval(this.#timer);
    }
    await this.room.disconnect();
    await this.#source.close();
  }

  #startTalking(): void {
    const startMs = performance.now();
    let sentChunks = 0;
    let position = 0;
    let sending = Promise.resolve();
    this.#timer = setInterval(() => {
      const due = Math.floor((performance.now() - startMs) / CHUNK_MS);
      for (; sentChunks < due; sentChunks += 1) {
        const isChirping = position < CHIRP_CHUNKS;
        // After a stall of this process silence is left out until nothing waits.
        if (!isChirping && this.#source.queuedDuration > MOST_QUEUED_MS) {
          continue;
        }
        if (position === 0) {
          this.sentMs.push(performance.now() - CHUNK_MS);
        }
        const pcm = chirpChunk(position);
        position = (position + 1) % CHUNKS_PER_CHIRP;
        sending = sending
          .then(() => this.#source.captureFrame(new AudioFrame(pcm, SAMPLE_RATE, 1, pcm.length)))
          .catch(() => undefined);
      }
    }, 2);
  }

  async #listen(track: RemoteAudioTrack): Promise<void> {
    const reader = new AudioStream(track, {
      sampleRate: SAMPLE_RATE,
      numChannels: 1,
      frameSizeMs: CHUNK_MS,
    }).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      this.#isHearing = true;
      const arrivedMs = performance.now();
      this.#heard.push({ arrivedMs, pcm: value.data });
    }
  }
}

function chirpChunk(position: number): Int16Array {
  const start = position * CHUNK_SAMPLES;
  return Int16Array.from({ length: CHUNK_SAMPLES }, (_, index) =>
    Math.round((CHIRP[start + index] ?? 0) * 32_767),
  );
}
