/** `transcribe`: the words of a file, with their times. */
import {
  openModelDirectory,
  readVocabulary,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { openRunner } from '../../../plugins/moshi/engine/runner.ts';
import {
  transcribes,
  Transcription,
  type TranscriptionEvent,
} from '../../../plugins/moshi/engine/text/transcription.ts';
import { FRAME_SAMPLES } from '../../../plugins/moshi/protocol/messages.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { HeardFrames } from './heard-frames.ts';
import { requireTranscription } from '../model-abilities.ts';
import { buildGraphs } from '../model-for-command.ts';
import { Progress } from '../progress.ts';
import { checkWritable, readSpeech, writeJson } from '../wav/speech-file.ts';

export interface TranscribeOptions {
  /** WAV of what is said. */
  input: string;
  /** JSON file to write the transcript to. */
  json: string | undefined;
}

export interface TimedWord {
  text: string;
  startMs: number;
  endMs: number;
}

export interface Transcript {
  /** Text ids, one per step: the first step hears nothing, the others a frame of 80 ms each. */
  tokens: number[];
  /** [steps][heads] probabilities that the speaker has paused; empty from models without such heads. */
  vad: number[][];
  words: TimedWord[];
  /** When the model was sure that the speaker had finished; none from models that cannot tell. */
  pauses: { startMs: number }[];
}

export async function runTranscribe(
  context: CommandContext,
  options: TranscribeOptions,
): Promise<void> {
  const { config } = context;
  const speech = await readSpeech(options.input);
  if (speech.length < FRAME_SAMPLES) {
    throw new CommandError(`${options.input} is shorter than one frame of the model, 80 ms`);
  }
  if (options.json !== undefined) {
    await checkWritable(options.json);
  }
  await requireTranscription(context);
  const { directory, device } = await buildGraphs(context, ['frame'], [1]);
  const model = await openModelDirectory(directory);
  const { manifest } = model;
  if (!transcribes(manifest)) {
    throw new CommandError(`the graphs in ${directory} are not of a model that transcribes`);
  }
  const transcription = new Transcription(manifest, await readVocabulary(model));
  const heard = new HeardFrames(manifest.transcription, manifest.frameSamples, speech);
  const runner = await openRunner({
    modelDirectory: directory,
    device,
    ...engineThreads(config.engine),
  });
  try {
    runner.start(0);
    const transcript: Transcript = { tokens: [], vad: [], words: [], pauses: [] };
    const page = new Page((text) => process.stdout.write(text));
    const note = (events: TranscriptionEvent[]): void => {
      page.write(events);
      addEvents(transcript, events);
    };
    // Words that appear on the terminal show how far the work has come.
    const progress = process.stdout.isTTY
      ? null
      : new Progress({
          unit: 'frames',
          total: heard.length,
          stream: process.stderr,
          clock: () => performance.now(),
        });
    for (let index = 0; index < heard.length; index += 1) {
      const [result] = runner.step([{ row: 0, pcm: heard.frame(index) }]);
      progress?.update(index);
      const [token] = result?.frameTokens ?? [];
      if (result === undefined || token === undefined) {
        continue;
      }
      note(transcription.push(token, result.pauses));
      if (index < manifest.maxDelay) {
        continue;
      }
      transcript.tokens.push(token);
      if (result.pauses !== null) {
        transcript.vad.push(result.pauses);
      }
    }
    note(transcription.finish((1_000 * speech.length) / manifest.sampleRate));
    progress?.finish();
    page.end();
    if (options.json !== undefined) {
      await writeJson(options.json, transcript);
    }
  } finally {
    runner.dispose();
  }
}

function addEvents({ words, pauses }: Transcript, events: readonly TranscriptionEvent[]): void {
  for (const event of events) {
    switch (event.type) {
      case 'word':
        words.push({ text: event.text, startMs: event.startMs, endMs: Number.NaN });
        break;
      case 'end':
        for (let last = words.length - 1; Number.isNaN(words[last]?.endMs); last -= 1) {
          words[last] = { ...(words[last] as TimedWord), endMs: event.endMs };
        }
        break;
      case 'turn_end':
        pauses.push({ startMs: event.atMs });
    }
  }
}

/** Words on one line, each as soon as it is known. */
class Page {
  readonly #write: (text: string) => void;
  #isEmpty = true;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  write(events: readonly TranscriptionEvent[]): void {
    for (const event of events) {
      if (event.type === 'word') {
        this.#write(this.#isEmpty ? event.text : ` ${event.text}`);
        this.#isEmpty = false;
      }
    }
  }

  end(): void {
    if (!this.#isEmpty) {
      this.#write('\n');
    }
  }
}
