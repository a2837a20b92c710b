import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { availableInControlGroup, availableMemory } from './available-memory.ts';
import { deviceMemoryNeeds, refuseTooLittleMemory } from './memory-needs.ts';
import { openModelDirectory } from './model-directory.ts';
import { buildModel } from '../../../../models/build.ts';
import { rowBytes } from '../onnxruntime/tensor.ts';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'moshi-memory-'))));
afterAll(() => rmSync(folder, { recursive: true }));

const needs = { weightsBytes: 100e6, bytesPerConversation: 20e6, rows: 4 };

test('enough memory is enough', () => {
  expect(() => refuseTooLittleMemory(needs, 180e6)).not.toThrow();
});

test('too little is refused with what is needed, what there is, and how many would fit', () => {
  expect(() => refuseTooLittleMemory(needs, 150e6)).toThrow(
    'Not enough memory: 80 MB for 4 conversations (20 MB each) and 100 MB for weights and workspaces are needed, 150 MB are free. Set MOSHI_ENGINE_SLOTS to at most 2.',
  );
  expect(() => refuseTooLittleMemory(needs, 110e6)).toThrow(/Choose a smaller model/);
  expect(() => refuseTooLittleMemory({ ...needs, weightsBytes: 0 }, 79e6)).toThrow(
    /\(20 MB each\) are needed, 79 MB are free\. Set MOSHI_ENGINE_SLOTS to at most 3/,
  );
});

test('on a device graphs share what they read as it is stored, tables included, and nothing else', async () => {
  const built = await buildModel({
    checkpoint: 'demo',
    outputDirectory: join(folder, 'built'),
    batches: [1, 2],
    kinds: ['frame'],
    device: 'cuda',
    precision: 'bf16',
  });
  const model = await openModelDirectory(built.directory);
  const [one, two] = [1, 2].map((slots) => deviceMemoryNeeds(model, 'frame', slots));
  const [small, large] = built.manifest.graphs;
  const ofOwn = two!.weightsBytes - one!.weightsBytes;
  expect(Math.abs(ofOwn - large!.foldedBytes)).toBeLessThan(0.05 * small!.weightBytes);
  expect(one!.weightsBytes - 1e9).toBeGreaterThan(small!.weightBytes);
  expect(two!.rows).toBe(2);
  expect(two!.bytesPerConversation).toBe(
    large!.states.reduce((sum, state) => sum + rowBytes(state), 0),
  );
});

test('a container leaves its limit less what is used, pages of files not counted', () => {
  writeFileSync(join(folder, 'memory.current'), '3000\n');
  writeFileSync(join(folder, 'memory.stat'), 'anon 1800\nfile 1200\nfile_mapped 5\n');
  writeFileSync(join(folder, 'memory.max'), '10000\n');
  expect(availableInControlGroup(folder)).toBe(8_200);
  writeFileSync(join(folder, 'memory.max'), 'max\n');
  expect(availableInControlGroup(folder)).toBe(Number.POSITIVE_INFINITY);
  expect(availableInControlGroup('/nowhere')).toBe(Number.POSITIVE_INFINITY);
  expect(availableMemory()).toBeGreaterThan(1e6);
});
