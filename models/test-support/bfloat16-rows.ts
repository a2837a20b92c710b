/** Reads a small table of a checkpoint whole. */
import { readFile } from 'node:fs/promises';
import type { SafetensorsFile } from '../checkpoints/safetensors.ts';

/** Rows of a bfloat16 matrix [rows, columns]. */
export async function readBfloat16Rows(
  file: SafetensorsFile,
  name: string,
): Promise<Float32Array[]> {
  const { shape, offsetBytes, lengthBytes } = file.find(name);
  const [rows = 0, columns = 0] = shape;
  const bytes = (await readFile(file.path)).subarray(offsetBytes, offsetBytes + lengthBytes);
  return Array.from({ length: rows }, (_, row) =>
    Float32Array.from({ length: columns }, (__, column) => {
      const bits = bytes.readUInt16LE(2 * (row * columns + column));
      const wide = Buffer.alloc(4);
      wide.writeUInt16LE(bits, 2);
      return wide.readFloatLE();
    }),
  );
}
