import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { buildModel } from '../../../models/build.ts';
import { FrameStepper } from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';
import { openModelDirectory } from '../../../plugins/moshi/engine/model/model-directory.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
import { betweenFramesTable, timeBetweenFrames } from './between-frames.ts';

test('what happens between frames is timed, and the conversation is where it was', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-between-'));
  const { directory, manifest } = await buildModel({
    checkpoint: 'demo',
    outputDirectory: folder,
    batches: [1],
    kinds: ['frame'],
  });
  const runtime = new OnnxRuntime('cpu');
  try {
    const model = await openModelDirectory(directory);
    const stepper = new FrameStepper({ runtime, model, slots: 1, threads: 1 });
    const options = { sampling: manifest.sampling, seed: 3 };
    stepper.attach(0, options);
    stepper.tensors.execMask[0] = 1;
    for (let frame = 0; frame < 3; frame += 1) stepper.step(1);

    const betweenFrames = timeBetweenFrames(stepper, options);

    expect(stepper.graphs.input('offset').int64()[0]).toBe(3n);
    for (const ms of Object.values(betweenFrames)) expect(ms).toBeGreaterThan(0);
    const [, line] = betweenFramesTable([
      { precision: 'f32', batch: 1, context: 0, betweenFrames },
    ]);
    expect(line).toMatch(/^ *f32 +1 +0( +\d+\.\d){3}$/);
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
});
