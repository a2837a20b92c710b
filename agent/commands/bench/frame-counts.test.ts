import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countFrame, countsTable } from './frame-counts.ts';
import { FRAME_PARTS, readFrameProfile } from './frame-profile.ts';
import { openStepper } from './open-stepper.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(path.join(tmpdir(), 'moshi-counts-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const FRAMES = 3;

test('a frame is one run of fewer operators than the graph has, and copies nothing on the CPU', async () => {
  const profile = path.join(folder, 'profile');
  const { runtime, model, stepper } = await openStepper('demo', folder, { slots: 2, profile });
  try {
    stepper.tensors.execMask.fill(1);
    for (let frame = 0; frame < FRAMES; frame += 1) {
      stepper.step(2);
    }
    const { kernels, shares } = await readFrameProfile(stepper.graphs.endProfile(2));
    const counts = countFrame(stepper, { batch: 2, frames: FRAMES, kernels });

    expect(counts.runs).toBe(1);
    expect(counts.traffic).toEqual({
      toDevice: { copies: 0, bytes: 0 },
      toHost: { copies: 0, bytes: 0 },
      hostWaits: 0,
    });
    expect(kernels.total).toBeGreaterThan(500);
    expect(kernels.total).toBeLessThan(model.manifest.graphs[0]!.nodes);
    expect(kernels.providers).toEqual({ CPUExecutionProvider: kernels.total });
    expect(kernels.copies).toBe(0);
    const sum = (values: Record<string, number>): number =>
      Object.values(values).reduce((total, value) => total + value, 0);
    expect(sum(kernels.parts)).toBe(kernels.total);
    expect(sum(shares)).toBeCloseTo(1);
    for (const part of FRAME_PARTS) {
      expect(kernels.parts[part], part).toBeGreaterThan(0);
    }
    const { noise, generatedCodebooks } = model.manifest;
    const voiceAndTokens = 1920 * 4 + 8 + (1 + generatedCodebooks) * 8;
    expect(counts.outputBytes).toBe(2 * voiceAndTokens);
    expect(counts.inputBytes).toBeGreaterThan(
      2 * 4 * (1920 + noise.textWidth + generatedCodebooks * noise.audioWidth),
    );
    expect(counts.stateBytes).toBeGreaterThan(1e6);

    const lines = countsTable([{ precision: 'f32', batch: 2, context: 0, counts }], 'cpu');
    expect(lines[1]).toMatch(new RegExp(`^ *f32 +2 +0 +${kernels.total} `));
    expect(lines.join('\n')).toContain('nothing is copied and nobody waits');
  } finally {
    runtime.dispose();
  }
});

test('a recorded graph is counted by the last run that left a trace of its operators', async () => {
  const run = (startUs: number): object => ({
    cat: 'Session',
    name: 'model_run',
    ts: startUs,
    dur: 100,
  });
  const kernel = (name: string, startUs: number, operator: string, provider: string): object => ({
    cat: 'Node',
    name: `${name}_kernel_time`,
    ts: startUs,
    dur: 5,
    args: { op_name: operator, provider },
  });
  const file = path.join(folder, 'recorded.json');
  await writeFile(
    file,
    JSON.stringify([
      run(0),
      kernel('1:MatMul:temporal/0/MatMul', 10, 'MatMul', 'CUDAExecutionProvider'),
      run(200),
      kernel('1:MatMul:temporal/0/MatMul', 210, 'MatMul', 'CUDAExecutionProvider'),
      kernel('2:MatMul:depth3/MatMul', 220, 'MatMul', 'CUDAExecutionProvider'),
      kernel('Memcpy_token_1', 230, 'MemcpyToHost', 'CUDAExecutionProvider'),
      kernel('3:Add:Add9', 240, 'Add', 'CPUExecutionProvider'),
      run(400),
      run(600),
    ]),
  );
  const { kernels } = await readFrameProfile(file);
  expect(kernels).toMatchObject({
    total: 4,
    parts: { temporal: 1, depth: 1, rest: 2 },
    providers: { CUDAExecutionProvider: 3, CPUExecutionProvider: 1 },
    copies: 1,
  });
});
