/**
 * What crosses between the host and an NVIDIA device in one direction of every run: tensors side by side,
 * in page-locked memory here and in one block there, so that one copy carries all of them, and nobody
 * waits for it alone. On the device they stay where they are, as recorded graphs need it.
 */
import koffi from 'koffi';

import type { CudaRuntime } from './cuda-runtime.ts';
import { rowBytes, type HostTensor } from './tensor.ts';

/** Kernels read many numbers at once: as aligned as what cudaMalloc gives. */
const ALIGNMENT_BYTES = 256;

/** Of the runtime, what this needs. */
export type Copier = Pick<
  CudaRuntime,
  'allocate' | 'free' | 'allocateHost' | 'freeHost' | 'enqueueCopy'
>;

type Place = { tensor: Uint8Array; begin: number };

export class StagedTensors {
  /** Of the whole block, as much as is copied. */
  readonly bytes: number;
  readonly #cuda: Copier;
  readonly #places: readonly Place[];
  readonly #hostAddress: bigint;
  readonly #deviceAddress: bigint;
  readonly #host: Uint8Array;

  /**
   * @param tensors - Of each, the first `batch` rows cross.
   * @throws OnnxRuntimeError where there is no room.
   */
  constructor(cuda: Copier, tensors: readonly { tensor: HostTensor; batch: number }[]) {
    this.#cuda = cuda;
    let end = 0;
    this.#places = tensors.map(({ tensor, batch }) => {
      const begin = Math.ceil(end / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      const rows = tensor.bytes().subarray(0, rowBytes(tensor.layout) * batch);
      end = begin + rows.length;
      return { tensor: rows, begin };
    });
    this.bytes = end;
    this.#deviceAddress = cuda.allocate(end);
    this.#hostAddress = cuda.allocateHost(end);
    this.#host = new Uint8Array(koffi.view(this.#hostAddress, end));
  }

  /** Where each of the tensors lies on the device. */
  get addresses(): bigint[] {
    return this.#places.map(({ begin }) => this.#deviceAddress + BigInt(begin));
  }

  /** Orders the tensors to be copied to the device as they are now. The last ones must have got there. */
  send(): void {
    for (const { tensor, begin } of this.#places) {
      this.#host.set(tensor, begin);
    }
    this.#cuda.enqueueCopy(this.#deviceAddress, this.#hostAddress, this.bytes);
  }

  /** Orders a copy of what is on the device then; `arrive` after it is done. */
  receive(): void {
    this.#cuda.enqueueCopy(this.#hostAddress, this.#deviceAddress, this.bytes);
  }

  /** Hands what has been received out to the tensors. */
  arrive(): void {
    for (const { tensor, begin } of this.#places) {
      tensor.set(this.#host.subarray(begin, begin + tensor.length));
    }
  }

  dispose(): void {
    this.#cuda.free(this.#deviceAddress);
    this.#cuda.freeHost(this.#hostAddress);
  }
}
