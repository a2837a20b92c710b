/**
 * An NVIDIA device's memory, and the one stream in which everything happens there, by NVIDIA's runtime
 * (libcudart). ONNX Runtime's own CopyTensors knows no CUDA.
 *
 * What is enqueued is done in that order, frames of ONNX Runtime among it, and nobody waits before `finish`.
 */
import type { LibraryHandle } from 'koffi';

import { OnnxRuntimeError } from './onnx-runtime-error.ts';

/** cudaMemcpyDefault: the addresses themselves say whose they are. */
const COPY_BY_ADDRESS = 4;
/** cudaErrorMemoryAllocation. */
const OUT_OF_MEMORY = 2;
/** cudaStreamNonBlocking: the stream does not wait for others' work, nor they for its. */
const ON_ITS_OWN = 1;

export class CudaRuntime {
  /** The stream, a cudaStream_t. */
  readonly stream: bigint;
  readonly #call: (name: keyof typeof PARAMETERS, ...values: unknown[]) => void;

  /**
   * @param library - libcudart, opened.
   * @throws OnnxRuntimeError if the device gives no stream.
   */
  constructor(library: LibraryHandle) {
    const functions = Object.fromEntries(
      Object.entries(PARAMETERS).map(([name, types]) => [name, library.func(name, 'int', types)]),
    );
    this.#call = (name, ...values) => {
      const code = (functions[name] as (...values: unknown[]) => number)(...values);
      if (code !== 0) {
        const reason = code === OUT_OF_MEMORY ? 'out of memory' : 'the CUDA runtime refused it';
        throw OnnxRuntimeError.failed(name, code, reason);
      }
    };
    this.stream = this.#create('cudaStreamCreateWithFlags', ON_ITS_OWN);
  }

  /** Bytes that nobody has taken. @throws OnnxRuntimeError. */
  freeBytes(): number {
    const [left, all] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#call('cudaMemGetInfo', left, all);
    return Number(left[0]);
  }

  /** Memory of the device. @returns its address. @throws OnnxRuntimeError, also where there is no room. */
  allocate(bytes: number): bigint {
    return this.#create('cudaMalloc', bytes);
  }

  /** @throws OnnxRuntimeError. */
  free(address: bigint): void {
    this.#call('cudaFree', address);
  }

  /** Page-locked memory of this process, which the device reads and writes by itself. As `allocate`. */
  allocateHost(bytes: number): bigint {
    return this.#create('cudaMallocHost', bytes);
  }

  /** @throws OnnxRuntimeError. */
  freeHost(address: bigint): void {
    this.#call('cudaFreeHost', address);
  }

  /**
   * Either address may be the host's: then `finish` before its memory is used again.
   *
   * @throws OnnxRuntimeError.
   */
  enqueueCopy(to: bigint, from: bigint, bytes: number): void {
    this.#call('cudaMemcpyAsync', to, from, bytes, COPY_BY_ADDRESS, this.stream);
  }

  /** Zeros memory of the device. @throws OnnxRuntimeError. */
  enqueueZeros(address: bigint, bytes: number): void {
    this.#call('cudaMemsetAsync', address, 0, bytes, this.stream);
  }

  /** Blocks until all that was enqueued is done. @throws OnnxRuntimeError if any of it failed. */
  finish(): void {
    this.#call('cudaStreamSynchronize', this.stream);
  }

  dispose(): void {
    this.#call('cudaStreamDestroy', this.stream);
  }

  /** Calls a function whose first parameter receives an address. */
  #create(name: keyof typeof PARAMETERS, size: number): bigint {
    const result = new BigUint64Array(1);
    this.#call(name, result, size);
    return result[0] ?? 0n;
  }
}

/** Of functions that return a cudaError_t. */
const PARAMETERS = {
  cudaMalloc: ['void *', 'size_t'],
  cudaFree: ['void *'],
  cudaMallocHost: ['void *', 'size_t'],
  cudaFreeHost: ['void *'],
  cudaMemGetInfo: ['void *', 'void *'],
  cudaMemcpyAsync: ['void *', 'void *', 'size_t', 'int', 'void *'],
  cudaMemsetAsync: ['void *', 'int', 'size_t', 'void *'],
  cudaStreamCreateWithFlags: ['void *', 'unsigned int'],
  cudaStreamSynchronize: ['void *'],
  cudaStreamDestroy: ['void *'],
};
