/** Finds out what can run a model here. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { GraphBuilder } from '../../../models/onnx/graph-builder.ts';
import { availableMemory } from '../../../plugins/moshi/engine/model/available-memory.ts';
import type { Device } from '../../../plugins/moshi/engine/onnxruntime/execution-provider.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
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
  return (await runsGraphs('cuda')) ? 'cuda' : 'cpu';
}

/** Whether the provider's libraries and hardware are all there, which only a session tells. */
async function runsGraphs(device: Device): Promise<boolean> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-device-'));
  try {
    const graph = new GraphBuilder('probe', 1);
    const x = graph.input('x', 'float32', [1]);
    graph.output('y', graph.op('Add', [x, x]), 'float32', [1]);
    const file = path.join(folder, 'probe.onnx');
    await writeFile(file, graph.finish().bytes);
    const runtime = new OnnxRuntime(device);
    try {
      runtime.openSession({ path: file, weightsDirectory: folder, threads: 1 });
      return true;
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
  try {
    const { stdout } = await promisify(execFile)(
      'nvidia-smi',
      ['--query-gpu=memory.free', '--format=csv,noheader,nounits'],
      { timeout: NVIDIA_SMI_TIMEOUT_MS },
    );
    const mebibytes = Number.parseInt(stdout, 10);
    return Number.isNaN(mebibytes) ? null : mebibytes * BYTES_PER_MEBIBYTE;
  } catch {
    return null;
  }
}
