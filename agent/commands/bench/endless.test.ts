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
    // Four kilobytes a frame would be 7 MB.
    expect(report.heapGrowthBytes).toBeLessThan(7e6);
    expect(report.residentGrowthBytes).toBeLessThan(60e6);
    expect(report.lastTokens).toBeGreaterThan(10);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
