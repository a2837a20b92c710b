/** Writes safetensors files for tests. */
import { writeFileSync } from 'node:fs';

export type WrittenTensor = {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
  /** How to store it; F32 if absent. */
  readonly type?: 'F32' | 'BF16' | 'I8' | 'U8' | 'U32' | 'I64';
};

/** @param header - What to merge into the header, to make it wrong. */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, WrittenTensor>>,
  header: Readonly<Record<string, unknown>> = {},
): void {
  const pieces: Buffer[] = [];
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const [name, { shape, data, type = 'F32' }] of Object.entries(tensors)) {
    const bytes = encode(data, type);
    entries[name] = { dtype: type, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    pieces.push(bytes);
  }
  const json = Buffer.from(JSON.stringify({ ...entries, ...header }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([length, json, ...pieces]));
}

function encode(data: ArrayLike<number>, type: NonNullable<WrittenTensor['type']>): Buffer {
  const floats = Float32Array.from(data);
  if (type === 'F32') return Buffer.from(floats.buffer);
  if (type === 'U32') return Buffer.from(Uint32Array.from(data).buffer);
  if (type === 'U8') return Buffer.from(Uint8Array.from(data).buffer);
  if (type === 'I64') return Buffer.from(BigInt64Array.from(data, BigInt).buffer);
  if (type === 'I8') return Buffer.from(Int8Array.from(data).buffer);
  // The upper half of a float32 is the bfloat16 below it.
  const bits = new Uint32Array(floats.buffer);
  return Buffer.from(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}
