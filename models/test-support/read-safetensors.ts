/** Reads safetensors files whole, to compare or to change what they hold; for fixtures. */
import { readFileSync } from 'node:fs';
import type { WrittenTensor } from './write-safetensors.ts';

/** All tensors by name, with the type they are stored in. */
export function readTensors(path: string): Record<string, WrittenTensor> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: NonNullable<WrittenTensor['type']>; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return Object.fromEntries(
    tensors.map(([name, { dtype, shape, data_offsets: offsets }]) => {
      const [start, end] = offsets.map((offset) => 8 + headerBytes + offset) as [number, number];
      return [name, { shape, type: dtype, data: decode(bytes.subarray(start, end), dtype) }];
    }),
  );
}

function decode(bytes: Buffer, type: NonNullable<WrittenTensor['type']>): ArrayLike<number> {
  const { buffer } = Uint8Array.from(bytes); // aligned
  switch (type) {
    case 'F32':
      return new Float32Array(buffer);
    case 'U32':
      return new Uint32Array(buffer);
    case 'I8':
      return new Int8Array(buffer);
    case 'U8':
      return new Uint8Array(buffer);
    case 'I64':
      return Float64Array.from(new BigInt64Array(buffer), Number);
    case 'BF16':
      return new Float32Array(
        Uint32Array.from(new Uint16Array(buffer), (half) => half << 16).buffer,
      );
  }
}
