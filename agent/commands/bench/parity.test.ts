import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { runCommandLine } from '../../testing/command-line.ts';
import type { ParityResult } from './parity.ts';

test('bench parity finds every token of every fixture equal, and says how to see for oneself', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-parity-'));
  try {
    const { exitCode, stdout } = await runCommandLine(
      ['bench', 'parity', '--json', '--checkpoints', path.join(folder, 'none')],
      { MOSHI_CACHE_DIRECTORY: folder },
    );
    expect(exitCode).toBe(0);
    const results = JSON.parse(stdout) as ParityResult[];
    expect(results.map(({ kind }) => kind)).toEqual(['moshi', 'stt', 'hibiki', 'personaplex']);
    for (const result of results) {
      expect(result.tokensEqual).toBe(result.tokensCompared);
      expect(result.codesEqual).toBe(result.codesCompared);
      expect(result.command).toMatch(/^npm run --silent moshi -- (infer|transcribe) --model \S+/);
    }
    expect(results[0]).toMatchObject({ tokensCompared: 531, codesCompared: 480 });
    expect(results[0]!.hiddenError).toBeLessThan(1e-9);
  } finally {
    await rm(folder, { recursive: true });
  }
});
