/**
 * Reads the index of a safetensors file: an 8-byte little-endian header length, a JSON header, then
 * the tensors' bytes. Only the header is read; graphs point at the bytes where they are.
 *
 * Format: huggingface/safetensors, README.md#format.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { DATA_TYPES, elementCount, type DataType } from '../onnx/data-types.ts';
import { CheckpointError } from './checkpoint-error.ts';
import { PLAIN_TYPES, type StoredTensor, type TensorContainer } from './layouts/stored-tensors.ts';
import { checkShape, type WeightSource } from './weight-source.ts';

/** The reference implementation refuses longer headers too. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

/** Bits of every type the format knows, so that sizes are checked also where we cannot use them. */
const ELEMENT_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

const size = z.number().int().nonnegative();
const headerSchema = z.record(
  z.string(),
  z.object({ dtype: z.string(), shape: z.array(size), data_offsets: z.tuple([size, size]) }),
);
type HeaderEntry = z.infer<typeof headerSchema>[string];

/** Where the bytes of a tensor, or of a block of its rows, lie. */
export type TensorView = {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
  /** Name by which graphs refer to the file. */
  readonly file: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** What products with it are computed in; float32 if absent. */
  readonly computedIn?: HalfType;
};

/** Element types of 16 bits. */
export type HalfType = 'bfloat16' | 'float16';

export class SafetensorsFile implements TensorContainer, WeightSource {
  readonly path: string;
  /** Name by which graphs refer to it, in whatever folder the build keeps the weights. */
  readonly fileName: string;
  readonly #entries: ReadonlyMap<string, HeaderEntry>;
  readonly #dataStartBytes: number;

  private constructor(
    path: string,
    fileName: string,
    entries: ReadonlyMap<string, HeaderEntry>,
    dataStartBytes: number,
  ) {
    this.path = path;
    this.fileName = fileName;
    this.#entries = entries;
    this.#dataStartBytes = dataStartBytes;
  }

  /**
   * @param path - Without links.
   * @throws CheckpointError when the file is missing, truncated or not safetensors.
   */
  static async open(path: string, fileName: string = basename(path)): Promise<SafetensorsFile> {
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new CheckpointError(`Cannot open ${path}.`, { cause });
    });
    try {
      const { size: fileBytes } = await file.stat();
      const { header, headerBytes } = await readHeader(file, path, fileBytes);
      const dataStartBytes = LENGTH_BYTES + headerBytes;
      checkLayout(path, header, fileBytes - dataStartBytes);
      return new SafetensorsFile(path, fileName, new Map(Object.entries(header)), dataStartBytes);
    } finally {
      await file.close();
    }
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  names(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * The tensor `name`, which must have exactly `shape`.
   * @throws CheckpointError naming the file, the tensor, and what was found instead.
   */
  tensor(name: string, shape: readonly number[]): TensorView {
    const view = this.find(name);
    checkShape(this.path, view, shape);
    return view;
  }

  matrix(name: string, shape: readonly [number, number]): TensorView {
    return this.tensor(name, shape);
  }

  /** The tensor `name` of whatever shape. */
  find(name: string): TensorView {
    const { type: storedType, shape, offsetBytes, lengthBytes } = this.stored(name);
    const type = PLAIN_TYPES[storedType];
    if (type === undefined) {
      throw new CheckpointError(
        `${this.path}: tensor ${name} has type ${storedType}; ` +
          `supported are ${Object.keys(PLAIN_TYPES).join(', ')}.`,
      );
    }
    return { name, type, shape, file: this.fileName, offsetBytes, lengthBytes };
  }

  /** The tensor `name` of whatever shape and type. */
  stored(name: string): StoredTensor {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      throw new CheckpointError(`${this.path}: there is no tensor ${name}.`);
    }
    const [start, end] = entry.data_offsets;
    return {
      name,
      type: entry.dtype,
      shape: entry.shape,
      offsetBytes: this.#dataStartBytes + start,
      lengthBytes: end - start,
    };
  }
}

/** Rows [start, start + count) of the first axis: still one contiguous piece of the file. */
export function rowBlock(view: TensorView, start: number, count: number): TensorView {
  const [rows = 0, ...rest] = view.shape;
  if (start < 0 || count < 1 || start + count > rows) {
    throw new CheckpointError(
      `tensor ${view.name} has ${rows} rows, rows ${start} to ${start + count - 1} do not exist.`,
    );
  }
  const rowBytes = elementCount(rest) * DATA_TYPES[view.type].bytes;
  return {
    ...view,
    shape: [count, ...rest],
    offsetBytes: view.offsetBytes + start * rowBytes,
    lengthBytes: count * rowBytes,
  };
}

async function readHeader(
  file: FileHandle,
  path: string,
  fileBytes: number,
): Promise<{ header: Record<string, HeaderEntry>; headerBytes: number }> {
  if (fileBytes < LENGTH_BYTES) {
    throw new CheckpointError(
      `${path}: not a safetensors file (${fileBytes} bytes, shorter than its length field).`,
    );
  }
  const length = await readBytes(file, path, 0, LENGTH_BYTES);
  const headerBytes = Number(length.readBigUInt64LE());
  const fits = headerBytes <= MAX_HEADER_BYTES && LENGTH_BYTES + headerBytes <= fileBytes;
  if (!fits && isPickle(length)) {
    throw new CheckpointError(
      `${path}: not a safetensors file but one of pickle or torch.save, which is not read because ` +
        'reading it can run any program: take the safetensors file of the same checkpoint.',
    );
  }
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new CheckpointError(
      `${path}: not a safetensors file (header of ${headerBytes} bytes, allowed are ${MAX_HEADER_BYTES}).`,
    );
  }
  if (LENGTH_BYTES + headerBytes > fileBytes) {
    throw new CheckpointError(
      `${path}: truncated: header ends at byte ${LENGTH_BYTES + headerBytes}, the file at ${fileBytes}.`,
    );
  }
  const text = (await readBytes(file, path, LENGTH_BYTES, headerBytes)).toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${path}: not a safetensors file (its header is not JSON).`, {
      cause,
    });
  }
  if (typeof json === 'object' && json !== null && '__metadata__' in json) {
    delete json.__metadata__;
  }
  const parsed = headerSchema.safeParse(json);
  if (!parsed.success) {
    throw new CheckpointError(
      `${path}: malformed safetensors header: ${z.prettifyError(parsed.error)}`,
    );
  }
  return { header: parsed.data, headerBytes };
}

/** A ZIP archive, as torch.save writes, or a pickle of protocol 2 to 5. */
function isPickle(start: Buffer): boolean {
  const [first = 0, second = 0] = start;
  return (
    start.toString('latin1', 0, 4) === 'PK\x03\x04' ||
    (first === 0x80 && second >= 2 && second <= 5)
  );
}

async function readBytes(
  file: FileHandle,
  path: string,
  position: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) throw new CheckpointError(`${path}: truncated while reading its header.`);
    filled += bytesRead;
  }
  return buffer;
}

/** Every tensor lies inside the file, has the size its shape asks for, and shares no byte. */
function checkLayout(
  path: string,
  header: Readonly<Record<string, HeaderEntry>>,
  dataBytes: number,
): void {
  const entries = Object.entries(header);
  for (const [name, entry] of entries) {
    const [start, end] = entry.data_offsets;
    if (start > end) {
      throw new CheckpointError(
        `${path}: tensor ${name} ends (${end}) before it starts (${start}).`,
      );
    }
    if (end > dataBytes) {
      throw new CheckpointError(
        `${path}: truncated: tensor ${name} ends at byte ${end} of the data, which has ${dataBytes}.`,
      );
    }
    const bits = ELEMENT_BITS[entry.dtype];
    if (bits === undefined) {
      throw new CheckpointError(`${path}: tensor ${name} has the unknown type ${entry.dtype}.`);
    }
    const expected = Math.ceil((elementCount(entry.shape) * bits) / 8);
    if (end - start !== expected) {
      throw new CheckpointError(
        `${path}: tensor ${name} (${entry.dtype} [${entry.shape.join(', ')}]) needs ${expected} bytes, ` +
          `its offsets hold ${end - start}.`,
      );
    }
  }
  const filled = entries
    .filter(([, entry]) => entry.data_offsets[1] > entry.data_offsets[0])
    .sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
  let previous: { name: string; end: number } | null = null;
  for (const [name, entry] of filled) {
    if (previous !== null && entry.data_offsets[0] < previous.end) {
      throw new CheckpointError(`${path}: tensors ${previous.name} and ${name} overlap.`);
    }
    previous = { name, end: entry.data_offsets[1] };
  }
}
