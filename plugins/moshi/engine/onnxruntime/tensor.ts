/** Memory that graphs read and write, always [rows, ...rowShape]. */
import { strict as assert } from 'node:assert';

import { TENSOR_TYPE_BYTES, type TensorType } from '../../../../models/manifest.ts';

/** ONNXTensorElementDataType of onnxruntime_c_api.h. */
export const ELEMENT_TYPES: Record<TensorType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int64: 7,
  bool: 9,
  float16: 10,
};

/** Layout of a tensor whose first axis is the rows. */
export type RowLayout = { type: TensorType; rowShape: number[] };

export function rowLength(layout: RowLayout): number {
  return layout.rowShape.reduce((product, size) => product * size, 1);
}

export function rowBytes(layout: RowLayout): number {
  return rowLength(layout) * TENSOR_TYPE_BYTES[layout.type];
}

/** Memory of this process that two threads and ONNX Runtime see at once; zeros at first. */
export class HostTensor {
  readonly layout: RowLayout;
  readonly rows: number;
  readonly buffer: SharedArrayBuffer;

  constructor(layout: RowLayout, rows: number, buffer?: SharedArrayBuffer) {
    this.layout = layout;
    this.rows = rows;
    this.buffer = buffer ?? new SharedArrayBuffer(rowBytes(layout) * rows);
    assert(this.buffer.byteLength === rowBytes(layout) * rows, 'buffer does not fit the layout');
  }

  float32(): Float32Array {
    assert(this.layout.type === 'float32', `tensor is ${this.layout.type}, not float32`);
    return new Float32Array(this.buffer);
  }

  int64(): BigInt64Array {
    assert(this.layout.type === 'int64', `tensor is ${this.layout.type}, not int64`);
    return new BigInt64Array(this.buffer);
  }

  bool(): Uint8Array {
    assert(this.layout.type === 'bool', `tensor is ${this.layout.type}, not bool`);
    return new Uint8Array(this.buffer);
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.buffer);
  }

  /** Copies row `from` into row `to` of a tensor of the same layout, which may be this one. */
  copyRow(from: number, target: HostTensor, to: number): void {
    const bytes = rowBytes(this.layout);
    target.bytes().set(this.bytes().subarray(from * bytes, (from + 1) * bytes), to * bytes);
  }
}
