/**
 * The functions of `OrtApi` that this engine uses, by their position in the table.
 *
 * Positions and signatures: onnxruntime_c_api.h, API version 29. Handles are addresses (bigint).
 */
import koffi, { type TypeObject } from 'koffi';

import { OnnxRuntimeError } from './onnx-runtime-error.ts';

type Signature = { slot: number; parameters: string[]; returns?: 'void' };

// ORTCHAR_T is UTF-16 on Windows only.
const PATH = process.platform === 'win32' ? 'str16' : 'str';

/** Functions that return a status unless they say `void`. */
const SIGNATURES = {
  CreateEnv: { slot: 3, parameters: ['int', 'str', 'void *'] },
  CreateSession: { slot: 7, parameters: ['void *', PATH, 'void *', 'void *'] },
  CreateSessionOptions: { slot: 10, parameters: ['void *'] },
  EnableProfiling: { slot: 14, parameters: ['void *', PATH] },
  SetSessionLogSeverityLevel: { slot: 22, parameters: ['void *', 'int'] },
  SetIntraOpNumThreads: { slot: 24, parameters: ['void *', 'int'] },
  CreateRunOptions: { slot: 39, parameters: ['void *'] },
  CreateTensorAsOrtValue: {
    slot: 48,
    parameters: ['void *', 'void *', 'size_t', 'int', 'void *'],
  },
  CreateTensorWithDataAsOrtValue: {
    slot: 49,
    parameters: ['void *', 'void *', 'size_t', 'void *', 'size_t', 'int', 'void *'],
  },
  GetTensorMutableData: { slot: 51, parameters: ['void *', 'void *'] },
  CreateMemoryInfo: { slot: 68, parameters: ['str', 'int', 'int', 'int', 'void *'] },
  AllocatorFree: { slot: 76, parameters: ['void *', 'void *'] },
  GetAllocatorWithDefaultOptions: { slot: 78, parameters: ['void *'] },
  ReleaseEnv: { slot: 92, parameters: ['void *'], returns: 'void' },
  ReleaseMemoryInfo: { slot: 94, parameters: ['void *'], returns: 'void' },
  ReleaseSession: { slot: 95, parameters: ['void *'], returns: 'void' },
  ReleaseValue: { slot: 96, parameters: ['void *'], returns: 'void' },
  ReleaseRunOptions: { slot: 97, parameters: ['void *'], returns: 'void' },
  ReleaseSessionOptions: { slot: 100, parameters: ['void *'], returns: 'void' },
  SessionEndProfiling: { slot: 110, parameters: ['void *', 'void *', 'void *'] },
  GetAvailableProviders: { slot: 125, parameters: ['void *', 'void *'] },
  ReleaseAvailableProviders: { slot: 126, parameters: ['void *', 'int'] },
  AddSessionConfigEntry: { slot: 130, parameters: ['void *', 'str', 'str'] },
  CreateAllocator: { slot: 131, parameters: ['void *', 'void *', 'void *'] },
  ReleaseAllocator: { slot: 132, parameters: ['void *'], returns: 'void' },
  RunWithBinding: { slot: 133, parameters: ['void *', 'void *', 'void *'] },
  CreateIoBinding: { slot: 134, parameters: ['void *', 'void *'] },
  ReleaseIoBinding: { slot: 135, parameters: ['void *'], returns: 'void' },
  BindInput: { slot: 136, parameters: ['void *', 'str', 'void *'] },
  BindOutput: { slot: 137, parameters: ['void *', 'str', 'void *'] },
  AddInitializer: { slot: 150, parameters: ['void *', 'str', 'void *'] },
  AddRunConfigEntry: { slot: 165, parameters: ['void *', 'str', 'str'] },
  CreatePrepackedWeightsContainer: { slot: 166, parameters: ['void *'] },
  ReleasePrepackedWeightsContainer: { slot: 167, parameters: ['void *'], returns: 'void' },
  CreateSessionWithPrepackedWeightsContainer: {
    slot: 168,
    parameters: ['void *', PATH, 'void *', 'void *', 'void *'],
  },
  SynchronizeBoundOutputs: { slot: 203, parameters: ['void *'] },
  SessionOptionsAppendExecutionProvider_CUDA_V2: { slot: 204, parameters: ['void *', 'void *'] },
  CreateCUDAProviderOptions: { slot: 205, parameters: ['void *'] },
  UpdateCUDAProviderOptions: { slot: 206, parameters: ['void *', 'void *', 'void *', 'size_t'] },
  ReleaseCUDAProviderOptions: { slot: 208, parameters: ['void *'], returns: 'void' },
  SessionOptionsAppendExecutionProvider: {
    slot: 216,
    parameters: ['void *', 'str', 'void *', 'void *', 'size_t'],
  },
  UpdateCUDAProviderOptionsWithValue: { slot: 263, parameters: ['void *', 'str', 'void *'] },
  CopyTensors: { slot: 386, parameters: ['void *', 'void *', 'void *', 'void *', 'size_t'] },
} satisfies Record<string, Signature>;

export type FunctionName = keyof typeof SIGNATURES;

/** An address, a number, a string, or memory of ours that outlives the call. */
type Argument = bigint | number | string | null | BigInt64Array | BigUint64Array | Int32Array;

const ADDRESS_BYTES = 8;

/** Calls functions of one opened library; statuses become exceptions. */
export class CApi {
  readonly #functions = new Map<
    FunctionName,
    { address: bigint; prototype: TypeObject; returnsStatus: boolean }
  >();
  readonly #errorCode: (status: bigint) => number;
  readonly #errorMessage: (status: bigint) => string;
  readonly #releaseStatus: (status: bigint) => void;

  /** @param table - Address of `OrtApi`. */
  constructor(table: bigint) {
    const addressOf = (slot: number): bigint =>
      koffi.decode(table, slot * ADDRESS_BYTES, 'void *') as bigint;
    for (const [name, signature] of Object.entries(SIGNATURES) as [FunctionName, Signature][]) {
      const returnsStatus = signature.returns !== 'void';
      this.#functions.set(name, {
        address: addressOf(signature.slot),
        prototype: koffi.proto(returnsStatus ? 'void *' : 'void', signature.parameters),
        returnsStatus,
      });
    }
    const bind = (slot: number, result: string): ((status: bigint) => unknown) => {
      const prototype = koffi.proto(result, ['void *']);
      const address = addressOf(slot);
      return (status) => koffi.call(address, prototype, status) as unknown;
    };
    this.#errorCode = bind(1, 'int') as (status: bigint) => number;
    this.#errorMessage = bind(2, 'str') as (status: bigint) => string;
    this.#releaseStatus = bind(93, 'void');
  }

  /** @throws OnnxRuntimeError if the call answers with a status. */
  call(name: FunctionName, ...parameters: Argument[]): void {
    const entry = this.#functions.get(name);
    if (entry === undefined) {
      throw new Error(`No function ${name} is bound.`);
    }
    const status = koffi.call(entry.address, entry.prototype, ...parameters) as
      bigint | null | undefined;
    if (entry.returnsStatus && status !== null && status !== undefined) {
      const code = this.#errorCode(status);
      const message = this.#errorMessage(status);
      this.#releaseStatus(status);
      throw OnnxRuntimeError.failed(name, code, message);
    }
  }

  /** Calls a function whose last parameter is the address that receives its result. */
  create(name: FunctionName, ...parameters: Argument[]): bigint {
    const result = new BigUint64Array(1);
    this.call(name, ...parameters, result);
    return result[0] ?? 0n;
  }
}

/** Address of the first byte of an array, for as long as the array lives. */
export function addressOf(array: ArrayBufferView): bigint {
  return koffi.address(array);
}

/** Reads the C string at an address. */
export function readString(address: bigint): string {
  return koffi.decode(address, 'char', -1) as string;
}

/** Reads `count` C strings from an array of addresses. */
export function readStrings(address: bigint, count: number): string[] {
  return koffi.decode(address, koffi.array('str', count)) as string[];
}
