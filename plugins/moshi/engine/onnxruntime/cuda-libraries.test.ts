import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { openCudaLibraries, PROVIDER_FILES } from './cuda-libraries.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moshi-cuda-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a missing provider is named, with its folder and how to get it', () => {
  expect(() => openCudaLibraries('/node/libonnxruntime.so.1', folder)).toThrow(
    `libonnxruntime_providers_shared.so is not in ${folder}. Run "npm run moshi -- cuda install"`,
  );
});

test('a library that does not load is named in one line, with who brings it', async () => {
  for (const file of [...PROVIDER_FILES, 'libcudart.so.13']) {
    await writeFile(join(folder, file), 'no library');
  }
  // The driver where there is none, else the library that is no library.
  expect(() => openCudaLibraries('/node/libonnxruntime.so.1', folder)).toThrow(
    /^The execution provider "cuda" cannot be used: lib(cuda\.so\.1|cudart\.so\.13) does not load: .+\. (Install NVIDIA’s driver|Run "npm run moshi).*$/,
  );
});
