/** Where graphs run: what each execution provider needs from the C API. */
import { addressOf, type CApi } from './c-api.ts';

export const DEVICES = ['cpu', 'cuda', 'webgpu'] as const;
export type Device = (typeof DEVICES)[number];

/** Memory of a device as ONNX Runtime names it; states live there. Null: memory of this process. */
export type DeviceMemory = {
  name: string;
  /** True if an address inside an allocation is an address too, so that one row can be written. */
  rowsAddressable: boolean;
};

export const DEVICE_MEMORY: Record<Device, DeviceMemory | null> = {
  cpu: null,
  cuda: { name: 'Cuda', rowsAddressable: true },
  webgpu: { name: 'WebGPU_Buffer', rowsAddressable: false },
};

export const PROVIDER_NAMES: Record<Device, string> = {
  cpu: 'CPUExecutionProvider',
  cuda: 'CUDAExecutionProvider',
  webgpu: 'WebGpuExecutionProvider',
};

/** TF32 would round the mantissas of float32 products to 10 bits; tokens then differ from the CPU's. */
const CUDA_OPTIONS = { use_tf32: '0', cudnn_conv_algo_search: 'HEURISTIC' };

/**
 * Puts the provider of a device into session options; the CPU needs nothing.
 *
 * @throws OnnxRuntimeError if the provider's own libraries or hardware are missing.
 */
export function appendExecutionProvider(api: CApi, sessionOptions: bigint, device: Device): void {
  switch (device) {
    case 'cpu':
      return;
    case 'cuda': {
      const options = api.create('CreateCUDAProviderOptions');
      try {
        const keys = cStrings(Object.keys(CUDA_OPTIONS));
        const values = cStrings(Object.values(CUDA_OPTIONS));
        api.call(
          'UpdateCUDAProviderOptions',
          options,
          keys.addresses,
          values.addresses,
          keys.addresses.length,
        );
        api.call('SessionOptionsAppendExecutionProvider_CUDA_V2', sessionOptions, options);
      } finally {
        api.call('ReleaseCUDAProviderOptions', options);
      }
      return;
    }
    case 'webgpu':
      api.call('SessionOptionsAppendExecutionProvider', sessionOptions, 'WebGPU', null, null, 0);
  }
}

/** C strings and their addresses; valid while the result is referenced. */
function cStrings(texts: string[]): { addresses: BigUint64Array; buffers: Uint8Array[] } {
  const buffers = texts.map((text) => new TextEncoder().encode(`${text}\0`));
  return { addresses: BigUint64Array.from(buffers, (buffer) => addressOf(buffer)), buffers };
}
