/** `transcribe`: the words of a file, with their times. */
import { EndOfTurn, TURN_HORIZON_SECONDS } from '../../../plugins/moshi/engine/text/end-of-turn.ts';
import {
  openModelDirectory,
  readVocabulary,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { openRunner } from '../../../plugins/moshi/engine/runner.ts';
import { TimedWords, type WordEvent } from '../../../plugins/moshi/engine/text/timed-words.ts';
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

const FRAME_MS = 80;

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
  const { transcription } = manifest;
  if (transcription === null) {
    throw new CommandError(`the graphs in ${directory} are not of a model that transcribes`);
  }
  const leadingSilenceMs = (1_000 * transcription.leadingSilenceSamples) / manifest.sampleRate;
  const words = new TimedWords({
    vocabulary: await readVocabulary(model),
    paddingToken: manifest.paddingToken,
    endOfPaddingToken: manifest.endOfPaddingToken,
    delayFrames: transcription.delayFrames,
    leadingSilenceMs,
  });
  const turn = new EndOfTurn(transcription.delayFrames);
  const turnHead = manifest.pauses?.horizonsSeconds?.indexOf(TURN_HORIZON_SECONDS) ?? -1;
  const heard = new HeardFrames(transcription, manifest.frameSamples, speech);
  const runner = await openRunner({
    modelDirectory: directory,
    device,
    ...engineThreads(config.engine),
  });
  try {
    runner.start(0);
    const transcript: Transcript = { tokens: [], vad: [], words: [], pauses: [] };
    const page = new Page((text) => process.stdout.write(text));
    const note = (events: WordEvent[]): void => {
      page.write(events);
      addWords(transcript.words, events);
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
      if (result === undefined || token === undefined || index < manifest.maxDelay) {
        continue;
      }
      transcript.tokens.push(token);
      if (result.pauses !== null) {
        transcript.vad.push(result.pauses);
      }
      const events = words.push(token);
      note(events);
      const pause = result.pauses?.[turnHead];
      const hasWord = events.some(({ type }) => type === 'word');
      if (pause !== undefined && turn.push(pause, hasWord)) {
        const startMs = Math.max(0, index * FRAME_MS - leadingSilenceMs);
        transcript.pauses.push({ startMs });
      }
    }
    note(words.finish((1_000 * speech.length) / manifest.sampleRate));
    progress?.finish();
    page.end();
    if (options.json !== undefined) {
      await writeJson(options.json, transcript);
    }
  } finally {
    runner.dispose();
  }
}

function addWords(words: TimedWord[], events: readonly WordEvent[]): void {
  for (const event of events) {
    if (event.type === 'word') {
      words.push({ text: event.text, startMs: event.startMs, endMs: Number.NaN });
      continue;
    }
    for (let last = words.length - 1; Number.isNaN(words[last]?.endMs); last -= 1) {
      words[last] = { ...(words[last] as TimedWord), endMs: event.endMs };
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

  write(events: readonly WordEvent[]): void {
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
