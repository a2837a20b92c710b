import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writeSafetensors } from '../test-support/write-safetensors.ts';
import { rowBlock, SafetensorsFile } from './safetensors.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-safetensors-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const TENSORS = {
  a: { shape: [4, 3], data: Array.from({ length: 12 }, (_, i) => i) },
  b: { shape: [2], data: [100, 200] },
};

function written(name: string, header: Record<string, unknown> = {}): string {
  const path = join(directory, `${name}.safetensors`);
  writeSafetensors(path, TENSORS, header);
  return path;
}

function withHeader(name: string, length: bigint, text: string): string {
  const path = join(directory, `${name}.safetensors`);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length);
  writeFileSync(path, Buffer.concat([prefix, Buffer.from(text)]));
  return path;
}

test('finds the bytes of a tensor and of a block of its rows', async () => {
  const path = written('good');
  const file = await SafetensorsFile.open(path);
  const block = rowBlock(file.tensor('a', [4, 3]), 1, 2);
  expect(block).toMatchObject({ type: 'float32', shape: [2, 3], file: 'good.safetensors' });
  const bytes = readFileSync(path);
  const values = Array.from({ length: 6 }, (_, i) => bytes.readFloatLE(block.offsetBytes + 4 * i));
  expect(values).toEqual([3, 4, 5, 6, 7, 8]);
  expect(block.lengthBytes).toBe(24);
  expect(() => rowBlock(file.find('a'), 3, 2)).toThrow('tensor a has 4 rows, rows 3 to 4');
});

test('names a tensor that is missing, has another shape, or a type that cannot be used', async () => {
  const path = join(directory, 'types.safetensors');
  writeSafetensors(path, { ...TENSORS, c: { shape: [2], data: [1, 2], type: 'I8' } });
  const file = await SafetensorsFile.open(path);
  expect(() => file.find('d')).toThrow('there is no tensor d');
  expect(() => file.tensor('a', [3, 4])).toThrow(
    'tensor a has shape [4, 3], the configuration asks for [3, 4]',
  );
  expect(() => file.find('c')).toThrow('tensor c has type I8; supported are F32, F16, BF16, I64');
});

test('refuses files that are cut short', async () => {
  const path = written('cut');
  truncateSync(path, readFileSync(path).length - 1);
  await expect(SafetensorsFile.open(path)).rejects.toThrow(/truncated: tensor b ends at byte 56/);
  truncateSync(path, 20);
  await expect(SafetensorsFile.open(path)).rejects.toThrow(/truncated: header ends at byte/);
  truncateSync(path, 3);
  await expect(SafetensorsFile.open(path)).rejects.toThrow(/3 bytes, shorter than its length/);
});

test('refuses files that are something else', async () => {
  const huge = withHeader('huge', 1n << 60n, '{}');
  await expect(SafetensorsFile.open(huge)).rejects.toThrow(/header of \d+ bytes, allowed are/);
  const noJson = withHeader('no-json', 5n, 'hello');
  await expect(SafetensorsFile.open(noJson)).rejects.toThrow(/its header is not JSON/);
  const list = withHeader('list', 2n, '[]');
  await expect(SafetensorsFile.open(list)).rejects.toThrow(/malformed safetensors header/);
  const missing = join(directory, 'missing.safetensors');
  await expect(SafetensorsFile.open(missing)).rejects.toThrow(`Cannot open ${missing}`);
});

test.each([
  { problem: 'overlap', entry: { dtype: 'F32', shape: [2], data_offsets: [44, 52] } },
  { problem: 'needs 8 bytes', entry: { dtype: 'F32', shape: [2], data_offsets: [48, 52] } },
  { problem: 'ends at byte 1008', entry: { dtype: 'F32', shape: [2], data_offsets: [1000, 1008] } },
  { problem: 'before it starts', entry: { dtype: 'F32', shape: [2], data_offsets: [56, 48] } },
  { problem: 'unknown type X9', entry: { dtype: 'X9', shape: [2], data_offsets: [48, 56] } },
  { problem: 'malformed', entry: { dtype: 'F32', shape: [-2], data_offsets: [48, 56] } },
])('refuses a header with a wrong entry: $problem', async ({ problem, entry }) => {
  const path = written(`wrong-${problem.replaceAll(' ', '-')}`, { b: entry });
  await expect(SafetensorsFile.open(path)).rejects.toThrow(problem);
});
