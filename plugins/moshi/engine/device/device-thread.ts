/** The main thread's side of the worker thread that owns the device. */
import { Worker } from 'node:worker_threads';

import type {
  DeviceOptions,
  DeviceReply,
  DeviceRequest,
  OpeningReply,
  StepFault,
} from './device-messages.ts';
import type { RowOptions } from '../stepping/frame-stepper.ts';
import { frameTensors, type FrameTensors } from '../stepping/frame-tensors.ts';
import type { SystemPrompt } from '../prompts/system-prompt.ts';

export type StepOutcome =
  | { ok: true; stepMs: number; hostMs: number; failedSlots: number[] }
  | { ok: false; fault: StepFault; message: string };

/** What steps conversations for the engine: a worker thread, or a test's stand-in. */
export interface SteppingDevice {
  readonly batches: readonly number[];
  /** Inputs may be written and outputs read while no step is under way. */
  readonly tensors: FrameTensors;
  attach(slot: number, options: RowOptions): void;
  reset(slot: number): void;
  /** The slot is nobody's from now on. */
  leave(slot: number): void;
  /**
   * Makes an attached or reset conversation begin with a prompt.
   *
   * @returns Steps that it takes before it hears. Rejects when the device is gone for good.
   */
  prompt(slot: number, prompt: SystemPrompt): Promise<number>;
  /** Moves a conversation into a free slot; it goes on there. */
  move(from: number, to: number): void;
  /** At most one at a time. Rejects when the device is gone for good. */
  step(batch: number): Promise<StepOutcome>;
  /** @returns False if the device did not let go: then this process ends by a signal only. */
  close(): Promise<boolean>;
}

/** The device cannot be opened, or its thread has died. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
}

/** Freeing a large model takes its time. */
const CLOSE_TIMEOUT_MS = 5_000;
/** A step that is under way ends sooner, or never. */
const CLOSE_IN_STEP_TIMEOUT_MS = 1_000;

type Waiting<T> = { resolve: (value: T) => void; reject: (error: Error) => void };

export class DeviceThread implements SteppingDevice {
  readonly batches: readonly number[];
  readonly tensors: FrameTensors;
  readonly runtimeVersion: string;
  /** Per batch size, how long a step of nobody takes. */
  readonly idleStepMs: ReadonlyMap<number, number>;
  readonly #worker: Worker;
  #waiting: Waiting<StepOutcome> | null = null;
  readonly #prompting = new Map<number, Waiting<number>>();
  #nextId = 0;
  #death: DeviceError | null = null;

  private constructor(worker: Worker, ready: Extract<OpeningReply, { type: 'ready' }>) {
    this.#worker = worker;
    this.batches = ready.batches;
    this.tensors = frameTensors(ready.buffers);
    this.runtimeVersion = ready.runtimeVersion;
    this.idleStepMs = ready.idleStepMs;
    worker.on('message', (reply: DeviceReply) => this.#onReply(reply));
    worker.on('error', (error) => this.#onDeath(error.message));
    worker.on('exit', (code) => this.#onDeath(`it ended with code ${code}`));
  }

  /**
   * Starts the thread and loads the model in it.
   *
   * @throws DeviceError if library, provider or graphs cannot be used; the message says which.
   */
  static open(
    options: DeviceOptions,
    worker: Worker = startWorker(options),
  ): Promise<DeviceThread> {
    return new Promise((resolve, reject) => {
      const onError = (error: Error): void => reject(new DeviceError(error.message));
      worker.once('error', onError);
      worker.once('message', (reply: OpeningReply) => {
        worker.off('error', onError);
        if (reply.type === 'ready') {
          resolve(new DeviceThread(worker, reply));
        } else {
          void worker.terminate();
          reject(new DeviceError(reply.message));
        }
      });
    });
  }

  attach(slot: number, options: RowOptions): void {
    this.#send({ type: 'attach', slot, options });
  }

  reset(slot: number): void {
    this.#send({ type: 'reset', slot });
  }

  leave(slot: number): void {
    this.#send({ type: 'leave', slot });
  }

  prompt(slot: number, prompt: SystemPrompt): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#death !== null) {
        reject(this.#death);
        return;
      }
      const id = this.#nextId;
      this.#nextId += 1;
      this.#prompting.set(id, { resolve, reject });
      this.#send({ type: 'prompt', id, slot, prompt });
    });
  }

  move(from: number, to: number): void {
    this.#send({ type: 'move', from, to });
  }

  step(batch: number): Promise<StepOutcome> {
    return new Promise((resolve, reject) => {
      if (this.#death !== null) {
        reject(this.#death);
        return;
      }
      this.#waiting = { resolve, reject };
      this.#send(batch);
    });
  }

  /** Frees the device; gives up on a thread that hangs. */
  async close(): Promise<boolean> {
    const ended =
      this.#death !== null ||
      (await new Promise<boolean>((resolve) => {
        const patienceMs = this.#waiting === null ? CLOSE_TIMEOUT_MS : CLOSE_IN_STEP_TIMEOUT_MS;
        const deadline = setTimeout(() => resolve(false), patienceMs);
        this.#worker.once('exit', () => {
          clearTimeout(deadline);
          resolve(true);
        });
        this.#send({ type: 'close' });
      }));
    // A thread inside a native call answers neither terminate() nor process.exit(), which waits for it.
    this.#worker.unref();
    void this.#worker.terminate();
    return ended;
  }

  #send(request: DeviceRequest): void {
    this.#worker.postMessage(request);
  }

  #onReply(reply: DeviceReply): void {
    if (!('type' in reply)) {
      const [stepMs, hostMs, ...failedSlots] = reply;
      this.#endStep({ ok: true, stepMs, hostMs, failedSlots });
    } else if (reply.type === 'step_failed') {
      const { fault, message } = reply;
      this.#endStep({ ok: false, fault, message });
    } else if (reply.type === 'prompted') {
      this.#prompting.get(reply.id)?.resolve(reply.promptSteps);
      this.#prompting.delete(reply.id);
    }
  }

  #endStep(outcome: StepOutcome): void {
    this.#waiting?.resolve(outcome);
    this.#waiting = null;
  }

  #onDeath(reason: string): void {
    this.#death ??= new DeviceError(`The thread that runs the model is gone: ${reason}.`);
    for (const waiting of [this.#waiting, ...this.#prompting.values()]) {
      waiting?.reject(this.#death);
    }
    this.#waiting = null;
    this.#prompting.clear();
  }
}

function startWorker(options: DeviceOptions): Worker {
  const fromSources = import.meta.url.endsWith('.ts');
  const file = fromSources ? './device-worker-from-sources.mjs' : './device-worker.js';
  return new Worker(new URL(file, import.meta.url), { workerData: options, name: 'moshi-device' });
}
