/**
 * The engine's worker thread: the only one that touches ONNX Runtime and a conversation's state.
 * Handles one request after the other; each blocks this thread alone.
 */
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';

import type { DeviceOptions, DeviceReply, DeviceRequest, OpeningReply } from './device-messages.ts';
import { FrameStepper } from '../stepping/frame-stepper.ts';
import { OnnxRuntime } from '../onnxruntime/onnx-runtime.ts';
import { isOutOfMemory } from '../onnxruntime/out-of-memory.ts';
import { threadCpuMs } from '../thread-cpu-time.ts';

const port = parentPort;
if (port === null) {
  throw new Error('device-worker.ts runs as a worker thread only');
}

const reply = (message: OpeningReply | DeviceReply): void => port.postMessage(message);

function open({ device, ...options }: DeviceOptions): {
  runtime: OnnxRuntime;
  stepper: FrameStepper;
} {
  const runtime = new OnnxRuntime(device);
  return { runtime, stepper: new FrameStepper({ runtime, ...options }) };
}

/** CPU time of this thread that has been reported, or is none of a step's. */
let reportedMs = 0;

/** CPU time of this thread since it was last asked, without what it spent in ONNX Runtime. */
function takeHostMs(stepper: FrameStepper): number {
  const allMs = threadCpuMs() - stepper.runCpuMs;
  const hostMs = allMs - reportedMs;
  reportedMs = allMs;
  return hostMs;
}

function step(stepper: FrameStepper, batch: number): DeviceReply {
  const startMs = performance.now();
  try {
    const failedSlots = stepper.step(batch);
    const stepMs = performance.now() - startMs;
    return [stepMs, takeHostMs(stepper), ...failedSlots];
  } catch (error) {
    const fault = isOutOfMemory(error) ? 'out_of_memory' : 'step_failed';
    return { type: 'step_failed', fault, message: describe(error) };
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  const { runtime, stepper } = open(workerData as DeviceOptions);
  port.on('message', (request: DeviceRequest) => {
    if (typeof request === 'number') {
      reply(step(stepper, request));
      return;
    }
    switch (request.type) {
      case 'attach':
        stepper.attach(request.slot, request.options);
        break;
      case 'reset':
        stepper.reset(request.slot);
        break;
      case 'leave':
        stepper.leave(request.slot);
        break;
      case 'prompt': {
        const { id, slot, prompt } = request;
        reply({ type: 'prompted', id, promptSteps: stepper.prompt(slot, prompt) });
        break;
      }
      case 'move':
        stepper.move(request.from, request.to);
        break;
      case 'close':
        runtime.dispose();
        reply({ type: 'closed' });
        port.close();
    }
  });
  const idleStepMs = stepper.measureIdleSteps(() => performance.now());
  takeHostMs(stepper);
  reply({
    type: 'ready',
    batches: stepper.batches,
    idleStepMs,
    buffers: stepper.buffers(),
    runtimeVersion: runtime.version,
  });
} catch (error) {
  reply({
    type: 'refused',
    errorName: error instanceof Error ? error.name : 'Error',
    message: describe(error),
  });
}
