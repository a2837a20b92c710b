/**
 * Weights that several sessions use, on an NVIDIA device once: each session would else copy all of them
 * there for itself, and there is one for every batch size.
 */
import type { WeightDescription } from '../../../../models/manifest.ts';
import type { CApi } from './c-api.ts';
import type { CudaRuntime } from './cuda-runtime.ts';
import { WeightFiles, weightValue } from './weight-files.ts';

export class DeviceWeights {
  readonly #api: CApi;
  readonly #cuda: CudaRuntime;
  readonly #deviceInfo: bigint;
  /** By folder and name. */
  readonly #values = new Map<string, bigint>();
  readonly #addresses: bigint[] = [];

  constructor(api: CApi, cuda: CudaRuntime) {
    this.#api = api;
    this.#cuda = cuda;
    this.#deviceInfo = api.create('CreateMemoryInfo', 'Cuda', 0, 0, 0);
  }

  /**
   * Makes a session that is about to be created use the weights that lie on the device, and brings
   * there what does not yet. What it must read of the files itself, it reads as ever.
   *
   * @throws OnnxRuntimeError when the device has no room.
   */
  addTo(sessionOptions: bigint, directory: string, weights: readonly WeightDescription[]): void {
    const files = new WeightFiles();
    try {
      for (const weight of weights) {
        // Others are only worked out of; that happens on the host.
        const value = weight.isReadAsStored ? this.#value(directory, weight, files) : null;
        if (value !== null) {
          this.#api.call('AddInitializer', sessionOptions, weight.name, value);
        }
      }
    } finally {
      this.#cuda.finish();
      files.close();
    }
  }

  /** Only after the sessions. */
  dispose(): void {
    for (const value of this.#values.values()) {
      this.#api.call('ReleaseValue', value);
    }
    for (const address of this.#addresses) {
      this.#cuda.free(address);
    }
    this.#api.call('ReleaseMemoryInfo', this.#deviceInfo);
  }

  #value(directory: string, weight: WeightDescription, files: WeightFiles): bigint | null {
    const key = `${directory}\0${weight.name}`;
    const known = this.#values.get(key);
    if (known !== undefined) {
      return known;
    }
    const source = files.locate(directory, weight);
    if (source === null) {
      return null;
    }
    // In a file tensors may begin at any byte; kernels read many numbers at once.
    const address = this.#cuda.allocate(weight.lengthBytes);
    this.#addresses.push(address);
    this.#cuda.enqueueCopy(address, source, weight.lengthBytes);
    const value = weightValue(this.#api, this.#deviceInfo, address, weight);
    this.#values.set(key, value);
    return value;
  }
}
