/** LiveKit's `AudioFrame` (int16, any rate, interleaved) to and from the engine's Float32 mono. */
import { AudioFrame } from '@livekit/rtc-node';
import { toPcm16 } from '../audio/pcm16.ts';
import { WIRE_SAMPLE_RATE } from '../protocol/messages.ts';

const INT16_SCALE = 32_768;

/** Mean of all channels, in [-1, 1], at the frame's own rate. */
export function monoSamples(frame: AudioFrame): Float32Array {
  const { channels, samplesPerChannel, data } = frame;
  const samples = new Float32Array(samplesPerChannel);
  const scale = 1 / (INT16_SCALE * channels);
  for (let index = 0; index < samplesPerChannel; index += 1) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) {
      sum += data[index * channels + channel] ?? 0;
    }
    samples[index] = sum * scale;
  }
  return samples;
}

/** Userdata key under which a frame says that it belongs to an utterance. */
const SPEECH_MARK = 'moshi.isSpeech';

/** A frame of 24 kHz mono, which owns its samples. */
export function speechFrame(samples: Float32Array, isSpeech: boolean): AudioFrame {
  const data = toPcm16(samples);
  return new AudioFrame(data, WIRE_SAMPLE_RATE, 1, data.length, { [SPEECH_MARK]: isSpeech });
}

export function isMarkedAsSpeech(frame: AudioFrame): boolean {
  return frame.userdata[SPEECH_MARK] === true;
}
