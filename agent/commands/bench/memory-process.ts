/** One model in a process of its own, so that its memory can be told from everything else's. */
import { z } from 'zod';
import { FrameStepper } from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';
import { openModelDirectory } from '../../../plugins/moshi/engine/model/model-directory.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';

/** What the parent asks for. */
const memoryTask = z.object({
  directory: z.string(),
  slots: z.number(),
  threads: z.number(),
});
export type MemoryTask = z.infer<typeof memoryTask>;

/** Bytes of this process. */
export const memoryAnswer = z.object({
  /** Node and our code, before anything is loaded. */
  idle: z.number(),
  loaded: z.number(),
  /** After a few frames of every batch size, at the start of a call. */
  running: z.number(),
  peak: z.number(),
  /** State of one conversation; pages of it take room once they are written to. */
  conversation: z.number(),
});
export type MemoryAnswer = z.infer<typeof memoryAnswer>;

const FRAMES = 3;

async function measure({ directory, slots, threads }: MemoryTask): Promise<MemoryAnswer> {
  const idle = process.memoryUsage.rss();
  const model = await openModelDirectory(directory);
  const runtime = new OnnxRuntime('cpu');
  const stepper = new FrameStepper({ runtime, model, slots, threads });
  const loaded = process.memoryUsage.rss();
  for (const batch of stepper.batches) {
    stepper.tensors.execMask.fill(1, 0, batch);
    for (let frame = 0; frame < FRAMES; frame += 1) {
      stepper.step(batch);
    }
  }
  return {
    idle,
    loaded,
    running: process.memoryUsage.rss(),
    peak: process.resourceUsage().maxRSS * 1024,
    conversation: stepper.graphs.rowBytes,
  };
}

process.once('message', (task) => {
  void measure(memoryTask.parse(task)).then((answer) => {
    process.send?.(answer, () => process.exit());
  });
});
