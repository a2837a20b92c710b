/**
 * ONNX Runtime as this engine needs it: sessions whose inputs and outputs are bound to fixed memory
 * once, so that a run copies nothing and moves no state.
 *
 * All calls block and must come from one thread. Whoever opens a runtime disposes of it.
 */
import type { WeightDescription } from '../../../../models/manifest.ts';
import { CApi, readStrings } from './c-api.ts';
import { openCudaLibraries } from './cuda-libraries.ts';
import type { CudaRuntime } from './cuda-runtime.ts';
import {
  appendExecutionProvider,
  DEVICE_MEMORY,
  PROVIDER_NAMES,
  type Device,
} from './execution-provider.ts';
import { DeviceWeights } from './device-weights.ts';
import { GraphSession } from './graph-session.ts';
import { locateLibrary, openLibrary } from './library.ts';
import { OnnxRuntimeError } from './onnx-runtime-error.ts';
import { SharedWeights } from './shared-weights.ts';
import { StateTensor } from './state-tensor.ts';
import {
  pinCallingThread,
  requireProcessors,
  threadAffinities,
  type OperatorThreads,
} from './thread-pinning.ts';
import { ELEMENT_TYPES, HostTensor, type RowLayout } from './tensor.ts';

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
