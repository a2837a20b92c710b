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
export type RowLayout = {
  type: TensorType;
  rowShape: number[];
  /** As in the manifest's states; anything else has no slots. */
  slotsPerStep?: number | null;
};

export function rowLength(layout: RowLayout): number {
  return layout.rowShape.reduce((product, size) => product * size, 1);
}

export function rowBytes(layout: RowLayout): number {
  return rowLength(layout) * TENSOR_TYPE_BYTES[layout.type];
}

/** Bytes of a row: `count` pieces of `bytes`, each `strideBytes` after the one before. */
type RowPieces = { count: number; bytes: number; strideBytes: number };

/**
 * What of a row may have been written in so many steps, and in one that was computed and did not count;
 * the rest is as it was.
 */
function writtenPieces(layout: RowLayout, steps: number): RowPieces {
  const [heads = 1, slots = 1] = layout.rowShape;
  const wholeBytes = rowBytes(layout);
  const perStep = layout.slotsPerStep ?? null;
  if (perStep === null || (steps + 1) * perStep >= slots) {
    return { count: 1, bytes: wholeBytes, strideBytes: wholeBytes };
  }
  const strideBytes = wholeBytes / heads;
  return { count: heads, bytes: ((steps + 1) * perStep * strideBytes) / slots, strideBytes };
}

/** Small enough to stay in a processor's cache. */
const ZEROS = new Uint8Array(1 << 17);

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

  /**
   * Copies row `from` into row `to` of a tensor of the same layout, which may be this one.
   * @param steps - That have written to it; what they cannot have written stays as it is.
   */
  copyRow(from: number, target: HostTensor, to: number, steps = Infinity): void {
    const [source, destination] = [this.bytes(), target.bytes()];
    const rowLengthBytes = rowBytes(this.layout);
    const { count, bytes, strideBytes } = writtenPieces(this.layout, steps);
    for (let piece = 0; piece < count; piece += 1) {
      const start = from * rowLengthBytes + piece * strideBytes;
      destination.set(
        source.subarray(start, start + bytes),
        to * rowLengthBytes + piece * strideBytes,
      );
    }
  }

  /** Makes one row zeros. V8 fills memory that threads share byte by byte, and copies it much faster. */
  zeroRow(row: number): void {
    const all = this.bytes();
    const bytes = rowBytes(this.layout);
    for (let written = 0; written < bytes; written += ZEROS.length) {
      all.set(ZEROS.subarray(0, bytes - written), row * bytes + written);
    }
  }
}
