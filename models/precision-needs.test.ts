import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writeFixture } from './fixtures/fixture.ts';
import { precisionNeeds } from './precision-needs.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-needs-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const checkpoint = join(directory, 'tiny-moshi');
await writeFixture('moshi', checkpoint);

test('where float32 is little, nothing else is counted', async () => {
  const needs = await precisionNeeds({ checkpoint }, () => true);
  expect(needs.map(({ precision }) => precision)).toEqual(['f32']);
});

test('16 bits take the place of 32 where a device computes in them', async () => {
  const count = (options: Partial<Parameters<typeof precisionNeeds>[0]>) =>
    precisionNeeds({ checkpoint, ...options }, () => false);
  const onCpu = await count({});
  const onCuda = await count({ device: 'cuda', halves: ['bf16', 'f16'] });
  const onOlder = await count({ device: 'cuda', halves: ['f16'] });
  const onWebgpu = await count({ device: 'webgpu', halves: ['f16'] });
  expect(onCpu.map(({ precision }) => precision)).toEqual(['f32', 'q8', 'q4', 'q4-128']);
  expect(onCuda.map(({ precision }) => precision)).toEqual(['bf16', 'q8', 'q4']);
  expect(onOlder.map(({ precision }) => precision)).toEqual(['f16', 'q8', 'q4']);
  expect(onWebgpu.map(({ precision }) => precision)).toEqual(['f16', 'q8', 'q4']);
  const [plain, half] = [onCpu[0]!, onCuda[0]!];
  // The codec, a good part of so small a model, stays as it is.
  expect(half.weightBytes).toBeLessThan(0.6 * plain.weightBytes);
  expect(half.bytesPerConversation).toBeLessThan(plain.bytesPerConversation);
  expect(onOlder[0]).toEqual({ ...half, precision: 'f16' });
});

test('what somebody has asked for is counted alone', async () => {
  const options = { checkpoint, device: 'cuda', precision: 'q4' } as const;
  const needs = await precisionNeeds(options, () => true);
  expect(needs.map(({ precision }) => precision)).toEqual(['q4']);
});
