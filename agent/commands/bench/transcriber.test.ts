/** The evaluation of the demo's transcriber, with the few questions that the repository carries. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine, type Outcome } from '../../testing/command-line.ts';
import type { TranscriberReport } from './transcriber.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-bench-transcriber-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function bench(...args: string[]): Promise<Outcome> {
  const shorter = ['--rows', '8', '--conversations', '4', '--quiet-minutes', '1'];
  return runCommandLine(['bench', 'transcriber', ...shorter, ...args], {
    MOSHI_CACHE_DIRECTORY: path.join(folder, 'cache'),
  });
}

test('the demo’s transcriber writes down questions, hears their ends, and lets noise be noise', async () => {
  const { exitCode, stdout, stderr } = await bench('--json');
  expect(stderr).toBe('');
  expect(exitCode).toBe(0);
  const { words, turns, noise } = JSON.parse(stdout) as TranscriberReport;
  expect(words.seen.transcripts).toBe(4);
  expect(words.seen.rate).toBeLessThan(0.8);
  expect(turns.questions).toBe(16);
  expect(turns.ended).toBeGreaterThanOrEqual(12);
  expect(turns.delayMs.p50).toBeLessThan(600);
  expect(noise.minutes).toBeCloseTo(1, 1);
  expect(noise.words).toBeLessThanOrEqual(1);
});

test('a model that speaks is no transcriber', async () => {
  const { exitCode, stderr } = await bench('--model', 'demo');
  expect(exitCode).toBe(1);
  expect(stderr).toContain('does not transcribe');
});
