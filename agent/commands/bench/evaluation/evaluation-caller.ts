/**
 * A caller who asks recorded questions of a model in a closed loop: waits until it has finished, or
 * falls into its words, and leaves when he has his answer. His microphone hears the room as well.
 */
import { RandomGenerator } from '../../../../plugins/moshi/engine/random.ts';
import type { DistantClip, QuestionClip } from './evaluation-audio.ts';

/** Root mean square of a frame in which a model speaks. */
export const SPEECH_LEVEL = 0.01;
const FRAME_SAMPLES = 1_920;
/** Frames for which a caller waits for an answer that does not come: 6.4 s. */
const PATIENCE_FRAMES = 80;
/** Silence after which a caller takes a line for finished. */
const FINISHED_FRAMES = 16;
/** Peaks of a caller's speech, of people at a distance, of knocks; dB of full scale. */
const CALLER_DB = [-14, -3] as const;
const DISTANT_DB = [-36, -28] as const;
const KNOCK_DB = [-30, -12] as const;

export interface CallerPlan {
  seed: number;
  /** Asked one after the other; none: the caller is away from the microphone. */
  questions: readonly QuestionClip[];
  /** Whether the questions are asked while the model speaks. */
  interrupts: boolean;
  /** Root mean square of the room's noise, dB of full scale, drawn between the two. */
  noiseDb: readonly [number, number];
  /** Whether doors and tables are knocked at every few seconds. */
  knocks: boolean;
  /** Other people's talk, one after the other. */
  talk: readonly DistantClip[];
  /** Frames after which the caller leaves, whatever has been said; null: when all is answered. */
  frames: number | null;
}

export interface AskedQuestion {
  clip: QuestionClip;
  /** Samples since the begin of the conversation at which the speech begins and ends. */
  onsetSample: number;
  endSample: number;
}

type Sounding = { samples: Float32Array; start: number; gain: number };

export class EvaluationCaller {
  readonly asked: AskedQuestion[] = [];
  readonly #plan: CallerPlan;
  readonly #random: RandomGenerator;
  readonly #noiseGain: number;
  readonly #colour: number;
  readonly #gainDb: number;
  #noise = 0;
  #sounding: Sounding[] = [];
  #frame = 0;
  /** Frames of the model since the last question, or since the begin. */
  #modelSpoke = 0;
  #modelSilent = 0;
  #waited = 0;
  #pause: number;
  #nextTalk = 60;
  #nextKnock = 70;

  constructor(plan: CallerPlan) {
    this.#plan = plan;
    this.#random = new RandomGenerator(plan.seed);
    this.#colour = this.#between(0.1, 1);
    // A one-pole filter passes this share of white noise's power.
    const power = this.#colour / (2 - this.#colour) / 3;
    this.#noiseGain = decibels(this.#between(...plan.noiseDb)) / Math.sqrt(power);
    this.#gainDb = this.#between(...CALLER_DB);
    this.#pause = this.#drawPause();
  }

  /** Whether the caller has left. */
  get hasLeft(): boolean {
    const { frames, questions } = this.#plan;
    if (frames !== null) {
      return this.#frame >= frames;
    }
    const isAnswered = this.#modelSpoke > 0 && this.#modelSilent >= FINISHED_FRAMES;
    return (
      this.asked.length === questions.length &&
      !this.#isSpeaking() &&
      (isAnswered || this.#waited >= PATIENCE_FRAMES)
    );
  }

  /** What the microphone hears next, [1920] at 24 kHz. */
  listen(): Float32Array {
    this.#askNext();
    this.#makeSounds();
    const pcm = new Float32Array(FRAME_SAMPLES);
    for (let index = 0; index < FRAME_SAMPLES; index += 1) {
      this.#noise += this.#colour * (this.#between(-1, 1) - this.#noise);
      pcm[index] = this.#noiseGain * this.#noise;
    }
    const first = this.#frame * FRAME_SAMPLES;
    for (const { samples, start, gain } of this.#sounding) {
      const from = Math.max(first, start);
      const to = Math.min(first + FRAME_SAMPLES, start + samples.length);
      for (let at = from; at < to; at += 1) {
        pcm[at - first] = (pcm[at - first] ?? 0) + gain * (samples[at - start] ?? 0);
      }
    }
    this.#frame += 1;
    this.#sounding = this.#sounding.filter(
      ({ samples, start }) => start + samples.length > this.#frame * FRAME_SAMPLES,
    );
    return pcm.map((sample) => Math.max(-1, Math.min(1, sample)));
  }

  /** Takes the model's answer to the frame heard last. @param level - Root mean square. */
  hear(level: number): void {
    if (this.#isSpeaking()) {
      return;
    }
    this.#waited += 1;
    if (level > SPEECH_LEVEL) {
      this.#modelSpoke += 1;
      this.#modelSilent = 0;
    } else {
      this.#modelSilent += 1;
    }
  }

  #askNext(): void {
    const clip = this.#plan.questions[this.asked.length];
    if (clip === undefined || this.#isSpeaking() || !this.#isTime()) {
      return;
    }
    const onsetSample =
      this.#frame * FRAME_SAMPLES + Math.floor(this.#between(0, FRAME_SAMPLES - 1));
    const gain = decibels(this.#gainDb + this.#between(-2, 2));
    this.#sounding.push({ samples: clip.samples, start: onsetSample, gain });
    this.asked.push({ clip, onsetSample, endSample: onsetSample + clip.speechSamples });
    this.#modelSpoke = 0;
    this.#modelSilent = 0;
    this.#waited = 0;
    this.#pause = this.#drawPause();
  }

  #isTime(): boolean {
    if (this.#waited >= PATIENCE_FRAMES) {
      return true;
    }
    return this.#plan.interrupts
      ? this.#modelSpoke >= this.#pause
      : this.#modelSpoke > 0 && this.#modelSilent >= this.#pause;
  }

  #isSpeaking(): boolean {
    const last = this.asked.at(-1);
    return last !== undefined && last.endSample > this.#frame * FRAME_SAMPLES;
  }

  #makeSounds(): void {
    const { talk, knocks } = this.#plan;
    if (talk.length > 0 && this.#frame >= this.#nextTalk) {
      const clip = talk[Math.floor(this.#between(0, talk.length))];
      if (clip !== undefined) {
        const gain = decibels(this.#between(...DISTANT_DB));
        this.#sounding.push({ samples: clip.samples, start: this.#frame * FRAME_SAMPLES, gain });
        const frames = clip.samples.length / FRAME_SAMPLES;
        this.#nextTalk = this.#frame + Math.ceil(frames + this.#between(4, 40));
      }
    }
    if (knocks && this.#frame >= this.#nextKnock) {
      const gain = decibels(this.#between(...KNOCK_DB));
      const samples = Float32Array.from({ length: this.#between(700, 6_000) }, (_, at) => {
        return this.#between(-1, 1) * Math.exp(-at / 900);
      });
      this.#sounding.push({ samples, start: this.#frame * FRAME_SAMPLES, gain });
      this.#nextKnock = this.#frame + Math.ceil(this.#between(20, 80));
    }
  }

  /** Frames: of silence after a line, or into a line that is interrupted. */
  #drawPause(): number {
    return this.#plan.interrupts
      ? Math.floor(this.#between(10, 26))
      : FINISHED_FRAMES + Math.floor(this.#between(0, 14));
  }

  #between(low: number, high: number): number {
    return low + ((high - low) * this.#random.uint32()) / 0x1_0000_0000;
  }
}

function decibels(level: number): number {
  return 10 ** (level / 20);
}
