import { AudioStream } from '@livekit/rtc-node';
import type { AudioFrame, RemoteTrack } from '@livekit/rtc-node';
import { createResampler } from '../../plugins/moshi/index.ts';

/** What a room carries, Hz. */
const ROOM_SAMPLE_RATE = 48_000;
/** What the model hears, Hz. */
const MODEL_SAMPLE_RATE = 24_000;
/** Shorter costs more events, longer adds its length to the delay. */
const CHUNK_MS = 10;
const PCM16_SCALE = 1 / 32_768;

/**
 * Listens to one person's track: 48 kHz from the room, 24 kHz mono in [-1, 1] to `onSamples`, at the
 * pace of the room.
 *
 * LiveKit queues without bound for a reader that falls behind, so the loop does nothing but
 * convert and hand over.
 */
export class ParticipantEar {
  readonly #reader: ReadableStreamDefaultReader<AudioFrame>;
  readonly #resampler = createResampler({
    inputRate: ROOM_SAMPLE_RATE,
    outputRate: MODEL_SAMPLE_RATE,
  });
  readonly #onSamples: (samples: Float32Array) => void;

  constructor(track: RemoteTrack, onSamples: (samples: Float32Array) => void) {
    this.#onSamples = onSamples;
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
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) {
        return;
      }
      this.#onSamples(this.#resampler.push(toFloats(value.data)));
    }
  }
}

function toFloats(pcm: Int16Array): Float32Array {
  const samples = new Float32Array(pcm.length);
  for (let index = 0; index < pcm.length; index += 1) {
    samples[index] = (pcm[index] ?? 0) * PCM16_SCALE;
  }
  return samples;
}
