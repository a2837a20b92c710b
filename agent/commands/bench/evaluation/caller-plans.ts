/** Who calls in an evaluation: plans of callers that have most things in common. */
import type { EvaluationAudio, QuestionClip } from './evaluation-audio.ts';
import type { CallerPlan } from './evaluation-caller.ts';

const FRAMES_PER_SECOND = 12.5;
/** Root mean square, dB of full scale: of a caller's room, and of noise that is all there is. */
const NOISE_DB = [-66, -52] as const;
const LOUD_NOISE_DB = [-60, -32] as const;
/** Of a stretch without callers. */
const QUIET_CALLS = 12;

/** Of the recordings, those in voices and wordings that were trained on, or were not. */
export const FAMILIARITIES = ['seen', 'unseenVoice', 'unseenWording', 'unseenBoth'] as const;
export type Familiarity = (typeof FAMILIARITIES)[number];

export function questionsOf(
  { questions }: EvaluationAudio,
  familiarity: Familiarity,
): QuestionClip[] {
  const voice = familiarity === 'seen' || familiarity === 'unseenWording';
  const wording = familiarity === 'seen' || familiarity === 'unseenVoice';
  return questions.filter(
    ({ seenVoice, seenWording }) => seenVoice === voice && seenWording === wording,
  );
}

export function minutesToFrames(minutes: number): number {
  return Math.ceil(minutes * 60 * FRAMES_PER_SECOND);
}

export function framesToMinutes(frames: number): number {
  return frames / FRAMES_PER_SECOND / 60;
}

/** Plans callers with seeds of their own. */
export class CallerPlans {
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  plan(change: Partial<CallerPlan>): CallerPlan {
    this.#seed += 1;
    return {
      seed: this.#seed,
      questions: [],
      interrupts: false,
      noiseDb: NOISE_DB,
      knocks: false,
      talk: [],
      frames: null,
      ...change,
    };
  }

  /** `count` callers with one question each; every fourth one's table is knocked at. */
  each(clips: readonly QuestionClip[], count: number, interrupts = false): CallerPlan[] {
    return Array.from({ length: clips.length === 0 ? 0 : count }, (_, index) => {
      const clip = clips[index % clips.length] as QuestionClip;
      return this.plan({ questions: [clip], interrupts, knocks: index % 4 === 3 });
    });
  }

  /** Callers with a question, `count` for each familiarity. */
  byFamiliarity(audio: EvaluationAudio, count: number): [Familiarity, CallerPlan[]][] {
    return FAMILIARITIES.map((familiarity) => [
      familiarity,
      this.each(questionsOf(audio, familiarity), count),
    ]);
  }

  /** Noise and knocks, so long in all. */
  noise(minutes: number): CallerPlan[] {
    return this.#quiet(minutes, { noiseDb: LOUD_NOISE_DB, knocks: true });
  }

  /** Other people's talk at a distance. */
  distantTalk(minutes: number, { distant }: EvaluationAudio): CallerPlan[] {
    return this.#quiet(minutes, { talk: distant });
  }

  #quiet(minutes: number, change: Partial<CallerPlan>): CallerPlan[] {
    const frames = minutesToFrames(minutes / QUIET_CALLS);
    return Array.from({ length: QUIET_CALLS }, () => this.plan({ frames, ...change }));
  }
}
