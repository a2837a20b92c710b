import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { talk } from './endless.ts';

test('two thousand frames of one conversation leave nothing behind', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'moshi-endless-'));
  try {
    const report = await talk(folder, 2_000);
    expect(report.frames).toBe(2_000);
    // A kilobyte a frame would be 1.8 MB.
    expect(report.heapGrowthBytes).toBeLessThan(1e6);
    expect(report.residentGrowthBytes).toBeLessThan(60e6);
    expect(report.lastTokens).toBeGreaterThan(10);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
