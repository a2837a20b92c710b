/** One loaded graph with its fixed inputs and outputs, so that a run copies nothing and moves no state. */
import { addressOf, readString, type CApi } from './c-api.ts';
import type { CudaRuntime } from './cuda-runtime.ts';
import { DEVICE_MEMORY, type Device } from './execution-provider.ts';
import type { RunTraffic } from './run-traffic.ts';
import { StagedTensors } from './staged-tensors.ts';
import type { StateTensor } from './state-tensor.ts';
import { rowBytes, type HostTensor } from './tensor.ts';
import { wrapMemory } from './tensor-value.ts';

/** Where a session's inputs and outputs are. */
export type SessionMemory = {
  device: Device;
  hostMemory: bigint;
  cuda: CudaRuntime | null;
  /** Of every run; null for the default. */
  runOptions: bigint | null;
};

/** At the end of a run, for all that was enqueued before. */
const RUN_WAITS = 1;

/** Of one direction, the first `batch` rows each. */
type Crossing = { name: string; tensor: HostTensor; batch: number };

export class GraphSession {
  readonly handle: bigint;
  readonly #api: CApi;
  readonly #binding: bigint;
  readonly #memory: SessionMemory;
  /** What an NVIDIA device gets before each run, and gives after it. */
  readonly #crossing: { inputs: Crossing[]; outputs: Crossing[] } = { inputs: [], outputs: [] };
  /** Once the first run has begun. */
  #staged: { inputs: StagedTensors; outputs: StagedTensors } | null = null;
  /** Other devices copy a host input when it is bound, so there it is bound again before each run. */
  readonly #rebindsInputs: boolean;
  readonly #hostInputs: { name: string; value: bigint }[] = [];
  /** Of each input and output that ONNX Runtime itself copies in every run. */
  readonly #copiedBytes: { inputs: number[]; outputs: number[] } = { inputs: [], outputs: [] };
  #runs = 0;
  readonly #values: bigint[] = [];
  /** Memory that ONNX Runtime holds addresses of. */
  readonly #keepAlive: unknown[] = [];

  constructor(api: CApi, handle: bigint, memory: SessionMemory) {
    this.handle = handle;
    this.#api = api;
    this.#memory = memory;
    this.#rebindsInputs = DEVICE_MEMORY[memory.device] !== null && memory.cuda === null;
    this.#binding = api.create('CreateIoBinding', handle);
  }

  /** Makes the first `batch` rows of a host tensor an input of every run. */
  bindInput(name: string, tensor: HostTensor, batch: number): void {
    if (this.#memory.cuda !== null) {
      this.#crossing.inputs.push({ name, tensor, batch });
      return;
    }
    const value = this.#wrap(tensor, batch);
    this.#api.call('BindInput', this.#binding, name, value);
    if (this.#rebindsInputs) {
      this.#hostInputs.push({ name, value });
      this.#copiedBytes.inputs.push(rowBytes(tensor.layout) * batch);
    }
  }

  /** Makes the first `batch` rows of a host tensor receive an output of every run. */
  bindOutput(name: string, tensor: HostTensor, batch: number): void {
    if (this.#memory.cuda !== null) {
      this.#crossing.outputs.push({ name, tensor, batch });
      return;
    }
    this.#api.call('BindOutput', this.#binding, name, this.#wrap(tensor, batch));
    if (this.#rebindsInputs) {
      this.#copiedBytes.outputs.push(rowBytes(tensor.layout) * batch);
    }
  }

  /** Gives inputs and outputs their places on the device. */
  #stage(cuda: CudaRuntime): { inputs: StagedTensors; outputs: StagedTensors } {
    const place = (crossing: Crossing[], bind: 'BindInput' | 'BindOutput'): StagedTensors => {
      const staged = new StagedTensors(cuda, crossing);
      const info = this.#api.create('CreateMemoryInfo', 'Cuda', 0, 0, 0);
      for (const [index, { name, tensor, batch }] of crossing.entries()) {
        const address = staged.addresses[index] ?? 0n;
        const value = wrapMemory(this.#api, info, { address, layout: tensor.layout, rows: batch });
        this.#values.push(value);
        this.#api.call(bind, this.#binding, name, value);
      }
      this.#api.call('ReleaseMemoryInfo', info);
      return staged;
    };
    return {
      inputs: place(this.#crossing.inputs, 'BindInput'),
      outputs: place(this.#crossing.outputs, 'BindOutput'),
    };
  }

  /** Binds one state as input and as output: runs update it in place. */
  bindState(names: { input: string; output: string }, state: StateTensor, batch: number): void {
    const value = state.firstRows(batch);
    this.#values.push(value);
    this.#keepAlive.push(state);
    this.#api.call('BindInput', this.#binding, names.input, value);
    this.#api.call('BindOutput', this.#binding, names.output, value);
    if (state.host !== null && this.#rebindsInputs) {
      this.#hostInputs.push({ name: names.input, value });
    }
  }

  /** Counted from what `run` goes through; of an NVIDIA device after the first run. */
  get traffic(): RunTraffic {
    const staged = this.#staged;
    const toDevice = staged === null ? this.#copiedBytes.inputs : [staged.inputs.bytes];
    const toHost = staged === null ? this.#copiedBytes.outputs : [staged.outputs.bytes];
    const isOwnMemory = DEVICE_MEMORY[this.#memory.device] === null;
    return {
      toDevice: { copies: toDevice.length, bytes: sum(toDevice) },
      toHost: { copies: toHost.length, bytes: sum(toHost) },
      hostWaits: isOwnMemory ? 0 : RUN_WAITS + (staged === null ? toHost.length : 0),
    };
  }

  /** Calls of `run` so far. */
  get runs(): number {
    return this.#runs;
  }

  /**
   * After everything is bound, before the first run whose states count: on an NVIDIA device ONNX Runtime
   * makes two steps of the first run, one to take memory and one to record.
   *
   * @returns Whether it ran: states are then as after some steps.
   */
  prepare(): boolean {
    const records = this.#memory.cuda !== null;
    if (records) {
      this.#step();
    }
    return records;
  }

  /** Computes one step from the bound inputs into the bound outputs. */
  run(): void {
    this.#runs += 1;
    this.#step();
  }

  #step(): void {
    for (const { name, value } of this.#hostInputs) {
      this.#api.call('BindInput', this.#binding, name, value);
    }
    const { cuda, runOptions } = this.#memory;
    if (cuda === null) {
      this.#api.call('RunWithBinding', this.handle, runOptions, this.#binding);
    } else {
      this.#staged ??= this.#stage(cuda);
      this.#staged.inputs.send();
      this.#api.call('RunWithBinding', this.handle, runOptions, this.#binding);
      this.#staged.outputs.receive();
      cuda.finish();
      this.#staged.outputs.arrive();
    }
    if (this.#rebindsInputs) {
      this.#api.call('SynchronizeBoundOutputs', this.#binding);
    }
  }

  /** Ends the profile that the session was opened with. @returns its file: JSON of trace events. */
  endProfile(): string {
    const allocator = this.#api.create('GetAllocatorWithDefaultOptions');
    const name = this.#api.create('SessionEndProfiling', this.handle, allocator);
    const file = readString(name);
    this.#api.call('AllocatorFree', allocator, name);
    return file;
  }

  disposeBinding(): void {
    this.#api.call('ReleaseIoBinding', this.#binding);
    for (const value of this.#values) {
      this.#api.call('ReleaseValue', value);
    }
    this.#staged?.inputs.dispose();
    this.#staged?.outputs.dispose();
  }

  dispose(): void {
    this.#api.call('ReleaseSession', this.handle);
  }

  #wrap(tensor: HostTensor, batch: number): bigint {
    const value = wrapMemory(this.#api, this.#memory.hostMemory, {
      address: addressOf(tensor.bytes()),
      layout: tensor.layout,
      rows: batch,
    });
    this.#values.push(value);
    this.#keepAlive.push(tensor);
    return value;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
