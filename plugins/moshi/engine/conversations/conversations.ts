/**
 * All conversations of one engine: who has which slot, whose frame steps next, what came out.
 *
 * Knows no sockets. Requests to the device are handled in order, so a slot can be given away while
 * its last step is still under way; what that step gives is then nobody's and is dropped.
 */
import { strict as assert } from 'node:assert';
import type { Logger } from 'pino';

import type { ModelManifest } from '../../../../models/manifest.ts';
import type { FrameMessage } from '../../protocol/frame-message.ts';
import { FRAME_SAMPLES, type TurnEndMessage, type WordMessage } from '../../protocol/messages.ts';
import type { SteppingDevice, StepOutcome } from '../device/device-thread.ts';
import type { EngineMetrics, Fault } from '../metrics/engine-metrics.ts';
import type { RowOptions } from '../stepping/frame-stepper.ts';
import { pausesOf } from '../stepping/pauses.ts';
import { FrameScheduler, type PlannedStep } from '../scheduling/scheduler.ts';
import type { StepTimes } from '../scheduling/step-times.ts';
import type { SystemPrompt } from '../prompts/system-prompt.ts';
import { StepWatchdog } from './step-watchdog.ts';
import { StreamingTextDecoder, type Vocabulary } from '../text/text-decoder.ts';
import { transcribes, Transcription } from '../text/transcription.ts';

/** A step that takes this long, and many times longer than steps do, hangs. */
const HANGING_STEP_MS = 5_000;
const HANGING_STEP_RATIO = 20;
/** A device that refuses so many steps in a row will not get better by itself. */
const MAX_FAILED_STEPS = 3;
const DROP_LOG_INTERVAL_MS = 5_000;

/** What the owner of a conversation hears. */
export type ConversationListener = {
  /** It hears from now on: its prompt is done. Once, never before `attach` has returned. */
  onReady: () => void;
  /** One more step of the prompt is done. */
  onPrompting?: (stepsLeft: number) => void;
  /** From models that speak. The samples may be read until this returns. */
  onFrame: (frame: FrameMessage) => void;
  /** From models that transcribe. */
  onHeard: (message: WordMessage | TurnEndMessage) => void;
  /** The conversation has ended and its slot is free. */
  onFailed: (message: string) => void;
};

/** One client's place in the engine. Ignores everything after it has left or failed. */
export interface Conversation {
  /** Where it is now; it moves down when others leave. */
  readonly slot: number;
  /** Adds samples, 24 kHz mono. */
  push(samples: Float32Array): void;
  /** Forgets the conversation and goes on from an empty one. */
  reset(): void;
  leave(): void;
}

type State = {
  slot: number;
  readonly listener: ConversationListener;
  readonly decoder: StreamingTextDecoder;
  readonly prompt: SystemPrompt | null;
  /** What is written down of it; null for models that speak. */
  transcription: Transcription | null;
  isReady: boolean;
  /** What the last step of the prompt, which is the first that the model is free in, let it say. */
  promptedText: string;
  step: number;
  droppedFrames: number;
  /** Counts resets: a step that began before one says nothing about the conversation after it. */
  epoch: number;
};

export type ConversationsOptions = {
  device: SteppingDevice;
  manifest: ModelManifest;
  vocabulary: Vocabulary;
  slots: number;
  metrics: EngineMetrics;
  /** Learns from every step. */
  stepTimes: StepTimes;
  logger: Logger;
  /** Monotonic, ms. */
  now: () => number;
  /** A step that takes this long hangs, unless steps are known to be that slow; 5 s if missing. */
  hangingStepMs?: number | undefined;
  /** The device is lost; no conversation can go on. */
  onFailure: (reason: string) => void;
};

export class Conversations {
  readonly #options: ConversationsOptions;
  readonly #scheduler: FrameScheduler;
  readonly #states: (State | null)[];
  readonly #watchdog = new StepWatchdog((ms) => {
    const seconds = (ms / 1000).toFixed(1);
    this.#fail('step_hung', `A step of the model has not ended within ${seconds} s.`);
  });
  #stepping = false;
  #failedSteps = 0;
  #failure: string | null = null;
  #unloggedDrops = 0;
  #lastDropLogMs = Number.NEGATIVE_INFINITY;

  constructor(options: ConversationsOptions) {
    const { slots, device, now } = options;
    this.#options = options;
    this.#scheduler = new FrameScheduler({ slots, batches: device.batches, now });
    this.#states = Array.from({ length: slots }, () => null);
  }

  get attached(): number {
    return this.#scheduler.attached;
  }

  /** Why no conversation can go on, or null. */
  get failure(): string | null {
    return this.#failure;
  }

  /**
   * Starts a conversation; null if all slots are taken.
   *
   * @param prompt - What it goes through before it hears, for models that take prompts.
   */
  attach(
    options: RowOptions,
    listener: ConversationListener,
    prompt: SystemPrompt | null = null,
  ): Conversation | null {
    const slot = this.#scheduler.attach();
    if (slot === null) {
      return null;
    }
    const state: State = {
      slot,
      listener,
      decoder: new StreamingTextDecoder(this.#options.vocabulary),
      prompt,
      transcription: null,
      isReady: false,
      promptedText: '',
      step: 0,
      droppedFrames: 0,
      epoch: 0,
    };
    this.#states[slot] = state;
    this.#options.device.attach(slot, options);
    this.#begin(state);
    const whileAttached = (act: () => void): void => {
      if (this.#states[state.slot] === state) {
        act();
      }
    };
    return {
      get slot() {
        return state.slot;
      },
      push: (samples) => whileAttached(() => this.#push(state, samples)),
      reset: () => whileAttached(() => this.#reset(state)),
      leave: () => whileAttached(() => this.#free(state)),
    };
  }

  #push(state: State, samples: Float32Array): void {
    const dropped = this.#scheduler.push(state.slot, samples);
    if (dropped > 0) {
      state.droppedFrames += dropped;
      state.transcription?.skip(dropped);
      this.#options.metrics.dropped(dropped);
      this.#logDrops(dropped);
    }
    this.#stepIfIdle();
  }

  #reset(state: State): void {
    this.#scheduler.reset(state.slot);
    this.#options.device.reset(state.slot);
    state.decoder.reset();
    state.promptedText = '';
    state.step = 0;
    state.epoch += 1;
    this.#begin(state);
  }

  /** Lets an empty conversation begin, with its prompt if it has one. */
  #begin(state: State): void {
    const { prompt, epoch } = state;
    const { device, metrics, manifest, vocabulary } = this.#options;
    if (transcribes(manifest)) {
      state.transcription = new Transcription(manifest, vocabulary);
      this.#leadIn(state, manifest.transcription.leadingSilenceSamples);
      return;
    }
    if (prompt !== null) {
      this.#scheduler.hold(state.slot);
    }
    const promptSteps = prompt === null ? Promise.resolve(0) : device.prompt(state.slot, prompt);
    promptSteps.then(
      (steps) => {
        if (this.#states[state.slot] !== state || state.epoch !== epoch) {
          return;
        }
        if (prompt !== null) {
          metrics.prompted(steps < prompt.promptSteps);
          this.#scheduler.prompt(state.slot, steps);
        }
        if (steps === 0) {
          this.#becomeReady(state);
        }
        this.#stepIfIdle();
      },
      (error: unknown) => this.#lose(error),
    );
  }

  /**
   * Takes a model that transcribes to where it hears the first sample: past the first step, in which
   * nothing is heard, and the silence that it wants before any sound.
   */
  #leadIn({ slot }: State, leadingSilenceSamples: number): void {
    this.#scheduler.prompt(slot, 1 + Math.floor(leadingSilenceSamples / FRAME_SAMPLES));
    this.#scheduler.push(slot, new Float32Array(leadingSilenceSamples % FRAME_SAMPLES));
    this.#stepIfIdle();
  }

  #becomeReady(state: State): void {
    if (!state.isReady) {
      state.isReady = true;
      state.listener.onReady();
    }
  }

  #free({ slot }: State): void {
    this.#scheduler.leave(slot);
    this.#options.device.leave(slot);
    this.#states[slot] = null;
  }

  /** Between two steps only: the results of one lie where its conversations were when it began. */
  #moveDown(): void {
    const move = this.#scheduler.compact();
    if (move === null) {
      return;
    }
    const state = this.#states[move.from] ?? null;
    assert(state !== null, `slot ${move.from} has input but no conversation`);
    this.#states[move.to] = state;
    this.#states[move.from] = null;
    state.slot = move.to;
    this.#options.device.move(move.from, move.to);
    this.#options.metrics.moved();
  }

  #stepIfIdle(): void {
    if (this.#stepping || this.#failure !== null) {
      return;
    }
    this.#moveDown();
    const { device } = this.#options;
    const plan = this.#scheduler.next(device.tensors.pcm, device.tensors.execMask);
    if (plan === null) {
      return;
    }
    this.#stepping = true;
    const { hangingStepMs = HANGING_STEP_MS, stepTimes } = this.#options;
    const expectedMs = stepTimes.expectedMs(plan.batch);
    this.#watchdog.begin(Math.max(hangingStepMs, HANGING_STEP_RATIO * expectedMs));
    void this.#step(plan);
  }

  async #step(plan: PlannedStep): Promise<void> {
    const began = plan.rows.map(({ slot }) => {
      const state = this.#states[slot] ?? null;
      return { state, epoch: state?.epoch ?? 0 };
    });
    try {
      this.#onStepped(plan, began, await this.#options.device.step(plan.batch));
    } catch (error) {
      this.#lose(error);
    }
    this.#watchdog.end();
    this.#stepping = false;
    this.#stepIfIdle();
  }

  #onStepped(
    plan: PlannedStep,
    began: { state: State | null; epoch: number }[],
    outcome: StepOutcome,
  ): void {
    this.#failedSteps = outcome.ok ? 0 : this.#failedSteps + 1;
    if (outcome.ok) {
      this.#options.metrics.step(outcome, plan.rows.length);
      this.#options.stepTimes.observe(plan.batch, outcome.stepMs);
    }
    for (const [index, { slot, queuedMs, promptStepsLeft }] of plan.rows.entries()) {
      const state = this.#states[slot] ?? null;
      const before = began[index];
      if (state === null || state !== before?.state || state.epoch !== before.epoch) {
        continue;
      }
      if (!outcome.ok) {
        this.#endRow(state, `The model failed in a step: ${outcome.message}`);
      } else if (outcome.failedSlots.includes(slot)) {
        this.#options.metrics.fault('row_failed');
        this.#endRow(state, 'The model computed something that is no sound.');
      } else if (state.transcription !== null) {
        this.#transcribe(slot, state, state.transcription);
        if (promptStepsLeft === null) {
          this.#options.metrics.queued(queuedMs);
        } else if (promptStepsLeft === 0) {
          this.#becomeReady(state);
        }
      } else if (promptStepsLeft !== null) {
        state.listener.onPrompting?.(promptStepsLeft);
        if (promptStepsLeft === 0) {
          state.promptedText = state.decoder.push(
            Number(this.#options.device.tensors.textToken[slot]),
          );
          this.#becomeReady(state);
        }
      } else {
        this.#options.metrics.queued(queuedMs);
        state.listener.onFrame(this.#frame(slot, state, queuedMs, outcome.stepMs));
      }
    }
    if (!outcome.ok) {
      this.#options.metrics.fault(outcome.fault);
      this.#options.logger.error({ reason: outcome.message }, 'a step of the model failed');
      if (this.#failedSteps === MAX_FAILED_STEPS) {
        this.#fail(
          'device_lost',
          `${MAX_FAILED_STEPS} steps in a row have failed, the last with: ${outcome.message}`,
        );
      }
    }
  }

  #transcribe(slot: number, { listener }: State, transcription: Transcription): void {
    const { device, manifest } = this.#options;
    // Its columns have the text token alone.
    const token = Number(device.tensors.frameTokens[slot]);
    for (const event of transcription.push(token, pausesOf(device.tensors, manifest, slot))) {
      if (event.type !== 'end') {
        listener.onHeard(event);
      }
    }
  }

  #frame(slot: number, state: State, queuedMs: number, stepMs: number): FrameMessage {
    const { device, manifest } = this.#options;
    const textToken = Number(device.tensors.textToken[slot]);
    const step = state.step;
    const text = state.promptedText + state.decoder.push(textToken);
    state.step += 1;
    state.promptedText = '';
    return {
      step,
      textToken,
      text,
      // Columns are complete from the first frame on where a prompt has come before.
      hasAudio: state.prompt !== null || step >= manifest.maxDelay,
      stepMs,
      queuedMs,
      droppedFrames: state.droppedFrames,
      pcm: device.tensors.pcmOut.subarray(slot * FRAME_SAMPLES, (slot + 1) * FRAME_SAMPLES),
    };
  }

  #endRow(state: State, message: string): void {
    this.#free(state);
    state.listener.onFailed(message);
  }

  #lose(error: unknown): void {
    this.#fail('device_lost', error instanceof Error ? error.message : String(error));
  }

  /** Ends everything: the device does not come back. */
  #fail(fault: Fault, reason: string): void {
    if (this.#failure !== null) {
      return;
    }
    this.#options.metrics.fault(fault);
    this.#failure = reason;
    this.#options.logger.fatal({ reason }, 'the engine has lost its device');
    for (const state of this.#states) {
      if (state !== null) {
        this.#endRow(state, reason);
      }
    }
    this.#options.onFailure(reason);
  }

  #logDrops(dropped: number): void {
    this.#unloggedDrops += dropped;
    const now = this.#options.now();
    if (now - this.#lastDropLogMs >= DROP_LOG_INTERVAL_MS) {
      this.#options.logger.warn(
        { frames: this.#unloggedDrops },
        'dropped input frames: the device is too slow or a client sends faster than real time',
      );
      this.#lastDropLogMs = now;
      this.#unloggedDrops = 0;
    }
  }
}
