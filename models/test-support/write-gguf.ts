/** Writes GGUF files for tests. */
import { writeFileSync } from 'node:fs';

export type GgufTensor = {
  readonly shape: readonly number[];
  /** ggml's number of the type, and the bytes in it. */
  readonly type: number;
  readonly bytes: Buffer;
};

const ALIGNMENT = 32;

export function writeGguf(path: string, tensors: Readonly<Record<string, GgufTensor>>): void {
  const pad = (length: number): Buffer =>
    Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
  const data: Buffer[] = [];
  const index: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, type, bytes }] of Object.entries(tensors)) {
    const dimensions = [...shape].reverse().map((size) => uint64(size));
    index.push(text(name), uint32(shape.length), ...dimensions, uint32(type), uint64(offset));
    data.push(bytes, pad(bytes.length));
    offset += bytes.length + pad(bytes.length).length;
  }
  // A string and an array of strings, so that readers must step over metadata.
  const metadata = [
    ...[text('general.name'), uint32(8), text('test')],
    ...[text('general.tags'), uint32(9), uint32(8), uint64(2), text('a'), text('bc')],
    ...[text('general.alignment'), uint32(4), uint32(ALIGNMENT)],
  ];
  const counts = [uint32(3), uint64(Object.keys(tensors).length), uint64(3)];
  const head = Buffer.concat([Buffer.from('GGUF'), ...counts, ...metadata, ...index]);
  writeFileSync(path, Buffer.concat([head, pad(head.length), ...data]));
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function uint64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

function text(value: string): Buffer {
  return Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);
}
