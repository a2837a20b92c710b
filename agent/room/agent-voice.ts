import {
  AudioFrame,
  AudioSource,
  LocalAudioTrack,
  TrackPublishOptions,
  TrackSource,
} from '@livekit/rtc-node';
import type { LocalTrackPublication, Room } from '@livekit/rtc-node';
import { BacklogController, createResampler, toPcm16 } from '../../plugins/moshi/index.ts';

const ROOM_SAMPLE_RATE = 48_000;
const MODEL_SAMPLE_RATE = 24_000;
/**
 * Where LiveKit begins to push back. It costs no delay while the pace is kept; with less, a stall of
 * the host would make frames pile up in front of the queue, where nobody can measure them.
 */
const QUEUE_SIZE_MS = 200;
/** Frames that wait for LiveKit to take them; more are dropped and counted. */
const MAX_WAITING_FRAMES = 6;

/**
 * The agent's voice in the room: every frame of the model, silence included, on a track of its own.
 *
 * A full-duplex model's breaths and soft onsets are part of its speech, so nothing is gated. What
 * is published is never replayed late: while nobody listens, frames are dropped.
 */
export class AgentVoice {
  readonly #source = new AudioSource(ROOM_SAMPLE_RATE, 1, QUEUE_SIZE_MS);
  readonly #resampler = createResampler({
    inputRate: MODEL_SAMPLE_RATE,
    outputRate: ROOM_SAMPLE_RATE,
  });
  readonly #backlog = new BacklogController(MODEL_SAMPLE_RATE);
  readonly #waiting: Int16Array[] = [];
  readonly #onFailure: (error: unknown) => void;
  #isPumping = false;
  #isClosed = false;
  #isHeard = false;
  #refusedSamples = 0;
  #unheardSamples = 0;

  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Puts the track into the room. */
  async publish(room: Room): Promise<LocalTrackPublication> {
    const participant = room.localParticipant;
    if (participant === undefined) {
      throw new Error('The room is not connected, there is nobody to publish a voice as.');
    }
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    // Telephones wait for packets before they answer, and a breath must not be taken for silence.
    options.dtx = false;
    return participant.publishTrack(
      LocalAudioTrack.createAudioTrack('moshi', this.#source),
      options,
    );
  }

  /**
   * Publishes the track anew: to those who listen, the second without packets that a stall leaves
   * behind looks like a network that delays by a second, and their jitter buffers hold everything
   * back for as long, for ten seconds and more. A new track begins with an empty one.
   */
  async renew(room: Room, sid: string): Promise<LocalTrackPublication> {
    this.clear();
    await room.localParticipant?.unpublishTrack(sid, false);
    return this.publish(room);
  }

  /** While false, what is spoken is dropped, so that nobody hears it late. */
  set isHeard(isHeard: boolean) {
    if (this.#isHeard && !isHeard) {
      this.clear();
    }
    this.#isHeard = isHeard;
  }

  /** Speech between the model and the network, ms. */
  get backlogMs(): number {
    let samples = 0;
    for (const chunk of this.#waiting) {
      samples += chunk.length;
    }
    return this.#source.queuedDuration + (samples * 1_000) / ROOM_SAMPLE_RATE;
  }

  /** Left out so that the delay does not grow, ms. */
  get droppedMs(): number {
    const { droppedSilenceMs, shortenedSpeechMs, droppedOverflowMs } = this.#backlog.counters;
    const refusedMs = (this.#refusedSamples * 1_000) / MODEL_SAMPLE_RATE;
    return droppedSilenceMs + shortenedSpeechMs + droppedOverflowMs + refusedMs;
  }

  /** Left out because nobody was there, ms. */
  get unheardMs(): number {
    return (this.#unheardSamples * 1_000) / MODEL_SAMPLE_RATE;
  }

  /** Speaks samples of 24 kHz mono in [-1, 1]. */
  play(samples: Float32Array): void {
    if (!this.#isHeard || this.#isClosed) {
      this.#unheardSamples += samples.length;
      return;
    }
    const kept = this.#backlog.process(samples, this.backlogMs);
    if (this.#waiting.length >= MAX_WAITING_FRAMES) {
      this.#refusedSamples += kept.length;
      return;
    }
    if (kept.length > 0) {
      this.#waiting.push(toPcm16(this.#resampler.push(kept)));
      void this.#pump();
    }
  }

  /** Drops what was not played yet. */
  clear(): void {
    this.#waiting.length = 0;
    this.#resampler.reset();
    this.#backlog.reset();
    this.#source.clearQueue();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiting.length = 0;
    await this.#source.close();
  }

  /** LiveKit takes one frame at a time: a second call before the first is done fails. */
  async #pump(): Promise<void> {
    if (this.#isPumping) {
      return;
    }
    this.#isPumping = true;
    try {
      for (let chunk = this.#waiting.shift(); chunk !== undefined; chunk = this.#waiting.shift()) {
        await this.#source.captureFrame(new AudioFrame(chunk, ROOM_SAMPLE_RATE, 1, chunk.length));
      }
    } catch (error) {
      if (!this.#isClosed) {
        this.#onFailure(error);
      }
    } finally {
      this.#isPumping = false;
    }
  }
}
