/** The whole frame on WebGPU, where there is an adapter: a GPU, or Mesa's in software from version 25. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

import { buildModel } from '../../../models/build.ts';
import { writeFixture } from '../../../models/fixtures/fixture.ts';
import type { Precision } from '../../../models/manifest.ts';
import { GraphBuilder } from '../../../models/onnx/graph-builder.ts';
import { OnnxRuntime } from './onnxruntime/onnx-runtime.ts';
import { HostTensor } from './onnxruntime/tensor.ts';
import { openRunner, type FrameResult, type Runner } from './runner.ts';

const folder = await mkdtemp(join(tmpdir(), 'moshi-webgpu-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Why WebGPU cannot run here, or null. */
async function missingAdapter(): Promise<string | null> {
  const graph = new GraphBuilder('probe', 1, 'webgpu');
  const x = graph.input('x', 'float32', [1]);
  graph.output('y', graph.op('Add', [x, x]), 'float32', [1]);
  const path = join(folder, 'probe.onnx');
  await writeFile(path, graph.finish().bytes);
  const runtime = new OnnxRuntime('webgpu');
  try {
    runtime.openSession({ path, weightsDirectory: folder, threads: 1 });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    runtime.dispose();
  }
}

const missing = await missingAdapter();
if (missing !== null) {
  process.stderr.write(`skipped: frames on WebGPU, no adapter works here: ${missing}\n`);
}
const onAdapter = test.skipIf(missing !== null);

async function open(
  checkpoint: string,
  device: 'cpu' | 'webgpu',
  precision?: Precision,
): Promise<Runner> {
  const outputDirectory = join(folder, 'built');
  const kinds = ['frame' as const];
  const built = await buildModel({
    checkpoint,
    outputDirectory,
    batches: [2],
    kinds,
    device,
    ...(precision !== undefined && { precision }),
  });
  return openRunner({ modelDirectory: built.directory, device, slots: 2 });
}

const GREEDY = { sampling: { textTemperature: 0, audioTemperature: 0 } };

/** A row that moves to the other slot, is saved, goes on, and is put back; its neighbour comes later. */
function converse(runner: Runner): number[][] {
  const tokens: number[][] = [];
  const step = (...rows: number[]): void => {
    const at = tokens.length;
    const pcm = Float32Array.from({ length: 1920 }, (_, i) => 0.3 * Math.sin((at * 1920 + i) / 9));
    const results: FrameResult[] = runner.step(rows.map((row) => ({ row, pcm })));
    tokens.push(results.flatMap(({ textToken, frameTokens }) => [textToken, ...frameTokens]));
  };
  runner.start(0, GREEDY);
  step(0);
  step(0);
  runner.move(0, 1);
  runner.start(0, GREEDY);
  step(0, 1);
  const snapshot = runner.save(1);
  step(0, 1);
  runner.restore(1, snapshot);
  step(0, 1);
  return tokens;
}

onAdapter.each(['demo', 'fixture'])(
  '%s speaks the CPU’s tokens, through moves, snapshots and restarts',
  async (name) => {
    const checkpoint = name === 'demo' ? name : join(folder, 'tiny-moshi');
    if (name === 'fixture') await writeFixture('moshi', checkpoint);
    const spoken: number[][][] = [];
    for (const device of ['cpu', 'webgpu'] as const) {
      const runner = await open(checkpoint, device);
      spoken.push(converse(runner));
      runner.dispose();
    }
    expect(spoken[1]).toEqual(spoken[0]);
  },
);

onAdapter('in 16 bits, too, the demo speaks the CPU’s tokens', async () => {
  const plain = await open('demo', 'cpu');
  const half = await open('demo', 'webgpu', 'f16');
  expect(converse(half)).toEqual(converse(plain));
  plain.dispose();
  half.dispose();
});

onAdapter.each(['f32', 'f16'] as const)(
  'in %s nothing but positions and tokens is left to the CPU',
  async (precision) => {
    const { directory, manifest } = await buildModel({
      checkpoint: 'demo',
      outputDirectory: join(folder, 'built'),
      batches: [1],
      kinds: ['frame'],
      device: 'webgpu',
      precision,
    });
    const [graph] = manifest.graphs;
    const runtime = new OnnxRuntime('webgpu');
    const session = runtime.openSession({
      path: join(directory, graph!.file),
      weightsDirectory: manifest.weightsDirectory,
      hostNodes: graph!.hostNodes,
      threads: 1,
      profile: join(folder, 'profile'),
    });
    for (const { name, type, shape } of graph!.inputs) {
      session.bindInput(name, new HostTensor({ type, rowShape: shape.slice(1) }, 1), 1);
    }
    for (const { name, type, shape } of graph!.outputs) {
      session.bindOutput(name, new HostTensor({ type, rowShape: shape.slice(1) }, 1), 1);
    }
    for (const state of graph!.states) {
      session.bindState(state, runtime.createState(state, 1, session), 1);
    }
    session.run();
    const { toDevice, toHost, hostWaits } = session.traffic;
    expect(toDevice.copies).toBe(graph!.inputs.length);
    expect(toHost.copies).toBe(graph!.outputs.length);
    expect(hostWaits).toBe(1 + graph!.outputs.length);
    const events = JSON.parse(await readFile(session.endProfile(), 'utf8')) as {
      name: string;
      args?: { provider?: string; op_name?: string };
    }[];
    runtime.dispose();
    const kernels = events.filter(({ name }) => name.endsWith('_kernel_time'));
    const onCpu = kernels.filter(({ args }) => args?.provider === 'CPUExecutionProvider');
    expect(onCpu.filter(({ name }) => !/^h\d+[_/]/.test(name)).map(({ name }) => name)).toEqual([]);
    // Heard codes and spoken tokens come down once each.
    expect(kernels.filter(({ args }) => args?.op_name === 'MemcpyToHost').length).toBeLessThan(4);
  },
);
