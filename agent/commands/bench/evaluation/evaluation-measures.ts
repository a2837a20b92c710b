/** What is read from the traces of an evaluation's conversations. Frames are of 80 ms. */
import { SPEECH_LEVEL, type AskedQuestion } from './evaluation-caller.ts';
import type { ConversationTrace } from './evaluation-loop.ts';

const FRAME_MS = 80;
const FRAME_SAMPLES = 1_920;
const SAMPLES_PER_MS = 24;
/** Below, what was said is none of the lines. */
const LEAST_SIMILARITY = 0.8;
/** Frames of silence after which a line is over (its sentences have shorter ones between them), or an interrupted one given up. */
const PAUSE_FRAMES = 14;
const GIVEN_UP_FRAMES = 3;
const TEXT_AHEAD_FRAMES = 4;

export interface AnsweredQuestion {
  asked: AskedQuestion;
  /** What the model said until the next question. */
  said: string;
  /** The nearest line; null: none, or nothing was said. */
  line: string | null;
  isRight: boolean;
  /** From the end of the question until the answer can be heard; null: no answer. */
  delayMs: number | null;
  /** From the begin of the question until the model was silent; null: it did not speak then. */
  stoppedMs: number | null;
  /** Whether the model spoke while it was asked, and neither had been interrupted nor only agreed. */
  spokeOver: boolean;
  firstFrame: number;
  endFrame: number;
}

/** What a model says, by name, and which of it accompanies a caller's long turn. */
export interface Repertoire {
  lines: Readonly<Record<string, string>>;
  backchannel: string;
}

/** Every question with its answer, in order. */
export function answersOf(
  trace: ConversationTrace,
  { lines, backchannel }: Repertoire,
): AnsweredQuestion[] {
  const { asked, text, level } = trace;
  const utterances = utterancesOf(trace, lines);
  return asked.map((question, index) => {
    const onsetFrame = Math.floor(question.onsetSample / FRAME_SAMPLES);
    const firstFrame = Math.floor(question.endSample / FRAME_SAMPLES) + 1;
    const next = asked[index + 1];
    const endFrame =
      next === undefined ? text.length : Math.floor(next.onsetSample / FRAME_SAMPLES);
    const said = text.slice(firstFrame, endFrame).join('').trim();
    const line = nearestLine(said, lines);
    const wasSpeaking = (level[onsetFrame - 1] ?? 0) > SPEECH_LEVEL;
    const silentFrame = firstSilence(level, onsetFrame);
    const stoppedMs =
      wasSpeaking && silentFrame !== null
        ? (silentFrame + 1) * FRAME_MS - question.onsetSample / SAMPLES_PER_MS
        : null;
    const searchFrom = Math.max(firstFrame, (wasSpeaking ? (silentFrame ?? endFrame) : 0) + 1);
    const heard = level.findIndex(
      (value, frame) => frame >= searchFrom && frame < endFrame && value > SPEECH_LEVEL,
    );
    return {
      asked: question,
      said,
      line,
      isRight: line === question.clip.line,
      delayMs: heard < 0 ? null : (heard + 1) * FRAME_MS - question.endSample / SAMPLES_PER_MS,
      stoppedMs,
      spokeOver:
        !wasSpeaking &&
        utterances.some(
          (one) =>
            one.firstFrame > onsetFrame &&
            one.firstFrame < firstFrame &&
            !isOnly(one.said, lines[backchannel] ?? ''),
        ),
      firstFrame,
      endFrame,
    };
  });
}

/** Whether `said` is a short sound, once or drawn out: “Mm-hm.”, “Mm-hm-hm.” */
function isOnly(said: string, sound: string): boolean {
  const [letters = '', all = ''] = [sound, said].map((text) =>
    text.toLowerCase().replaceAll(/[^a-z]/g, ''),
  );
  return all.startsWith(letters) && all.length < 2 * letters.length;
}

/** First of three frames without speech, from `frame` on. */
function firstSilence(level: readonly number[], frame: number): number | null {
  for (let at = frame; at + GIVEN_UP_FRAMES <= level.length; at += 1) {
    if (level.slice(at, at + GIVEN_UP_FRAMES).every((value) => value <= SPEECH_LEVEL)) {
      return at;
    }
  }
  return null;
}

export interface Utterance {
  firstFrame: number;
  /** Nearest line; null: none. */
  line: string | null;
  said: string;
}

/** Stretches of the model's speech between pauses. */
export function utterancesOf(
  { text, level }: ConversationTrace,
  lines: Readonly<Record<string, string>>,
): Utterance[] {
  const stretches: [number, number][] = [];
  for (const [frame, value] of level.entries()) {
    if (value <= SPEECH_LEVEL) {
      continue;
    }
    const last = stretches.at(-1);
    if (last !== undefined && frame - last[1] <= PAUSE_FRAMES) {
      last[1] = frame;
    } else {
      stretches.push([frame, frame]);
    }
  }
  return stretches.map(([firstFrame, lastFrame], index) => {
    // Text comes a little before its sound.
    const from = Math.max(firstFrame - TEXT_AHEAD_FRAMES, (stretches[index - 1]?.[1] ?? -1) + 1);
    const said = text
      .slice(from, lastFrame + 1)
      .join('')
      .trim();
    return { firstFrame, said, line: nearestLine(said, lines) };
  });
}

/** Name of the line that `said` is, but for a few letters; null: none. */
export function nearestLine(said: string, lines: Readonly<Record<string, string>>): string | null {
  let best: string | null = null;
  let similarity = LEAST_SIMILARITY;
  for (const [name, line] of Object.entries(lines)) {
    const distance = editDistance(said.toLowerCase(), line.toLowerCase());
    const found = 1 - distance / Math.max(said.length, line.length);
    if (said.length > 0 && found >= similarity) {
      best = name;
      similarity = found;
    }
  }
  return best;
}

/** Levenshtein's: letters to insert, delete or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
