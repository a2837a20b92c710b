/** `bench demo`: conversations with the demo model in a closed loop, through the engine's own runner. */
import path from 'node:path';
import { openRunner, type Runner } from '../../../plugins/moshi/engine/runner.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import type { CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import {
  CallerPlans,
  framesToMinutes,
  minutesToFrames,
  questionsOf,
} from './evaluation/caller-plans.ts';
import { readEvaluationAudio, type EvaluationAudio } from './evaluation/evaluation-audio.ts';
import type { CallerPlan } from './evaluation/evaluation-caller.ts';
import { playConversations, type ConversationTrace } from './evaluation/evaluation-loop.ts';
import {
  answersOf,
  utterancesOf,
  type AnsweredQuestion,
} from './evaluation/evaluation-measures.ts';
import { batchSizes, buildGraphs } from '../model-for-command.ts';
import { requireVoice } from '../model-abilities.ts';
import { quantile } from './quantile.ts';
import { countWordErrors, type WordErrors } from './evaluation/word-errors.ts';

export interface BenchDemoOptions {
  /** Folder with the evaluation's recordings; null: the repository's own few. */
  audio: string | null;
  /** Conversations of each kind. */
  conversations: number;
  /** Length of the long conversation, and of noise and distant talk together each. */
  longMinutes: number;
  quietMinutes: number;
  /** Conversations at once. */
  rows: number;
  greedy: boolean;
  seed: number;
  /** Python with faster-whisper; null: the voice is not transcribed. */
  whisper: string | null;
  json: boolean;
}

export interface AnswerFigures {
  questions: number;
  right: number;
  rightShare: number;
  greeted: number;
  unanswered: number;
  spokeOver: number;
  delayMs: { p50: number | null; p95: number | null };
}

export interface DemoReport {
  model: string;
  clips: number;
  rows: number;
  greedy: boolean;
  seed: number;
  answers: {
    seen: AnswerFigures;
    unseenVoice: AnswerFigures;
    unseenWording: AnswerFigures;
    unseenBoth: AnswerFigures;
    interrupting: AnswerFigures;
    /** Recordings of people, whose right answer is the fallback. */
    human: AnswerFigures;
  };
  /** Of questions that fell into the model's words. */
  stop: { interruptions: number; within400Ms: number; p50Ms: number | null; p95Ms: number | null };
  noise: QuietFigures;
  distantTalk: QuietFigures;
  long: { minutes: number; questions: number; rightByThird: (number | null)[] };
  frameMs: { min: number; p50: number; p95: number; threads: number };
  /** Resident bytes of the model and its runtime, with room for all rows. */
  memoryBytes: number;
  wordErrors: WordErrors | null;
}

export interface QuietFigures {
  minutes: number;
  greeted: number;
  conversations: number;
  falseStarts: number;
  said: string[];
}

const STOP_GOAL_MS = 400;
const TIMED_FRAMES = 200;
const WARM_UP_FRAMES = 20;
const GREEDY = { textTemperature: 0, audioTemperature: 0 };

type Scene = keyof DemoReport['answers'] | 'noise' | 'distantTalk' | 'long';
type StagedPlan = CallerPlan & { scene: Scene };

export async function benchDemo(
  context: CommandContext,
  options: BenchDemoOptions,
): Promise<DemoReport> {
  const directory = options.audio ?? path.join(REPOSITORY_DIRECTORY, 'models/demo/evaluation');
  const audio = await readEvaluationAudio(directory);
  await requireVoice(context);
  const built = await buildGraphs(context, ['frame'], batchSizes(options.rows));
  const { directory: modelDirectory, device, manifest } = built;
  const { config } = context;
  const threads = engineThreads(config.engine);
  const before = process.memoryUsage.rss();
  const runner = await openRunner({ modelDirectory, slots: options.rows, device, ...threads });
  try {
    const frameMs = { ...timeFrames(runner), threads: threads.threads };
    const memoryBytes = process.memoryUsage.rss() - before;
    const plans = stage(audio, options);
    const sampling = options.greedy ? GREEDY : {};
    const traces = playConversations(runner, plans, options.rows, {
      sampling,
      keepVoice: options.whisper !== null,
      onProgress: (finished) => {
        if (finished % 50 === 0) {
          context.remark(`${finished} of ${plans.length} conversations …`);
        }
      },
    });
    const of = (scene: Scene): ConversationTrace[] =>
      traces.filter((_, index) => plans[index]?.scene === scene);
    const interrupting = of('interrupting').flatMap((trace) => answersOf(trace, audio));
    const report: DemoReport = {
      model: manifest.name,
      clips: audio.questions.length,
      rows: options.rows,
      greedy: options.greedy,
      seed: options.seed,
      answers: {
        seen: answerFigures(of('seen'), audio),
        unseenVoice: answerFigures(of('unseenVoice'), audio),
        unseenWording: answerFigures(of('unseenWording'), audio),
        unseenBoth: answerFigures(of('unseenBoth'), audio),
        interrupting: answerFigures(of('interrupting'), audio),
        human: answerFigures(of('human'), audio),
      },
      stop: stopFigures(interrupting),
      noise: quietFigures(of('noise'), audio),
      distantTalk: quietFigures(of('distantTalk'), audio),
      long: longFigures(of('long'), audio, options.longMinutes),
      frameMs,
      memoryBytes,
      wordErrors:
        options.whisper === null
          ? null
          : await countWordErrors(options.whisper, spokenAnswers(traces, audio)),
    };
    context.print(options.json ? JSON.stringify(report, null, 2) : table(report));
    return report;
  } finally {
    runner.dispose();
  }
}

/** All conversations, the longest first. */
function stage(audio: EvaluationAudio, options: BenchDemoOptions): StagedPlan[] {
  const plans = new CallerPlans(options.seed);
  const { conversations, quietMinutes } = options;
  const longFrames = minutesToFrames(options.longMinutes);
  const seen = questionsOf(audio, 'seen');
  // A question takes two seconds at least.
  const many = Array.from({ length: Math.ceil(longFrames / 25) }, (_, index) => index);
  const known = many.flatMap((index) => seen[index % seen.length] ?? []);
  const unseenVoice = questionsOf(audio, 'unseenVoice');
  // The order decides the seeds.
  const staged: (readonly [Scene, CallerPlan[]])[] = [
    ['long', [plans.plan({ questions: known, frames: longFrames })]],
    ['noise', plans.noise(quietMinutes)],
    ['distantTalk', plans.distantTalk(quietMinutes, audio)],
    ...plans.byFamiliarity(audio, conversations),
    ['interrupting', plans.each(unseenVoice, conversations, true)],
    ['human', plans.each(audio.human, conversations)],
  ];
  return staged.flatMap(([scene, callers]) => callers.map((plan) => ({ ...plan, scene })));
}

function answerFigures(traces: ConversationTrace[], audio: EvaluationAudio): AnswerFigures {
  const answers = traces.flatMap((trace) => answersOf(trace, audio));
  const delays = answers.flatMap(({ delayMs }) => (delayMs === null ? [] : [delayMs]));
  const right = answers.filter(({ isRight }) => isRight).length;
  return {
    questions: answers.length,
    right,
    rightShare: right / answers.length,
    greeted: traces.filter((trace) => greets(trace, audio)).length,
    unanswered: answers.length - delays.length,
    spokeOver: answers.filter(({ spokeOver }) => spokeOver).length,
    delayMs: { p50: quantile(delays, 0.5), p95: quantile(delays, 0.95) },
  };
}

function greets(trace: ConversationTrace, audio: EvaluationAudio): boolean {
  return utterancesOf(trace, audio.lines)[0]?.line === audio.greeting;
}

function stopFigures(answers: AnsweredQuestion[]): DemoReport['stop'] {
  const stops = answers.flatMap(({ stoppedMs }) => (stoppedMs === null ? [] : [stoppedMs]));
  return {
    interruptions: stops.length,
    within400Ms: stops.filter((ms) => ms <= STOP_GOAL_MS).length,
    p50Ms: quantile(stops, 0.5),
    p95Ms: quantile(stops, 0.95),
  };
}

function quietFigures(traces: ConversationTrace[], audio: EvaluationAudio): QuietFigures {
  const said = traces.flatMap((trace) =>
    utterancesOf(trace, audio.lines)
      .filter(({ line }) => line === null || !audio.unprompted.includes(line))
      .map((utterance) => utterance.said),
  );
  const frames = traces.reduce((sum, { level }) => sum + level.length, 0);
  return {
    minutes: framesToMinutes(frames),
    greeted: traces.filter((trace) => greets(trace, audio)).length,
    conversations: traces.length,
    falseStarts: said.length,
    said,
  };
}

function longFigures(
  traces: ConversationTrace[],
  audio: EvaluationAudio,
  minutes: number,
): DemoReport['long'] {
  // The last question may have been cut short.
  const answers = traces.flatMap((trace) => answersOf(trace, audio).slice(0, -1));
  const thirds = [0, 1, 2].map((third) =>
    answers.slice(
      Math.floor((third * answers.length) / 3),
      Math.floor(((third + 1) * answers.length) / 3),
    ),
  );
  return {
    minutes,
    questions: answers.length,
    rightByThird: thirds.map((part) =>
      part.length === 0 ? null : part.filter(({ isRight }) => isRight).length / part.length,
    ),
  };
}

/** One conversation alone, in silence. */
function timeFrames(runner: Runner): { min: number; p50: number; p95: number } {
  runner.start(0, { seed: 0 });
  const pcm = new Float32Array(runner.manifest.frameSamples);
  const times: number[] = [];
  for (let frame = 0; frame < WARM_UP_FRAMES + TIMED_FRAMES; frame += 1) {
    const startMs = performance.now();
    runner.step([{ row: 0, pcm }]);
    times.push(performance.now() - startMs);
  }
  const timed = times.slice(WARM_UP_FRAMES);
  const at = (share: number): number => quantile(timed, share) ?? Number.NaN;
  return { min: at(0), p50: at(0.5), p95: at(0.95) };
}

/** What was said after questions, with its sound, where it is one of the lines. */
function spokenAnswers(
  traces: ConversationTrace[],
  audio: EvaluationAudio,
): { said: string; voice: Float32Array[] }[] {
  return traces.flatMap((trace) =>
    answersOf(trace, audio)
      .filter(({ line }) => line !== null)
      .map(({ said, firstFrame, endFrame }) => ({
        said,
        voice: trace.voice.slice(firstFrame, endFrame),
      })),
  );
}

function table(report: DemoReport): string {
  const { answers, stop, noise, distantTalk, long, frameMs, wordErrors } = report;
  const percent = (share: number | null): string =>
    share === null || Number.isNaN(share) ? '–' : `${(100 * share).toFixed(0)} %`;
  const ms = (value: number | null): string => (value === null ? '–' : `${value.toFixed(0)} ms`);
  const answer = (figures: AnswerFigures): string =>
    `${percent(figures.rightShare)} of ${figures.questions}, after p50 ${ms(figures.delayMs.p50)}, p95 ${ms(figures.delayMs.p95)}` +
    `; ${figures.unanswered} unanswered, spoke over ${figures.spokeOver}`;
  const quiet = (figures: QuietFigures): string =>
    `${figures.falseStarts} false starts in ${figures.minutes.toFixed(0)} min; greeted ${figures.greeted}/${figures.conversations}`;
  const rows: [string, string][] = [
    ['seen voices, wordings', answer(answers.seen)],
    ['unseen voices', answer(answers.unseenVoice)],
    ['unseen wordings', answer(answers.unseenWording)],
    ['unseen both', answer(answers.unseenBoth)],
    ['interrupting', answer(answers.interrupting)],
    ['people, unanswerable', answer(answers.human)],
    [
      'silent after onset',
      `p50 ${ms(stop.p50Ms)}, p95 ${ms(stop.p95Ms)}, ${stop.within400Ms} of ${stop.interruptions} within 400 ms`,
    ],
    ['noise', quiet(noise)],
    ['distant talk', quiet(distantTalk)],
    [
      'long conversation',
      `${long.minutes} min, ${long.questions} questions; right by thirds ${long.rightByThird.map(percent).join(', ')}`,
    ],
    [
      'frame, one conversation',
      `min ${frameMs.min.toFixed(1)}, p50 ${frameMs.p50.toFixed(1)}, p95 ${frameMs.p95.toFixed(1)} ms, ${frameMs.threads} threads`,
    ],
    [
      'memory',
      `${(report.memoryBytes / 1e6).toFixed(0)} MB, room for ${report.rows} conversations`,
    ],
    ...(wordErrors === null
      ? []
      : [
          [
            'word errors of its voice',
            `${(100 * wordErrors.rate).toFixed(1)} % of ${wordErrors.words}, by Whisper tiny.en`,
          ] as [string, string],
        ]),
  ];
  return [
    ...rows.map(([name, value]) => `${name.padEnd(26)}${value}`),
    '',
    `${report.model}: ${report.clips} recorded questions, ${report.greedy ? 'greedy' : "the model's own sampling"}, seed ${report.seed}`,
  ].join('\n');
}
