/** `infer`: one conversation from a file, no room. */
import { randomInt } from 'node:crypto';
import path from 'node:path';
import { openTokenizer } from '../../../models/tokenizer/tokenizer.ts';
import { chooseConditions } from '../../../plugins/moshi/engine/prompts/condition-choice.ts';
import { openRunner, type FrameResult } from '../../../plugins/moshi/engine/runner.ts';
import { ScriptedSpeech } from '../../../plugins/moshi/engine/prompts/scripted-speech.ts';
import type { SystemPrompt } from '../../../plugins/moshi/engine/prompts/system-prompt.ts';
import {
  openModelDirectory,
  readVocabulary,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { StreamingTextDecoder } from '../../../plugins/moshi/engine/text/text-decoder.ts';
import { FRAME_SAMPLES } from '../../../plugins/moshi/protocol/messages.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { inferSteps, type InferStep } from './infer-steps.ts';
import { requireVoice } from '../model-abilities.ts';
import { buildGraphs, type BuiltModel } from '../model-for-command.ts';
import { Progress } from '../progress.ts';
import { checkWritable, cutFrames, readSpeech, writeJson } from '../wav/speech-file.ts';
import { SystemPrompts } from '../prompts/system-prompts.ts';
import type { VoiceLoudness } from '../prompts/voices.ts';
import { writeWav } from '../wav/wav.ts';

export interface InferOptions {
  /** WAV of what the user says. */
  input: string;
  /** WAV to write what the model says to. */
  output: string;
  /** JSON file to write the tokens to. */
  tokens: string | undefined;
  greedy: boolean;
  seed: number | undefined;
  /** Values by name, for models with conditions. */
  conditions: Readonly<Record<string, string>>;
  /** Name or file of a voice, for models that take one. */
  voice: string | undefined;
  voiceLoudness: VoiceLoudness;
  /** Role in words, for models that take one. */
  prompt: string | undefined;
  /** What the model is made to say, whatever it hears; undefined: what it will. */
  say: string | undefined;
  /** Most seconds that a model which ends a stream gets to do so after the speech. */
  tailSeconds: number;
}

/**
 * One entry per frame that the reference's `LMGen.step` returns while it hears the file: none for the
 * first `max_delay`.
 */
export interface InferTokens {
  frames: number;
  /** [frames] text ids. */
  text: number[];
  /** [frames, D] audio codes. */
  audio: number[][];
  transcript: string;
  /** Of models that end a stream: the same from the end of the speech to theirs. */
  tail?: { text: number[]; audio: number[][] };
}

const FRAMES_PER_SECOND = 12.5;
/** That the sound of a script's last word may take. */
const LAST_WORD_FRAMES = 12;
const GREEDY = { textTemperature: 0, audioTemperature: 0 };

export async function runInfer(context: CommandContext, options: InferOptions): Promise<void> {
  const { config } = context;
  const frames = cutFrames(await readSpeech(options.input), 'drop');
  if (frames.length === 0) {
    throw new CommandError(`${options.input} is shorter than one frame of the model, 80 ms`);
  }
  await checkWritable(options.output);
  if (options.tokens !== undefined) {
    await checkWritable(options.tokens);
  }
  await requireVoice(context);
  const built = await buildGraphs(context, ['frame'], [1]);
  const { directory, device } = built;
  const model = await openModelDirectory(directory);
  const { manifest } = model;
  const { conditions } = options;
  chooseConditions(manifest, { conditions }); // Throws before the model is loaded.
  const prompt = await promptOf(context, built, options);
  const script = await scriptOf(built, options);
  const decoder = new StreamingTextDecoder(await readVocabulary(model));
  const runner = await openRunner({
    modelDirectory: directory,
    device,
    ...engineThreads(config.engine),
  });
  try {
    const seed = options.seed ?? randomInt(2 ** 32);
    const first = runner.start(0, {
      seed,
      conditions,
      ...(options.greedy && { sampling: GREEDY }),
      ...(prompt !== undefined && { prompt }),
      ...(script !== undefined && { script }),
    });
    const tokens: InferTokens = { frames: 0, text: [], audio: [], transcript: '' };
    const voice: Float32Array[] = [];
    const tail = { text: [] as number[], audio: [] as number[][] };
    const tailFrames = Math.ceil(options.tailSeconds * FRAMES_PER_SECOND);
    const steps: InferStep[] = inferSteps(manifest, frames, tailFrames);
    if (script !== undefined) {
      // Whether the file is long enough for the text is known only afterwards.
      steps.push(...silentSteps(script.mostSteps + manifest.maxDelay + LAST_WORD_FRAMES));
    }
    const take = (
      { pcm, frameTokens: [text = 0, ...audio] }: FrameResult,
      isTail: boolean,
    ): void => {
      voice.push(pcm);
      const part = isTail ? tail : tokens;
      part.text.push(text);
      part.audio.push(audio);
      tokens.transcript += decoder.push(text);
    };
    if (first !== null) {
      // NVIDIA's step hears one frame later: it returns the prompt's last frame for the first of the
      // file, and what it makes of the last one never.
      steps.pop();
      take(first, false);
    }
    let hasEnded = false;
    let framesAfterScript = 0;
    const progress = new Progress({
      unit: 'frames',
      total: steps.length,
      stream: process.stderr,
      clock: () => performance.now(),
    });
    for (const [index, { isTail, ...step }] of steps.entries()) {
      const [result] = runner.step([{ row: 0, ...step }]);
      progress.update(index + 1);
      // The first maxDelay steps have no complete column yet, unless a prompt came before.
      if (result === undefined || (first === null && index < manifest.maxDelay)) {
        continue;
      }
      take(result, isTail);
      if (isTail && result.frameTokens[0] === manifest.endOfStreamToken) {
        hasEnded = true;
        break;
      }
      framesAfterScript = script?.isDone === true ? framesAfterScript + 1 : 0;
      if (index >= frames.length && framesAfterScript > manifest.maxDelay + LAST_WORD_FRAMES) {
        break;
      }
    }
    progress.finish();
    if (manifest.endOfStreamToken !== null) {
      tokens.tail = tail;
    }
    tokens.frames = tokens.text.length;
    tokens.transcript = tokens.transcript.trim();
    await writeWav(options.output, {
      sampleRate: manifest.sampleRate,
      samples: concatenate(voice),
    });
    if (options.tokens !== undefined) {
      await writeJson(options.tokens, tokens);
    }
    if (tokens.transcript !== '') {
      context.print(tokens.transcript);
    }
    if (manifest.endOfStreamToken !== null && !hasEnded && tailFrames > 0) {
      context.remark(
        `the model did not end within ${options.tailSeconds} s after the speech (--tail)`,
      );
    }
    if (!options.greedy && options.seed === undefined) {
      context.remark(`sampled with --seed ${seed}`);
    }
  } finally {
    runner.dispose();
  }
}

/** @throws CommandError, ScriptError saying why the text cannot be said. */
async function scriptOf(
  { directory, manifest }: BuiltModel,
  { say }: InferOptions,
): Promise<ScriptedSpeech | undefined> {
  if (say === undefined) {
    return undefined;
  }
  if (manifest.endOfStreamToken !== null) {
    throw new CommandError(
      `the model ${manifest.name} translates what it hears and cannot be told what to say: ` +
        'leave out --say, or choose a Moshi or PersonaPlex',
    );
  }
  const tokenizer = await openTokenizer(path.join(directory, manifest.tokenizerFile));
  return new ScriptedSpeech({ ...manifest, pieces: tokenizer.pieces }, tokenizer.encode(say));
}

function silentSteps(count: number): InferStep[] {
  const silence = new Float32Array(FRAME_SAMPLES);
  return Array.from({ length: count }, () => ({ pcm: silence, isTail: false }));
}

/** Undefined for a model that takes no prompt. */
async function promptOf(
  context: CommandContext,
  built: BuiltModel,
  { voice, voiceLoudness, prompt: text }: InferOptions,
): Promise<SystemPrompt | undefined> {
  const prompts = await SystemPrompts.open(context, built);
  if (prompts !== null) {
    return prompts.makeFromFile({ voice, text }, voiceLoudness);
  }
  if (voice !== undefined || text !== undefined) {
    throw new CommandError(
      `the model ${built.manifest.name} takes neither voice nor prompt: leave out --voice and --prompt, ` +
        'or choose a PersonaPlex',
    );
  }
  return undefined;
}

export function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}
