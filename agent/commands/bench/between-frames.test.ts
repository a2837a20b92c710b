import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { betweenFramesTable, timeBetweenFrames } from './between-frames.ts';
import { openStepper } from './open-stepper.ts';

test('what happens between frames is timed, and the conversation is where it was', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-between-'));
  const { runtime, model, stepper } = await openStepper('demo', folder, { slots: 1 });
  try {
    const options = { sampling: model.manifest.sampling, seed: 3 };
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
