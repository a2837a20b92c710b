/** Plays conversations of many callers with a model, several at once. */
import type { SamplingOptions } from '../../../../models/manifest.ts';
import type { FrameResult, Runner } from '../../../../plugins/moshi/engine/runner.ts';
import { EvaluationCaller, type AskedQuestion, type CallerPlan } from './evaluation-caller.ts';

/** What one conversation came to, frame by frame. */
export interface ConversationTrace {
  asked: AskedQuestion[];
  /** Text completed in each frame. */
  text: string[];
  /** Root mean square of each frame of the model's voice. */
  level: number[];
  /** [1920] each; empty unless the voice was to be kept. */
  voice: Float32Array[];
}

export interface EvaluationLoopOptions {
  sampling: Partial<SamplingOptions>;
  keepVoice: boolean;
  /** Called with what every step of every conversation gave. @param index - Of its plan. */
  observe?: (index: number, result: FrameResult) => void;
  /** Called now and then with the number of conversations that are over. */
  onProgress: (finished: number) => void;
}

type Seat = { row: number; index: number; caller: EvaluationCaller; trace: ConversationTrace };

/**
 * @param plans - The longest first, so that the last steps are not of one row alone.
 * @param rows - Conversations at once; the runner has as many slots.
 * @returns One trace for each plan, in their order.
 */
export function playConversations(
  runner: Runner,
  plans: readonly CallerPlan[],
  rows: number,
  { sampling, keepVoice, observe, onProgress }: EvaluationLoopOptions,
): ConversationTrace[] {
  const traces: ConversationTrace[] = plans.map(() => ({
    asked: [],
    text: [],
    level: [],
    voice: [],
  }));
  const waiting = plans.map((plan, index) => ({ plan, index }));
  const freeRows = Array.from({ length: rows }, (_, row) => row);
  let seats: Seat[] = [];
  let finished = 0;
  for (;;) {
    while (freeRows.length > 0 && waiting.length > 0) {
      const row = freeRows.shift() as number;
      const { plan, index } = waiting.shift() as (typeof waiting)[number];
      runner.start(row, { seed: plan.seed, sampling });
      const caller = new EvaluationCaller(plan);
      const trace = traces[index] as ConversationTrace;
      trace.asked = caller.asked;
      seats.push({ row, index, caller, trace });
    }
    if (seats.length === 0) {
      return traces;
    }
    const results = runner.step(seats.map(({ row, caller }) => ({ row, pcm: caller.listen() })));
    for (const [at, result] of results.entries()) {
      const { caller, index, trace } = seats[at] as Seat;
      const { pcm, text } = result;
      observe?.(index, result);
      const level = rootMeanSquare(pcm);
      trace.text.push(text);
      trace.level.push(level);
      if (keepVoice) {
        trace.voice.push(pcm);
      }
      caller.hear(level);
    }
    const left = seats.filter(({ caller }) => caller.hasLeft);
    if (left.length > 0) {
      seats = seats.filter(({ caller }) => !caller.hasLeft);
      freeRows.push(...left.map(({ row }) => row));
      // Low rows are covered by small graphs.
      freeRows.sort((a, b) => a - b);
      finished += left.length;
      onProgress(finished);
    }
  }
}

/** 0 of a model without a voice. */
function rootMeanSquare(pcm: Float32Array): number {
  let sum = 0;
  for (const sample of pcm) {
    sum += sample * sample;
  }
  return Math.sqrt(sum / Math.max(1, pcm.length));
}
