/** Recordings as the model hears them: 24 kHz, in frames of 80 ms. */
import { access, constants, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createResampler } from '../../../plugins/moshi/audio/resampler.ts';
import { CommandError } from '../command-context.ts';
import { readWav } from './wav.ts';

const MODEL_SAMPLE_RATE = 24_000;
const FRAME_SAMPLES = 1_920;

/** Reads any WAV as 24 kHz mono; samples of a 24 kHz file are passed on untouched. */
export async function readSpeech(file: string): Promise<Float32Array> {
  const { sampleRate, samples } = await readWav(file);
  if (sampleRate === MODEL_SAMPLE_RATE) {
    return samples;
  }
  const resampler = createResampler({ inputRate: sampleRate, outputRate: MODEL_SAMPLE_RATE });
  const start = resampler.push(samples);
  const end = resampler.flush();
  const speech = new Float32Array(start.length + end.length);
  speech.set(start);
  speech.set(end, start.length);
  return speech;
}

/**
 * Cuts speech into frames. `drop` leaves out a last part shorter than a frame, as the reference's
 * run_inference does; `pad` completes it with silence, as the reference's Mimi.encode does.
 */
export function cutFrames(speech: Float32Array, rest: 'drop' | 'pad'): Float32Array[] {
  const count =
    rest === 'drop'
      ? Math.floor(speech.length / FRAME_SAMPLES)
      : Math.ceil(speech.length / FRAME_SAMPLES);
  return Array.from({ length: count }, (_, index) => {
    const frame = new Float32Array(FRAME_SAMPLES);
    frame.set(speech.subarray(index * FRAME_SAMPLES, (index + 1) * FRAME_SAMPLES));
    return frame;
  });
}

/** Finds out before the long work whether its result can be written. */
export async function checkWritable(file: string): Promise<void> {
  const directory = path.dirname(path.resolve(file));
  try {
    await access(directory, constants.W_OK);
  } catch (error) {
    throw new CommandError(
      `${file} cannot be written: the folder ${directory} does not exist or is not writable`,
      { cause: error },
    );
  }
  const found = await stat(file).catch(() => null);
  if (found?.isDirectory() === true) {
    throw new CommandError(`${file} cannot be written: it is a folder, name a file in it`);
  }
}

export async function writeJson(file: string, value: unknown): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(value)}\n`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError(`Cannot write ${file}: ${reason}`, { cause: error });
  }
}
