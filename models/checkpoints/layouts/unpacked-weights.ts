/**
 * Writes a quantised model's tensors out as a safetensors file of plain numbers, which graphs refer to.
 *
 * Unpacked matrices are float32: 8 bits times a scale of 8 or 11 significant bits is exact in it and in
 * neither half precision, whose rounding would be about as large as the quantisation itself (bfloat16)
 * or move logits by 1e-4 of their size (float16). On the CPU it costs no memory either, as graphs widen
 * their weights to float32 anyway. Plain tensors of the same file are copied as they are.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { DATA_TYPES, type DataType } from '../../onnx/data-types.ts';
import { CheckpointError } from '../checkpoint-error.ts';
import type { TensorView } from '../safetensors.ts';
import { TranslatedWeights, type WeightSource } from '../weight-source.ts';
import {
  plainBytes,
  PLAIN_TYPES,
  rowPiece,
  type Packing,
  type PresentedTensor,
} from './stored-tensors.ts';

/** Numbers that are unpacked at a time: bounds the memory whatever the size of a tensor. */
const CHUNK_ELEMENTS = 1 << 20;
const ALIGNMENT_BYTES = 64;

export class UnpackedWeights {
  /** Views of the file that `write` makes. */
  readonly source: WeightSource;
  readonly #path: string;
  readonly #header: Buffer;
  readonly #tensors: readonly PresentedTensor[];

  /** @param fileName - Name by which graphs refer to the file to be written. */
  constructor(path: string, fileName: string, layout: string, tensors: readonly PresentedTensor[]) {
    this.#path = path;
    // Float32 first: every tensor then starts at a multiple of its element's size.
    this.#tensors = [...tensors].sort((a, b) => elementBytes(b) - elementBytes(a));
    let end = 0;
    const places = this.#tensors.map(({ name, shape, stored, packing }) => {
      const storedType = packing === null ? stored.type : 'F32';
      const type = presentedType({ stored, packing });
      const start = end;
      end += plainBytes(type, shape);
      return { name, shape, storedType, type, start, end };
    });
    const entries = places.map(({ name, shape, storedType, start, end: stop }) => [
      name,
      { dtype: storedType, shape, data_offsets: [start, stop] },
    ]);
    this.#header = encodeHeader(JSON.stringify(Object.fromEntries(entries)));
    const views = places.map(({ name, shape, type, start, end: stop }): [string, TensorView] => [
      name,
      {
        name,
        type,
        shape,
        file: fileName,
        offsetBytes: this.#header.length + start,
        lengthBytes: stop - start,
      },
    ]);
    this.source = new TranslatedWeights(path, layout, views);
  }

  /** @throws CheckpointError when the checkpoint's file ends before a tensor does. */
  async write(target: string): Promise<void> {
    const input = await open(this.#path, 'r');
    try {
      const output = await open(target, 'wx');
      try {
        await output.writeFile(this.#header);
        for (const { shape, stored, packing } of this.#tensors) {
          if (packing !== null) await this.#copy(input, output, shape, packing);
          else {
            const how = { pieces: [rowPiece(stored)], decode: null };
            await this.#copy(input, output, stored.shape, how);
          }
        }
      } finally {
        await output.close();
      }
    } finally {
      await input.close();
    }
  }

  async #copy(
    input: FileHandle,
    output: FileHandle,
    [rows = 1, ...rest]: readonly number[],
    { pieces, decode }: Omit<Packing, 'decode'> & { decode: Packing['decode'] | null },
  ): Promise<void> {
    const columns = rest.reduce((product, size) => product * size, 1);
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK_ELEMENTS / columns));
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - row);
      const chunks: Buffer[] = [];
      for (const { offsetBytes, rowBytes } of pieces) {
        const start = offsetBytes + row * rowBytes;
        chunks.push(await this.#read(input, start, count * rowBytes));
      }
      const bytes =
        decode === null
          ? Buffer.concat(chunks)
          : Buffer.from(decode(chunks, count).buffer as ArrayBuffer);
      // writeFile on a handle goes on at the current position and writes everything.
      await output.writeFile(bytes);
    }
  }

  async #read(input: FileHandle, position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await input.read(buffer, 0, length, position);
    if (bytesRead !== length)
      throw new CheckpointError(`${this.#path}: truncated while being read.`);
    return buffer;
  }
}

function presentedType({ stored, packing }: Pick<PresentedTensor, 'stored' | 'packing'>): DataType {
  return (packing === null ? PLAIN_TYPES[stored.type] : null) ?? 'float32';
}

function elementBytes(tensor: PresentedTensor): number {
  return DATA_TYPES[presentedType(tensor)].bytes;
}

/** Length and JSON, padded with spaces so that the data starts aligned. */
function encodeHeader(json: string): Buffer {
  const text = Buffer.from(json);
  const total = Math.ceil((8 + text.length) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const header = Buffer.alloc(total, ' ');
  header.writeBigUInt64LE(BigInt(total - 8));
  text.copy(header, 8);
  return header;
}
