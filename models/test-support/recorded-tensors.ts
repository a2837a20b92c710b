/** Reads recorded tensors whole; for fixtures of some megabytes. */
import { readFileSync } from 'node:fs';

export type RecordedTensor = {
  readonly type: 'F32' | 'I64';
  readonly shape: readonly number[];
  readonly data: Float64Array;
};

/** Tensors of a safetensors file by name, float32 and int64 only, as numbers. */
export function readRecordedTensors(path: string): Record<string, RecordedTensor> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name, { dtype }]) => name !== '__metadata__' && ['F32', 'I64'].includes(dtype))
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [start, end],
          },
        ]) => {
          const copy = Uint8Array.from(
            bytes.subarray(8 + headerBytes + start, 8 + headerBytes + end),
          );
          const data =
            dtype === 'I64'
              ? Float64Array.from(new BigInt64Array(copy.buffer), Number)
              : Float64Array.from(new Float32Array(copy.buffer));
          return [name, { type: dtype === 'I64' ? dtype : 'F32', shape, data }];
        },
      ),
  );
}

/** The end of `values`, as long as a recording of which only the end was kept. */
export function endLike(values: readonly number[], { data }: RecordedTensor): number[] {
  return values.slice(-data.length);
}

/** Normalised mean square error: Σ(a - e)² / Σe². */
export function normalizedError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} values compared with ${expected.length}`);
  }
  let error = 0;
  let power = 0;
  for (let i = 0; i < expected.length; i += 1) {
    error += ((actual[i] ?? NaN) - (expected[i] ?? NaN)) ** 2;
    power += (expected[i] ?? NaN) ** 2;
  }
  return error / power;
}

/** Largest absolute difference; NaN if anything is. */
export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} values compared with ${expected.length}`);
  }
  let largest = 0;
  for (let i = 0; i < expected.length; i += 1) {
    const difference = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN));
    if (Number.isNaN(difference)) return NaN;
    largest = Math.max(largest, difference);
  }
  return largest;
}
