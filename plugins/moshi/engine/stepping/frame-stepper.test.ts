/** What one row suffers is no other row's business, on the real ONNX Runtime. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';

import { buildModel } from '../../../../models/build.ts';
import { writeFixture } from '../../../../models/fixtures/fixture.ts';
import type { ModelManifest } from '../../../../models/manifest.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { FrameStepper } from './frame-stepper.ts';
import { openModelDirectory } from '../model/model-directory.ts';
import { OnnxRuntime } from '../onnxruntime/onnx-runtime.ts';

const GREEDY = {
  sampling: { textTemperature: 0, audioTemperature: 0, textTopK: 1, audioTopK: 1 },
  seed: 0,
};

async function openStepper(folder: string, slots: number) {
  const checkpoint = join(folder, 'tiny-moshi');
  await writeFixture('moshi', checkpoint);
  const { directory } = await buildModel({
    checkpoint,
    outputDirectory: folder,
    batches: [slots],
    kinds: ['frame'],
  });
  const runtime = new OnnxRuntime('cpu');
  const model = await openModelDirectory(directory);
  const options = { runtime, model, slots, threads: 1, snapshotBudgetBytes: 1e9 };
  return { runtime, model, stepper: new FrameStepper(options) };
}

/** Makes a model say token 17 in every step. */
function forcedPrompt({ generatedCodebooks, heardCodebooks }: ModelManifest, promptSteps: number) {
  const codes = Array.from({ length: generatedCodebooks + heardCodebooks }, () => 3);
  const steps = Array.from({ length: promptSteps }, () => ({ text: 17, codes, embedding: null }));
  return { key: 'persona', promptSteps, steps };
}

test('who leaves in the middle of a prompt forces nothing on the next in his row', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'moshi-stepper-'));
  const { runtime, model, stepper } = await openStepper(folder, 2);
  const prompt = forcedPrompt(model.manifest, 4);
  const { codes } = prompt.steps[0]!;
  const { tensors } = stepper;
  try {
    stepper.attach(0, GREEDY);
    expect(stepper.prompt(0, prompt)).toBe(4);
    tensors.execMask.set([1, 0]);
    stepper.step(2);
    expect(tensors.textToken[0]).toBe(17n);
    stepper.attach(0, GREEDY);
    expect([tensors.forcedText[0], ...tensors.forcedCodes.subarray(0, codes.length)]).toEqual(
      [...codes, 0].map(() => -1n),
    );
    // Nothing was kept of half a prompt; of a whole one all but the last step, for whichever row.
    expect(stepper.prompt(0, prompt)).toBe(4);
    for (let step = 0; step < 4; step += 1) stepper.step(2);
    stepper.attach(1, { ...GREEDY, seed: 5 });
    expect(stepper.prompt(1, prompt)).toBe(1);
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
});

test('a conversation goes on where there is no memory to keep its prompt, and the next goes through it again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'moshi-stepper-'));
  const { runtime, model, stepper } = await openStepper(folder, 1);
  const prompt = forcedPrompt(model.manifest, 3);
  const createState = vi.spyOn(runtime, 'createState');
  const begin = (): number => {
    stepper.attach(0, GREEDY);
    const promptSteps = stepper.prompt(0, prompt);
    stepper.tensors.execMask[0] = 1;
    for (let step = 0; step < promptSteps + 2; step += 1) expect(stepper.step(1)).toEqual([]);
    return promptSteps;
  };
  try {
    createState.mockImplementationOnce((...rest) => {
      createState.mockImplementationOnce(() => {
        throw new RangeError('Array buffer allocation failed');
      });
      return OnnxRuntime.prototype.createState.apply(runtime, rest);
    });
    expect([begin(), begin(), begin()]).toEqual([3, 3, 1]);
    // One more than there are: the one that found no memory.
    expect(createState).toHaveBeenCalledTimes(model.manifest.graphs[0]!.states.length + 1);
  } finally {
    createState.mockRestore();
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
});

test('a row that computes no numbers is reset and named, and its neighbour goes on to the same bit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'moshi-stepper-'));
  const { runtime, model, stepper } = await openStepper(folder, 2);
  const { tensors } = stepper;

  const talk = (poisonedStep: number) => {
    stepper.attach(0, GREEDY);
    stepper.attach(1, GREEDY);
    return Array.from({ length: 12 }, (_, step) => {
      if (step === poisonedStep) {
        const snapshot = stepper.save(1);
        for (const { layout, host } of snapshot.state) {
          if (layout.type === 'float32') host!.float32().fill(Number.NaN);
        }
        stepper.restore(1, snapshot);
        snapshot.dispose();
      }
      tensors.pcm.forEach((_, index) => (tensors.pcm[index] = Math.sin(index * (step + 1))));
      tensors.execMask.fill(1);
      const failed = stepper.step(2);
      const row = (slot: number) => ({
        pcm: tensors.pcmOut.slice(slot * FRAME_SAMPLES, (slot + 1) * FRAME_SAMPLES),
        text: tensors.textToken[slot],
      });
      return { failed, neighbour: row(0), poisoned: row(1) };
    });
  };

  try {
    const well = talk(-1);
    const ill = talk(5);
    expect(ill.map(({ neighbour }) => neighbour)).toEqual(well.map(({ neighbour }) => neighbour));
    expect(ill.map(({ failed }) => failed)).toEqual(well.map((_, step) => (step === 5 ? [1] : [])));
    // Reset: silent again for as long as a new conversation is.
    const { maxDelay } = model.manifest;
    expect(maxDelay).toBeGreaterThan(0);
    expect(ill[6]!.poisoned.pcm.every((sample) => sample === 0)).toBe(true);
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
});

test('where a long conversation was, one that was kept early, or moves there, goes on to the same bit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'moshi-stepper-'));
  const { runtime, stepper } = await openStepper(folder, 2);
  const { tensors } = stepper;
  const talk = (row: number, steps: number): number[] =>
    Array.from({ length: steps }, (_, step) => {
      tensors.execMask.set(row === 0 ? [1, 0] : [0, 1]);
      tensors.pcm.forEach(
        (__, index) => (tensors.pcm[index] = Math.sin((index % FRAME_SAMPLES) * (step + 1))),
      );
      stepper.step(2);
      return [...tensors.pcmOut.subarray(row * FRAME_SAMPLES, (row + 1) * FRAME_SAMPLES)];
    }).flat();
  try {
    stepper.attach(0, GREEDY);
    talk(0, 2);
    const early = stepper.save(0);
    const expected = talk(0, 10);

    stepper.attach(1, { ...GREEDY, seed: 1 });
    talk(1, 40);
    stepper.restore(1, early);
    expect(talk(1, 10)).toEqual(expected);

    talk(1, 40);
    stepper.attach(0, GREEDY);
    stepper.restore(0, early);
    stepper.move(0, 1);
    expect(talk(1, 10)).toEqual(expected);
    early.dispose();
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
});
