/** Where graphs run: what each execution provider needs from the C API. */
import { addressOf, type CApi } from './c-api.ts';

import type { Device } from '../../../../models/manifest.ts';

export type { Device } from '../../../../models/manifest.ts';

/** Memory of a device as ONNX Runtime names it; states live there. Null: memory of this process. */
export type DeviceMemory = {
  name: string;
  /** True if an address inside an allocation is an address too, so that one row can be written. */
  rowsAddressable: boolean;
  /** True if states of integers live in this process, where the nodes that compute them run. */
  keepsIntegersOnHost: boolean;
};

export const DEVICE_MEMORY: Record<Device, DeviceMemory | null> = {
  cpu: null,
  cuda: { name: 'Cuda', rowsAddressable: true, keepsIntegersOnHost: false },
  webgpu: { name: 'WebGPU_Buffer', rowsAddressable: false, keepsIntegersOnHost: true },
};

export const PROVIDER_NAMES: Record<Device, string> = {
  cpu: 'CPUExecutionProvider',
  cuda: 'CUDAExecutionProvider',
  webgpu: 'WebGpuExecutionProvider',
};

/** TF32 would round the mantissas of float32 products to 10 bits; tokens then differ from the CPU's. */
const CUDA_OPTIONS = { use_tf32: '0', cudnn_conv_algo_search: 'HEURISTIC' };

const WEBGPU_PREFIX = 'ep.webgpuexecutionprovider';

/**
 * Puts the provider of a device into session options; the CPU needs nothing.
 *
 * @throws OnnxRuntimeError if the provider's own libraries or hardware are missing.
 */
export function appendExecutionProvider(
  api: CApi,
  sessionOptions: bigint,
  { device, hostNodes }: { device: Device; hostNodes: readonly string[] },
): void {
  switch (device) {
    case 'cpu':
      return;
    case 'cuda': {
      const options = api.create('CreateCUDAProviderOptions');
      try {
        const { keys, values, count } = keysAndValues(CUDA_OPTIONS);
        api.call('UpdateCUDAProviderOptions', options, keys.addresses, values.addresses, count);
        api.call('SessionOptionsAppendExecutionProvider_CUDA_V2', sessionOptions, options);
      } finally {
        api.call('ReleaseCUDAProviderOptions', options);
      }
      return;
    }
    case 'webgpu': {
      // Ids of 64 bits then stay on the device; it computes with their lower half, which is all of them.
      api.call('AddSessionConfigEntry', sessionOptions, `${WEBGPU_PREFIX}.enableInt64`, '1');
      const { keys, values, count } = keysAndValues({ forceCpuNodeNames: hostNodes.join('\n') });
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
