/** What a graph remembers from step to step, for all rows, on its device. */
import { addressOf, type CApi } from './c-api.ts';
import type { CudaRuntime } from './cuda-runtime.ts';
import { HostTensor, rowBytes, type RowLayout } from './tensor.ts';
import { wrapMemory } from './tensor-value.ts';

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

  /** Whether steps fill it bit by bit, and read nothing that they have not filled. */
  get isRing(): boolean {
    return (this.layout.slotsPerStep ?? null) !== null;
  }

  /** Makes one row zeros. */
  zeroRow(row: number): void {
    if (this.host !== null) {
      this.host.zeroRow(row);
      return;
    }
    const bytes = rowBytes(this.layout);
    const cuda = this.#device?.cuda ?? null;
    if (cuda !== null) {
      cuda.enqueueZeros(this.#address() + BigInt(row * bytes), bytes);
      return;
    }
    // A handle instead of an address: the whole tensor goes through the host, but only at a reset.
    const all = this.#read();
    all.zeroRow(row);
    this.#copy(all, this.#window(0, this.rows), 'to-device');
  }

  /**
   * Copies row `from` into row `to` of a state of the same layout and runtime, which may be this
   * one. Stays on the device wherever rows have addresses.
   * @param steps - That have written to `from`: what they cannot have written is not copied in this
   * process's memory; elsewhere the whole row is one fast call.
   */
  copyRow(from: number, target: StateTensor, to: number, steps: number): void {
    if (this.host !== null && target.host !== null) {
      this.host.copyRow(from, target.host, to, steps);
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
