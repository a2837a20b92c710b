/** Finds out what can run a model here. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { GraphBuilder } from '../../../models/onnx/graph-builder.ts';
import { add } from '../../../models/onnx/tensor-operations.ts';
import type { HalfPrecision } from '../../../models/precision-needs.ts';
import { availableMemory } from '../../../plugins/moshi/engine/model/available-memory.ts';
import type { Device } from '../../../plugins/moshi/engine/onnxruntime/execution-provider.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
import { HostTensor } from '../../../plugins/moshi/engine/onnxruntime/tensor.ts';
import type { DeviceWish } from '../../config.ts';

const BYTES_PER_MEBIBYTE = 1024 * 1024;
const NVIDIA_SMI_TIMEOUT_MS = 5_000;

/**
 * CUDA where its provider runs a graph, else the CPU. WebGPU is for those who ask: it also finds
 * adapters in software, far slower than the CPU itself.
 */
export async function chooseDevice(wish: DeviceWish): Promise<Device> {
  if (wish !== 'auto') {
    return wish;
  }
  return (await runsGraphs('cuda', 'float32')) ? 'cuda' : 'cpu';
}

/**
 * The chosen device, for commands that take minutes before they open it.
 *
 * @throws OnnxRuntimeError where its libraries or its driver are missing.
 */
export async function requireDevice(wish: DeviceWish): Promise<Device> {
  const device = await chooseDevice(wish);
  new OnnxRuntime(device).dispose();
  return device;
}

/** The first of NVIDIA's architectures whose tensor cores take bfloat16. */
const BFLOAT16_CAPABILITY = 8;

/** What a device multiplies in beside float32; the first has float32's range. */
export async function halfPrecisions(device: Device): Promise<HalfPrecision[]> {
  switch (device) {
    case 'cpu':
      return [];
    case 'cuda': {
      const capability = Number.parseFloat((await askNvidia('compute_cap')) ?? '');
      return capability < BFLOAT16_CAPABILITY ? ['f16'] : ['bf16', 'f16'];
    }
    case 'webgpu':
      return (await runsGraphs('webgpu', 'float16')) ? ['f16'] : [];
  }
}

/**
 * Whether the provider's libraries and hardware are all there, which only a session tells, and compute
 * with numbers of this type, which only a run tells.
 */
async function runsGraphs(device: Device, type: 'float32' | 'float16'): Promise<boolean> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-device-'));
  try {
    const graph = new GraphBuilder('probe', 1, device);
    const x = graph.input('x', 'float32', [1]);
    const doubled = add(graph, graph.cast(x, type), graph.cast(x, type));
    graph.output('y', graph.cast(doubled, 'float32'), 'float32', [1]);
    const file = path.join(folder, 'probe.onnx');
    await writeFile(file, graph.finish().bytes);
    const runtime = new OnnxRuntime(device);
    try {
      const session = runtime.openSession({ path: file, weightsDirectory: folder, threads: 1 });
      const layout = { type: 'float32' as const, rowShape: [1] };
      const output = new HostTensor(layout, 1);
      const input = new HostTensor(layout, 1);
      input.float32()[0] = 1;
      session.bindInput('x', input, 1);
      session.bindOutput('y', output, 1);
      session.run();
      return output.float32()[0] === 2;
    } finally {
      runtime.dispose();
    }
  } catch {
    return false;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Bytes that a model may take on a device; null if that cannot be found out. */
export async function freeDeviceMemory(device: Device): Promise<number | null> {
  if (device === 'cpu') {
    return availableMemory();
  }
  if (device === 'webgpu') {
    return null;
  }
  const mebibytes = Number.parseInt((await askNvidia('memory.free')) ?? '', 10);
  return Number.isNaN(mebibytes) ? null : mebibytes * BYTES_PER_MEBIBYTE;
}

/** What NVIDIA's driver says, one line for each GPU; null if it says nothing. */
async function askNvidia(property: string): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(
      'nvidia-smi',
      [`--query-gpu=${property}`, '--format=csv,noheader,nounits'],
      { timeout: NVIDIA_SMI_TIMEOUT_MS },
    );
    return stdout;
  } catch {
    return null;
  }
}
