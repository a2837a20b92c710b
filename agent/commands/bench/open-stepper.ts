/** A model's frame graph for one batch size, built and opened in this process, on the CPU with one thread. */
import { buildModel } from '../../../models/build.ts';
import {
  openModelDirectory,
  type ModelDirectory,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
import { FrameStepper } from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';

export interface OpenedStepper {
  /** To be disposed of. */
  runtime: OnnxRuntime;
  model: ModelDirectory;
  stepper: FrameStepper;
}

/** @param profile - As in `OnnxRuntime.openSession`. */
export async function openStepper(
  checkpoint: string,
  outputDirectory: string,
  { slots, profile }: { slots: number; profile?: string },
): Promise<OpenedStepper> {
  const { directory } = await buildModel({
    checkpoint,
    outputDirectory,
    batches: [slots],
    kinds: ['frame'],
  });
  const model = await openModelDirectory(directory);
  const runtime = new OnnxRuntime('cpu');
  try {
    const options = { runtime, model, slots, threads: 1 };
    const stepper = new FrameStepper({ ...options, ...(profile !== undefined && { profile }) });
    return { runtime, model, stepper };
  } catch (error) {
    runtime.dispose();
    throw error;
  }
}
