/** What the engine's main thread and its worker thread say to each other; samples go by shared memory. */
import type { RowOptions } from '../stepping/frame-stepper.ts';
import type { FrameBuffers } from '../stepping/frame-tensors.ts';
import type { ModelDirectory } from '../model/model-directory.ts';
import type { Device } from '../onnxruntime/execution-provider.ts';
import type { OperatorThreads } from '../onnxruntime/thread-pinning.ts';
import type { SystemPrompt } from '../prompts/system-prompt.ts';

/** `workerData` of the worker thread. */
export type DeviceOptions = OperatorThreads & {
  model: ModelDirectory;
  slots: number;
  device: Device;
  /** Memory for prompts that conversations may begin with again. */
  snapshotBudgetBytes: number;
};

/**
 * In the order they are sent, so a slot may be given to another conversation at any time. A step, which
 * every frame asks for, is its batch size alone: the names of fields cost more than their values.
 */
export type DeviceRequest =
  | number
  | { type: 'attach'; slot: number; options: RowOptions }
  | { type: 'reset'; slot: number }
  | { type: 'leave'; slot: number }
  /** The answer is `prompted` with the same id. */
  | { type: 'prompt'; id: number; slot: number; prompt: SystemPrompt }
  | { type: 'move'; from: number; to: number }
  | { type: 'close' };

/** Why a step failed: for want of memory, or something else. */
export type StepFault = 'out_of_memory' | 'step_failed';

/** The first that the worker thread says. */
export type OpeningReply =
  | {
      type: 'ready';
      batches: number[];
      /** Per batch size, how long a step of nobody takes. */
      idleStepMs: Map<number, number>;
      buffers: FrameBuffers;
      runtimeVersion: string;
    }
  | { type: 'refused'; errorName: string; message: string };

/**
 * A step is done: its time, CPU time of this thread since the step before without what it spent in
 * ONNX Runtime, and the slots whose output means nothing.
 */
export type SteppedReply = readonly [stepMs: number, hostMs: number, ...failedSlots: number[]];

export type DeviceReply =
  | SteppedReply
  | { type: 'step_failed'; fault: StepFault; message: string }
  | { type: 'prompted'; id: number; promptSteps: number }
  | { type: 'closed' };
