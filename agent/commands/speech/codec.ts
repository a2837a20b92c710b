/** `codec`: Mimi alone, from a file. */
import { openCodec } from '../../../plugins/moshi/engine/runner.ts';
import type { CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { concatenate } from './infer.ts';
import { buildGraphs } from '../model-for-command.ts';
import { Progress } from '../progress.ts';
import { checkWritable, cutFrames, readSpeech, writeJson } from '../wav/speech-file.ts';
import { writeWav } from '../wav/wav.ts';

export interface CodecOptions {
  /** WAV to encode. */
  input: string;
  /** JSON file to write the codes to. */
  codes: string | undefined;
  /** WAV to write the decoded codes to. */
  output: string | undefined;
}

export interface CodecCodes {
  frames: number;
  /** [frames, K]. */
  codes: number[][];
}

export async function runCodec(context: CommandContext, options: CodecOptions): Promise<void> {
  const { config } = context;
  const speech = await readSpeech(options.input);
  const frames = cutFrames(speech, 'pad');
  for (const file of [options.codes, options.output]) {
    if (file !== undefined) {
      await checkWritable(file);
    }
  }
  const { directory, device, manifest } = await buildGraphs(
    context,
    ['mimi-encode', 'mimi-decode'],
    [1],
  );
  const codec = await openCodec({
    modelDirectory: directory,
    device,
    ...engineThreads(config.engine),
  });
  try {
    const codes: number[][] = [];
    const decoded: Float32Array[] = [];
    const progress = new Progress({
      unit: 'frames',
      total: frames.length,
      stream: process.stderr,
      clock: () => performance.now(),
    });
    for (const [index, frame] of frames.entries()) {
      const frameCodes = codec.encode(frame);
      codes.push(frameCodes);
      if (options.output !== undefined) {
        decoded.push(codec.decode(frameCodes));
      }
      progress.update(index + 1);
    }
    progress.finish();
    if (options.codes !== undefined) {
      await writeJson(options.codes, { frames: codes.length, codes } satisfies CodecCodes);
    }
    if (options.output !== undefined) {
      // As long as the input: the padding of the last frame was never said.
      const samples = concatenate(decoded).slice(0, speech.length);
      await writeWav(options.output, { sampleRate: manifest.sampleRate, samples });
    }
  } finally {
    codec.dispose();
  }
}
