/** `bench transcriber`: what a model that only listens makes of the demo's questions. */
import path from 'node:path';
import {
  openModelDirectory,
  readVocabulary,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { openRunner, type FrameResult } from '../../../plugins/moshi/engine/runner.ts';
import { transcribes, Transcription } from '../../../plugins/moshi/engine/text/transcription.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { requireTranscription } from '../model-abilities.ts';
import { batchSizes, buildGraphs } from '../model-for-command.ts';
import {
  CallerPlans,
  FAMILIARITIES,
  framesToMinutes,
  type Familiarity,
} from './evaluation/caller-plans.ts';
import { readEvaluationAudio } from './evaluation/evaluation-audio.ts';
import type { CallerPlan } from './evaluation/evaluation-caller.ts';
import { playConversations, type ConversationTrace } from './evaluation/evaluation-loop.ts';
import { transcriptErrors, type TranscriptErrors } from './evaluation/transcript-errors.ts';
import { quantile } from './quantile.ts';

export interface BenchTranscriberOptions {
  /** Folder with the evaluation's recordings; null: the repository's own few. */
  audio: string | null;
  /** Questions of each kind. */
  conversations: number;
  /** Length of noise and of distant talk together each. */
  quietMinutes: number;
  /** Conversations at once. */
  rows: number;
  seed: number;
  json: boolean;
}

export interface TranscriberReport {
  model: string;
  clips: number;
  seed: number;
  words: Record<Familiarity, TranscriptErrors>;
  /** Of all questions: ends of turns that were heard about when the question was over or later, and before. */
  turns: {
    questions: number;
    ended: number;
    early: number;
    delayMs: { p50: number | null; p95: number | null };
  };
  /** Words where nobody speaks to it. */
  noise: { minutes: number; words: number };
  distantTalk: { minutes: number; words: number };
}

type Scene = Familiarity | 'noise' | 'distantTalk';

const FRAME_MS = 80;
const SAMPLES_PER_MS = 24;
/** Before the end of a question, so near to it that nothing is cut off: its last sound has begun to fade. */
const EARLY_MS = 160;

export async function benchTranscriber(
  context: CommandContext,
  options: BenchTranscriberOptions,
): Promise<TranscriberReport> {
  const directory = options.audio ?? path.join(REPOSITORY_DIRECTORY, 'models/demo/evaluation');
  const audio = await readEvaluationAudio(directory);
  await requireTranscription(context);
  const built = await buildGraphs(context, ['frame'], batchSizes(options.rows));
  const { manifest, device } = built;
  if (!transcribes(manifest)) {
    throw new CommandError(`the graphs in ${built.directory} are not of a model that transcribes`);
  }
  const plans = new CallerPlans(options.seed);
  const scenes: readonly (readonly [Scene, CallerPlan[]])[] = [
    ['noise', plans.noise(options.quietMinutes)],
    ['distantTalk', plans.distantTalk(options.quietMinutes, audio)],
    ...plans.byFamiliarity(audio, options.conversations),
  ];
  const staged = scenes.flatMap(([scene, callers]) => callers.map((plan) => ({ scene, plan })));
  const vocabulary = await readVocabulary(await openModelDirectory(built.directory));
  const leadMs = manifest.transcription.leadingSilenceSamples / SAMPLES_PER_MS;
  const listeners = staged.map(() => new Listener(new Transcription(manifest, vocabulary), leadMs));
  const runner = await openRunner({
    modelDirectory: built.directory,
    slots: options.rows,
    device,
    ...engineThreads(context.config.engine),
  });
  try {
    const traces = playConversations(
      runner,
      staged.map(({ plan }) => plan),
      options.rows,
      {
        sampling: { textTemperature: 0 },
        keepVoice: false,
        observe: (index, result) => listeners[index]?.push(result),
        onProgress: (finished) => {
          if (finished % 50 === 0) {
            context.remark(`${finished} of ${staged.length} conversations …`);
          }
        },
      },
    );
    const calls = staged.map(({ scene }, index) => ({
      scene,
      trace: traces[index] as ConversationTrace,
      listener: listeners[index] as Listener,
    }));
    const report = summarise(manifest.name, audio.questions.length, options.seed, calls);
    context.print(options.json ? JSON.stringify(report, null, 2) : table(report));
    return report;
  } finally {
    runner.dispose();
  }
}

/** Gathers what is written of one caller, and when his turns are taken for over. */
class Listener {
  readonly words: string[] = [];
  /** Frames by which each end of a turn was heard; it is told when the turn's last words are. */
  readonly turnEnds: number[] = [];
  readonly #transcription: Transcription;
  readonly #leadMs: number;

  /** @param leadMs - Silence that the transcription takes for heard before the call; these have their room's. */
  constructor(transcription: Transcription, leadMs: number) {
    this.#transcription = transcription;
    this.#leadMs = leadMs;
  }

  push({ textToken, pauses }: FrameResult): void {
    for (const event of this.#transcription.push(textToken, pauses)) {
      if (event.type === 'word') {
        this.words.push(event.text);
      } else if (event.type === 'turn_end') {
        // A transcription hears nothing in its first step; this caller is heard from there on.
        this.turnEnds.push((event.atMs + this.#leadMs) / FRAME_MS + 1);
      }
    }
  }
}

type Call = { scene: Scene; trace: ConversationTrace; listener: Listener };

function summarise(
  model: string,
  clips: number,
  seed: number,
  calls: readonly Call[],
): TranscriberReport {
  const of = (scene: Scene): Call[] => calls.filter((call) => call.scene === scene);
  const errorsOf = (familiarity: Familiarity): TranscriptErrors =>
    transcriptErrors(
      of(familiarity).map(({ trace, listener }) => ({
        said: trace.asked.map(({ clip }) => clip.text).join(' '),
        written: listener.words.join(' '),
      })),
    );
  const quiet = (scene: Scene): TranscriberReport['noise'] => ({
    minutes: framesToMinutes(of(scene).reduce((sum, { trace }) => sum + trace.text.length, 0)),
    words: of(scene).reduce((sum, { listener }) => sum + listener.words.length, 0),
  });
  return {
    model,
    clips,
    seed,
    words: {
      seen: errorsOf('seen'),
      unseenVoice: errorsOf('unseenVoice'),
      unseenWording: errorsOf('unseenWording'),
      unseenBoth: errorsOf('unseenBoth'),
    },
    turns: turnFigures(FAMILIARITIES.flatMap(of)),
    noise: quiet('noise'),
    distantTalk: quiet('distantTalk'),
  };
}

function turnFigures(calls: readonly Call[]): TranscriberReport['turns'] {
  const delays = calls.flatMap(({ trace, listener }) =>
    trace.asked.map(({ endSample }) => {
      const endMs = endSample / SAMPLES_PER_MS;
      return listener.turnEnds.map((frames) => frames * FRAME_MS - endMs);
    }),
  );
  const ended = delays.flatMap((ofOne) => ofOne.find((delayMs) => delayMs >= -EARLY_MS) ?? []);
  return {
    questions: delays.length,
    ended: ended.length,
    early: delays.filter((ofOne) => ofOne.some((delayMs) => delayMs < -EARLY_MS)).length,
    delayMs: { p50: quantile(ended, 0.5), p95: quantile(ended, 0.95) },
  };
}

function table({
  model,
  clips,
  seed,
  words,
  turns,
  noise,
  distantTalk,
}: TranscriberReport): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const ms = (value: number | null): string => (value === null ? '–' : `${value.toFixed(0)} ms`);
  const errors = (figures: TranscriptErrors): string =>
    `${percent(figures.rate)} word errors in ${figures.words}; ${figures.right} of ${figures.transcripts} questions without any`;
  const quiet = (figures: TranscriberReport['noise']): string =>
    `${figures.words} words in ${figures.minutes.toFixed(0)} min`;
  const rows: [string, string][] = [
    ['seen voices, wordings', errors(words.seen)],
    ['unseen voices', errors(words.unseenVoice)],
    ['unseen wordings', errors(words.unseenWording)],
    ['unseen both', errors(words.unseenBoth)],
    [
      'ends of turns',
      `${turns.ended} of ${turns.questions}, after p50 ${ms(turns.delayMs.p50)}, p95 ${ms(turns.delayMs.p95)}; ${turns.early} heard too early`,
    ],
    ['noise', quiet(noise)],
    ['distant talk', quiet(distantTalk)],
  ];
  return [
    ...rows.map(([name, value]) => `${name.padEnd(26)}${value}`),
    '',
    `${model}: ${clips} recorded questions, seed ${seed}`,
  ].join('\n');
}
