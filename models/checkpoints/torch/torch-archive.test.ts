import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pickledCall, torchArchive, zipArchive } from '../../test-support/write-torch-archive.ts';
import { readRecordedVoice } from './recorded-voice.ts';
import { decodeTorchArchive, readTorchArchive } from './torch-archive.ts';

const RECORDED = join(import.meta.dirname, 'recorded/voice.pt');
const MODEL = { width: 4, streams: 17 };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-torch-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function write(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'voice.pt');
  await writeFile(path, bytes);
  return path;
}

test('reads what torch.save wrote', async () => {
  const { embeddings, ring } = await readRecordedVoice(RECORDED, MODEL);
  expect(embeddings.map((row) => [...row])).toEqual([
    [0, 0.125, 0.25, 0.375],
    [0.5, 0.625, 0.75, 0.875],
    [1, 1.125, 1.25, 1.375],
  ]);
  expect(ring).toHaveLength(17);
  expect(ring[16]).toEqual([64, 65, 66, 67]);
});

test('reads what the tests themselves write, in every type', () => {
  const tensors = decodeTorchArchive(
    torchArchive({
      float: { shape: [2, 2], storage: 'FloatStorage', values: [1.1, -2, 3e30, 0] },
      brain: { shape: [3], storage: 'BFloat16Storage', values: [1.00390625, -0.5, 3] },
      long: { shape: [1, 2], storage: 'LongStorage', values: [-1, 2 ** 40] },
    }),
  );
  expect([...tensors.get('float')!.values]).toEqual([Math.fround(1.1), -2, Math.fround(3e30), 0]);
  expect([...tensors.get('brain')!.values]).toEqual([1, -0.5, 3]);
  expect(tensors.get('long')).toEqual({ shape: [1, 2], values: Float64Array.of(-1, 2 ** 40) });
});

describe('executes nothing', () => {
  test.each([
    ['os', 'system', 'touch /tmp/harmed'],
    ['builtins', 'eval', '1 + 1'],
    ['torch', 'load', 'http://somewhere'],
  ])('of a file that calls %s.%s', async (module, name, parameter) => {
    const path = await write(zipArchive(pickledCall(module, name, parameter)));
    await expect(readTorchArchive(path)).rejects.toThrow(
      `it asks to execute "${module}.${name}" (byte 2), which no recorded voice needs; nothing was executed`,
    );
  });

  test('where the name is put together on the stack', async () => {
    const path = await write(zipArchive([0x8c, 2, 0x6f, 0x73, 0x8c, 1, 0x78, 0x93, 0x2e]));
    await expect(readTorchArchive(path)).rejects.toThrow('it asks to execute "os.x"');
  });
});

describe('refuses', () => {
  const voice = (): Promise<Buffer> => readFile(RECORDED);

  test('a truncated file, wherever it ends', async () => {
    const bytes = await voice();
    for (const length of [0, 1, 30, 200, 1_000, bytes.length - 1]) {
      const path = await write(bytes.subarray(0, length));
      await expect(readTorchArchive(path)).rejects.toThrow('voice.pt as a file of torch.save');
    }
  });

  test('a file that is not there', async () => {
    await expect(readTorchArchive(join(folder, 'none.pt'))).rejects.toThrow('Cannot read');
  });

  test.each([
    ['that ends early', [0x80, 2, 0x7d], 'it is truncated: it ends at byte 3'],
    ['with a foreign opcode', [0x80, 2, 0x69], 'opcode 0x69 at byte 2 is not one that torch.save'],
    ['that takes from an empty stack', [0x2e], 'it takes more from its stack than there is'],
    ['with a lost mark', [0x28, 0x2e], 'it takes a mark for a value'],
    ['that closes what is not open', [0x74], 'it closes a list that was not opened'],
    ['that recalls nothing', [0x68, 0], 'byte 0 recalls what was not memorised'],
    ['that is a number', [0x4b, 1, 0x2e], 'it holds no dictionary'],
    ['with a key alone', [0x7d, 0x28, 0x4e, 0x75], 'byte 3 has a key without a value'],
    ['with an endless integer', [0x8a, 9], 'an integer of 9 bytes'],
  ])('a pickle %s', (_, pickle, message) => {
    expect(() => decodeTorchArchive(zipArchive(pickle))).toThrow(message);
  });

  test('an archive without a pickle', () => {
    const bytes = zipSync({ 'voice/readme': new Uint8Array(3) });
    expect(() => decodeTorchArchive(bytes)).toThrow('the archive holds no data.pkl');
  });

  test('a tensor that reaches beyond its numbers', () => {
    const tensor = { shape: [2, 3], storage: 'LongStorage', values: [1, 2] } as const;
    expect(() => decodeTorchArchive(torchArchive({ tensor }))).toThrow(
      'tensor tensor [2, 3] does not fit its 16 bytes',
    );
  });

  test.each([
    [
      { width: 8, streams: 17 },
      'embeddings has shape [3, 1, 1, 4], this model reads [rows, 1, 1, 8]',
    ],
    [{ width: 4, streams: 9 }, 'cache has shape [1, 17, 4], this model has [1, 9, columns]'],
  ])('a voice of another model: %j', async (model, message) => {
    await expect(readRecordedVoice(RECORDED, model)).rejects.toThrow(message);
  });

  test('a file of other tensors', async () => {
    const path = await write(
      torchArchive({ w: { shape: [1], storage: 'FloatStorage', values: [1] } }),
    );
    await expect(readRecordedVoice(path, MODEL)).rejects.toThrow(
      'a voice holds the tensors embeddings and cache, found w.',
    );
  });
});
