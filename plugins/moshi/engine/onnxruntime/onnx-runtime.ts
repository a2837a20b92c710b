/**
 * ONNX Runtime as this engine needs it: sessions whose inputs and outputs are bound to fixed memory
 * once, so that a run copies nothing and moves no state.
 *
 * All calls block and must come from one thread. Whoever opens a runtime disposes of it.
 */
import type { WeightDescription } from '../../../../models/manifest.ts';
import { addressOf, CApi, readString, readStrings } from './c-api.ts';
import { openCudaLibraries } from './cuda-libraries.ts';
import type { CudaRuntime } from './cuda-runtime.ts';
import {
  appendExecutionProvider,
  DEVICE_MEMORY,
  PROVIDER_NAMES,
  type Device,
} from './execution-provider.ts';
import { DeviceWeights } from './device-weights.ts';
import { locateLibrary, openLibrary } from './library.ts';
import { OnnxRuntimeError } from './onnx-runtime-error.ts';
import type { RunTraffic } from './run-traffic.ts';
import { SharedWeights } from './shared-weights.ts';
import { StagedTensors } from './staged-tensors.ts';
import {
  pinCallingThread,
  requireProcessors,
  threadAffinities,
  type OperatorThreads,
} from './thread-pinning.ts';
import { ELEMENT_TYPES, HostTensor, rowBytes, type RowLayout } from './tensor.ts';

const LOG_LEVEL_ERROR = 3;

export type SessionOptions = OperatorThreads & {
  /** ONNX file. */
  path: string;
  /** Folder that the graph's external weights are relative to. */
  weightsDirectory: string;
  /** Those of the graph's weights that other sessions of this runtime may use too. */
  weights?: readonly WeightDescription[];
  /** Nodes that stay on the host whatever the device has kernels for. */
  hostNodes?: readonly string[];
  /** Times every operator of every run, for `endProfile`; files begin with this path. Slows runs down. */
  profile?: string | undefined;
};

export class OnnxRuntime {
  readonly version: string;
  readonly device: Device;
  readonly #api: CApi;
  readonly #environment: bigint;
  readonly #hostMemory: bigint;
  readonly #cuda: CudaRuntime | null;
  /** With which a run is only enqueued; null where it is done when it returns. */
  readonly #runOptions: bigint | null;
  readonly #sessions: GraphSession[] = [];
  readonly #states: StateTensor[] = [];
  #sharedWeights: SharedWeights | null = null;
  #deviceWeights: DeviceWeights | null = null;
  #deviceMemory: { info: bigint; allocator: bigint } | null = null;

  /** @throws OnnxRuntimeError if the library or the device's provider cannot be used. */
  constructor(device: Device) {
    const nodeLibrary = locateLibrary();
    const cuda = device === 'cuda' ? openCudaLibraries(nodeLibrary) : null;
    const { table, version } = openLibrary(cuda?.library ?? nodeLibrary);
    this.#cuda = cuda?.cuda ?? null;
    this.version = version;
    this.device = device;
    this.#api = new CApi(table);
    const providers = this.availableProviders();
    if (!providers.includes(PROVIDER_NAMES[device])) {
      throw OnnxRuntimeError.missingProvider(device, providers);
    }
    this.#environment = this.#api.create('CreateEnv', LOG_LEVEL_ERROR, 'moshi');
    this.#hostMemory = this.#api.create('CreateMemoryInfo', 'Cpu', 0, 0, 0);
    this.#runOptions = this.#cuda === null ? null : this.#api.create('CreateRunOptions');
    if (this.#runOptions !== null) {
      const key = 'disable_synchronize_execution_providers';
      this.#api.call('AddRunConfigEntry', this.#runOptions, key, '1');
    }
  }

  /** Providers that this build of the library knows by name; their own libraries may be missing. */
  availableProviders(): string[] {
    const names = new BigUint64Array(1);
    const count = new Int32Array(1);
    this.#api.call('GetAvailableProviders', names, count);
    const result = readStrings(names[0] ?? 0n, count[0] ?? 0);
    this.#api.call('ReleaseAvailableProviders', names[0] ?? 0n, count[0] ?? 0);
    return result;
  }

  /** Bytes of the device that are free; null where the device has no memory of its own, or hides it. */
  freeDeviceBytes(): number | null {
    return this.#cuda?.freeBytes() ?? null;
  }

  /**
   * Loads a graph. Takes from milliseconds to minutes. Where processors are given, the calling thread,
   * from which the graph will run, stays on the first of them.
   *
   * @throws OnnxRuntimeError if the file, its weights, the provider or a processor cannot be used.
   */
  openSession({
    path,
    weightsDirectory,
    weights = [],
    hostNodes = [],
    threads,
    processors,
    profile,
  }: SessionOptions): GraphSession {
    if (processors !== undefined) {
      requireProcessors(processors);
    }
    const options = this.#api.create('CreateSessionOptions');
    try {
      this.#api.call('SetIntraOpNumThreads', options, threads);
      this.#api.call('SetSessionLogSeverityLevel', options, LOG_LEVEL_ERROR);
      if (profile !== undefined) {
        this.#api.call('EnableProfiling', options, profile);
      }
      const configuration = {
        'session.model_external_initializers_file_folder_path': weightsDirectory,
        // Hundreds of small operators follow one another within a frame: waiting threads spin. Between
        // frames they would burn a core each while everybody is silent: the end of a run stops them.
        'session.intra_op.allow_spinning': '1',
        'session.force_spinning_stop': '1',
        // Where other programs want the cores too, the one waited for may not be running at all.
        'session.intra_op.spin_duration_us': '50',
        ...(processors !== undefined &&
          threads > 1 && { 'session.intra_op_thread_affinities': threadAffinities(processors) }),
      };
      for (const [key, value] of Object.entries(configuration)) {
        this.#api.call('AddSessionConfigEntry', options, key, value);
      }
      try {
        const stream = this.#cuda?.stream ?? null;
        appendExecutionProvider(this.#api, options, { device: this.device, hostNodes, stream });
      } catch (error) {
        throw OnnxRuntimeError.missingProvider(this.device, this.availableProviders(), error);
      }
      const handle = this.#createSession(path, weightsDirectory, weights, options);
      const session = new GraphSession(this.#api, handle, {
        device: this.device,
        hostMemory: this.#hostMemory,
        cuda: this.#cuda,
        runOptions: this.#runOptions,
      });
      this.#sessions.push(session);
      if (processors?.[0] !== undefined) {
        pinCallingThread(processors[0]);
      }
      return session;
    } finally {
      this.#api.call('ReleaseSessionOptions', options);
    }
  }

  #createSession(
    path: string,
    weightsDirectory: string,
    weights: readonly WeightDescription[],
    options: bigint,
  ): bigint {
    // Devices copy weights into memory of their own.
    if (DEVICE_MEMORY[this.device] !== null) {
      if (this.#cuda !== null) {
        this.#deviceWeights ??= new DeviceWeights(this.#api, this.#cuda);
        this.#deviceWeights.addTo(options, weightsDirectory, weights);
      }
      return this.#api.create('CreateSession', this.#environment, path, options);
    }
    this.#sharedWeights ??= new SharedWeights(this.#api, this.#hostMemory);
    this.#sharedWeights.addTo(options, weightsDirectory, weights);
    const handle = this.#api.create(
      'CreateSessionWithPrepackedWeightsContainer',
      this.#environment,
      path,
      options,
      this.#sharedWeights.container,
    );
    this.#sharedWeights.loaded();
    return handle;
  }

  /**
   * Allocates [rows, ...rowShape] zeros on the device.
   *
   * @param session - A session of this runtime; its allocator is used where the device is not the CPU.
   */
  createState(layout: RowLayout, rows: number, session: GraphSession): StateTensor {
    const state = this.#createState(layout, rows, session);
    this.#states.push(state);
    return state;
  }

  #createState(layout: RowLayout, rows: number, session: GraphSession): StateTensor {
    const memory = DEVICE_MEMORY[this.device];
    if (memory === null || (memory.keepsIntegersOnHost && layout.type === 'int64')) {
      const host = new HostTensor(layout, rows);
      return new StateTensor(this.#api, this.#hostMemory, layout, rows, host, null);
    }
    this.#deviceMemory ??= this.#openDeviceMemory(memory.name, session.handle);
    const { info, allocator } = this.#deviceMemory;
    const shape = BigInt64Array.from([rows, ...layout.rowShape], BigInt);
    const type = ELEMENT_TYPES[layout.type];
    const value = this.#api.create('CreateTensorAsOrtValue', allocator, shape, shape.length, type);
    const state = new StateTensor(this.#api, info, layout, rows, null, {
      value,
      environment: this.#environment,
      hostMemory: this.#hostMemory,
      cuda: this.#cuda,
    });
    state.zero();
    return state;
  }

  #openDeviceMemory(name: string, session: bigint): { info: bigint; allocator: bigint } {
    const info = this.#api.create('CreateMemoryInfo', name, 0, 0, 0);
    return { info, allocator: this.#api.create('CreateAllocator', session, info) };
  }

  /** Frees everything that came from this runtime; nothing of it may be used afterwards. */
  dispose(): void {
    for (const session of this.#sessions) {
      session.disposeBinding();
    }
    for (const state of this.#states) {
      state.dispose();
    }
    if (this.#deviceMemory !== null) {
      this.#api.call('ReleaseAllocator', this.#deviceMemory.allocator);
      this.#api.call('ReleaseMemoryInfo', this.#deviceMemory.info);
    }
    for (const session of this.#sessions) {
      session.dispose();
    }
    this.#sharedWeights?.dispose();
    this.#deviceWeights?.dispose();
    if (this.#runOptions !== null) {
      this.#api.call('ReleaseRunOptions', this.#runOptions);
    }
    this.#cuda?.dispose();
    this.#api.call('ReleaseMemoryInfo', this.#hostMemory);
    this.#api.call('ReleaseEnv', this.#environment);
  }
}

/** Where a session's inputs and outputs are. */
type SessionMemory = {
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

/** One loaded graph with its fixed inputs and outputs. */
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
    const there = DEVICE_MEMORY[memory.device];
    this.#rebindsInputs = there !== null && !there.stagesTensors;
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

/** A state outside this process's memory, and what copying to and from it takes. */
type DeviceState = {
  value: bigint;
  environment: bigint;
  hostMemory: bigint;
  /** Null where memory has handles instead of addresses: then only whole tensors can be copied. */
  cuda: CudaRuntime | null;
};

/** Memory of one state for all rows, on the device. */
export class StateTensor {
  readonly layout: RowLayout;
  readonly rows: number;
  readonly #api: CApi;
  readonly #memory: bigint;
  /** All rows where they live in this process, null on another device. */
  readonly host: HostTensor | null;
  readonly #device: DeviceState | null;

  constructor(
    api: CApi,
    memory: bigint,
    layout: RowLayout,
    rows: number,
    host: HostTensor | null,
    device: DeviceState | null,
  ) {
    this.#api = api;
    this.#memory = memory;
    this.layout = layout;
    this.rows = rows;
    this.host = host;
    this.#device = device;
  }

  /** A tensor [batch, ...rowShape] over the same memory; the caller releases it. */
  firstRows(batch: number): bigint {
    return this.#window(0, batch);
  }

  /** Makes all rows as good as new. */
  zero(): void {
    const cuda = this.#device?.cuda ?? null;
    if (this.host !== null) {
      this.host.bytes().fill(0);
    } else if (cuda !== null) {
      cuda.enqueueZeros(this.#address(), rowBytes(this.layout) * this.rows);
    } else {
      const zeros = new HostTensor(this.layout, this.rows);
      this.#copy(zeros, this.#window(0, this.rows), 'to-device');
    }
  }

  /** Makes one row as good as new. */
  zeroRow(row: number): void {
    const bytes = rowBytes(this.layout);
    if (this.host !== null) {
      this.host.bytes().fill(0, row * bytes, (row + 1) * bytes);
      return;
    }
    const cuda = this.#device?.cuda ?? null;
    if (cuda !== null) {
      cuda.enqueueZeros(this.#address() + BigInt(row * bytes), bytes);
      return;
    }
    // A handle instead of an address: the whole tensor goes through the host, but only at a reset.
    const all = this.#read();
    all.bytes().fill(0, row * bytes, (row + 1) * bytes);
    this.#copy(all, this.#window(0, this.rows), 'to-device');
  }

  /**
   * Copies row `from` into row `to` of a state of the same layout and runtime, which may be this
   * one. Stays on the device wherever rows have addresses.
   */
  copyRow(from: number, target: StateTensor, to: number): void {
    if (this.host !== null && target.host !== null) {
      this.host.copyRow(from, target.host, to);
      return;
    }
    const cuda = this.#device?.cuda ?? null;
    if (cuda !== null) {
      const bytes = rowBytes(this.layout);
      const source = this.#address() + BigInt(from * bytes);
      cuda.enqueueCopy(target.#address() + BigInt(to * bytes), source, bytes);
      return;
    }
    const theirs = target.#read();
    this.#read().copyRow(from, theirs, to);
    target.#copy(theirs, target.#window(0, target.rows), 'to-device');
  }

  dispose(): void {
    if (this.#device !== null) {
      this.#api.call('ReleaseValue', this.#device.value);
    }
  }

  #address(): bigint {
    return this.#device === null
      ? addressOf((this.host as HostTensor).bytes())
      : this.#api.create('GetTensorMutableData', this.#device.value);
  }

  #window(firstRow: number, rows: number): bigint {
    const address = this.#address() + BigInt(firstRow * rowBytes(this.layout));
    return wrapMemory(this.#api, this.#memory, { address, layout: this.layout, rows });
  }

  /** All rows, in memory of this process. */
  #read(): HostTensor {
    const all = new HostTensor(this.layout, this.rows);
    this.#copy(all, this.#window(0, this.rows), 'to-host');
    return all;
  }

  /** Copies between the host and a window of the device, and releases the window. */
  #copy(host: HostTensor, window: bigint, direction: 'to-device' | 'to-host'): void {
    if (this.#device === null) {
      return;
    }
    const hostValue = wrapMemory(this.#api, this.#device.hostMemory, {
      address: addressOf(host.bytes()),
      layout: host.layout,
      rows: host.rows,
    });
    if (direction === 'to-device') {
      this.#copyTensors(hostValue, window);
    } else {
      this.#copyTensors(window, hostValue);
    }
  }

  /** Copies one value into another, at least one of them on the device, and releases both. */
  #copyTensors(from: bigint, to: bigint): void {
    try {
      const [source, target] = [BigUint64Array.of(from), BigUint64Array.of(to)];
      this.#api.call('CopyTensors', this.#device?.environment ?? 0n, source, target, null, 1);
    } finally {
      this.#api.call('ReleaseValue', from);
      this.#api.call('ReleaseValue', to);
    }
  }
}

/** An OrtValue [rows, ...rowShape] over memory that it does not own. */
function wrapMemory(
  api: CApi,
  memory: bigint,
  { address, layout, rows }: { address: bigint; layout: RowLayout; rows: number },
): bigint {
  const shape = BigInt64Array.from([rows, ...layout.rowShape], BigInt);
  return api.create(
    'CreateTensorWithDataAsOrtValue',
    memory,
    address,
    rowBytes(layout) * rows,
    shape,
    shape.length,
    ELEMENT_TYPES[layout.type],
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
