import { AudioStream } from '@livekit/rtc-node';
import type { AudioFrame, RemoteTrack } from '@livekit/rtc-node';
import { createResampler, fromPcm16 } from '../../plugins/moshi/index.ts';

/** What a room carries, Hz. */
const ROOM_SAMPLE_RATE = 48_000;
/** What the model hears, Hz. */
const MODEL_SAMPLE_RATE = 24_000;
/** Shorter costs more events, longer adds its length to the delay. */
const CHUNK_MS = 10;
/** A gap that no network makes, since LiveKit fills those: this process stood still, ms. */
const STALL_MS = 400;
/** Time after a stall in which all that waited meanwhile is handed over, and dropped, ms. */
const STALE_MS = 100;

export type EarListener = {
  /** 24 kHz mono in [-1, 1]. */
  onSamples: (samples: Float32Array) => void;
  /** Nothing came for so long, ms, and what comes now is old. */
  onStall: (gapMs: number) => void;
};

const RATES = { inputRate: ROOM_SAMPLE_RATE, outputRate: MODEL_SAMPLE_RATE };

/** Designs the filter of all ears, so that the first of a call is there at once. */
export function prepareEars(): void {
  createResampler(RATES);
}

/**
 * Listens to one person's track: 48 kHz from the room, 24 kHz mono to the listener, at the pace of
 * the room.
 *
 * LiveKit queues without bound for a reader that falls behind, so the loop does nothing but
 * convert and hand over. What piles up while this process stands still is dropped: handed over, it
 * would make the model answer late for as long as the stall was.
 */
export class ParticipantEar {
  readonly #reader: ReadableStreamDefaultReader<AudioFrame>;
  readonly #resampler = createResampler(RATES);
  readonly #listener: EarListener;

  constructor(track: RemoteTrack, listener: EarListener) {
    this.#listener = listener;
    const stream = new AudioStream(track, {
      sampleRate: ROOM_SAMPLE_RATE,
      numChannels: 1,
      frameSizeMs: CHUNK_MS,
    });
    this.#reader = stream.getReader();
    void this.#listen();
  }

  /** Stops listening. The track's end does so by itself. */
  async close(): Promise<void> {
    await this.#reader.cancel();
  }

  async #listen(): Promise<void> {
    let lastMs = Infinity;
    let staleUntilMs = 0;
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) {
        return;
      }
      const nowMs = performance.now();
      if (nowMs - lastMs > STALL_MS) {
        this.#resampler.reset();
        staleUntilMs = nowMs + STALE_MS;
        this.#listener.onStall(nowMs - lastMs);
      }
      lastMs = nowMs;
      if (nowMs >= staleUntilMs) {
        this.#listener.onSamples(this.#resampler.push(fromPcm16(value.data)));
      }
    }
  }
}
