/** Where graphs run: what each execution provider needs from the C API. */
import { addressOf, type CApi } from './c-api.ts';

import type { Device } from '../../../../models/manifest.ts';

export type { Device } from '../../../../models/manifest.ts';

/** Memory of a device as ONNX Runtime names it; states live there. Null: memory of this process. */
export type DeviceMemory = {
  name: string;
  /** True if states of integers live in this process, where the nodes that compute them run. */
  keepsIntegersOnHost: boolean;
};

export const DEVICE_MEMORY: Record<Device, DeviceMemory | null> = {
  cpu: null,
  cuda: { name: 'Cuda', keepsIntegersOnHost: false },
  webgpu: { name: 'WebGPU_Buffer', keepsIntegersOnHost: true },
};

export const PROVIDER_NAMES: Record<Device, string> = {
  cpu: 'CPUExecutionProvider',
  cuda: 'CUDAExecutionProvider',
  webgpu: 'WebGpuExecutionProvider',
};

const CUDA_OPTIONS = {
  // The second run of a session is recorded, and all that follow replay it: one launch a frame.
  enable_cuda_graph: '1',
  // It would round the mantissas of float32 products to 10 bits: Mimi would hear other codes.
  use_tf32: '0',
  // Memory is taken once, by the first run; the default doubles what it has at every need. There is no
  // gpu_mem_limit: it would be of one session, and whether all of them have room is known before the
  // first is opened (model/memory-needs.ts).
  arena_extend_strategy: 'kSameAsRequested',
};

/** How a session uses its device. */
export type DeviceUse = {
  device: Device;
  /** Nodes that stay on the host whatever the device has kernels for. */
  hostNodes: readonly string[];
  /** CUDA: the cudaStream_t that frames are put in; null elsewhere. */
  stream: bigint | null;
};

const WEBGPU_PREFIX = 'ep.webgpuexecutionprovider';

/**
 * Puts the provider of a device into session options; the CPU needs nothing.
 *
 * @throws OnnxRuntimeError if the provider's own libraries or hardware are missing.
 */
export function appendExecutionProvider(
  api: CApi,
  sessionOptions: bigint,
  { device, hostNodes, stream }: DeviceUse,
): void {
  switch (device) {
    case 'cpu':
      return;
    case 'cuda': {
      // Its kernel is the only one of our graphs that calls cuDNN, 900 MB of libraries.
      const key = 'optimization.disable_specified_optimizers';
      api.call('AddSessionConfigEntry', sessionOptions, key, 'BiasSoftmaxFusion');
      const options = api.create('CreateCUDAProviderOptions');
      try {
        const { keys, values, count } = keysAndValues(CUDA_OPTIONS);
        api.call('UpdateCUDAProviderOptions', options, keys.addresses, values.addresses, count);
        const name = 'user_compute_stream';
        api.call('UpdateCUDAProviderOptionsWithValue', options, name, stream);
        api.call('SessionOptionsAppendExecutionProvider_CUDA_V2', sessionOptions, options);
      } finally {
        api.call('ReleaseCUDAProviderOptions', options);
      }
      return;
    }
    case 'webgpu': {
      // Ids of 64 bits then stay on the device; it computes with their lower half, which is all of them.
      api.call('AddSessionConfigEntry', sessionOptions, `${WEBGPU_PREFIX}.enableInt64`, '1');
      const { keys, values, count } = keysAndValues(
        hostNodes.length === 0 ? {} : { forceCpuNodeNames: hostNodes.join('\n') },
      );
      api.call(
        'SessionOptionsAppendExecutionProvider',
        sessionOptions,
        'WebGPU',
        keys.addresses,
        values.addresses,
        count,
      );
    }
  }
}

type CStrings = { addresses: BigUint64Array; buffers: Uint8Array[] };

/** Valid while the result is referenced. */
function keysAndValues(options: Readonly<Record<string, string>>): {
  keys: CStrings;
  values: CStrings;
  count: number;
} {
  const keys = cStrings(Object.keys(options));
  return { keys, values: cStrings(Object.values(options)), count: keys.addresses.length };
}

/** C strings and their addresses; valid while the result is referenced. */
function cStrings(texts: string[]): CStrings {
  const buffers = texts.map((text) => new TextEncoder().encode(`${text}\0`));
  return { addresses: BigUint64Array.from(buffers, (buffer) => addressOf(buffer)), buffers };
}
