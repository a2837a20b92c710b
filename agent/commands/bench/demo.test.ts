/** The evaluation of the demo model, with the few questions that the repository carries. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine, type Outcome } from '../../testing/command-line.ts';
import type { DemoReport } from './demo.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-bench-demo-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function bench(...args: string[]): Promise<Outcome> {
  const shorter = ['--conversations', '4', '--minutes', '0.2', '--quiet-minutes', '2'];
  return runCommandLine(['bench', 'demo', '--rows', '8', ...shorter, ...args], {
    MOSHI_CACHE_DIRECTORY: path.join(folder, 'cache'),
  });
}

test('the demo model greets, answers, stops when interrupted, and lets noise be noise', async () => {
  const { exitCode, stdout, stderr } = await bench('--json', '--greedy');
  expect(stderr).toBe('');
  expect(exitCode).toBe(0);
  const report = JSON.parse(stdout) as DemoReport;
  const { seen } = report.answers;
  expect(seen).toMatchObject({ questions: 4, greeted: 4, unanswered: 0, spokeOver: 0 });
  expect(seen.right).toBeGreaterThanOrEqual(2);
  expect(seen.delayMs.p50).toBeGreaterThan(300);
  expect(seen.delayMs.p95).toBeLessThan(900);
  expect(report.stop.interruptions).toBe(4);
  expect(report.stop.p50Ms).toBeLessThan(600);
  expect(report.noise).toMatchObject({ conversations: 12, greeted: 12, falseStarts: 0 });
  expect(report.wordErrors).toBeNull();
});

test('recordings that cannot be used are told of', async () => {
  const missing = await bench('--audio', path.join(folder, 'nowhere'));
  expect(missing.exitCode).toBe(1);
  expect(missing.stderr).toContain('make the folder with models/demo/train/evaluation_audio.py');
  const index = {
    lines: { a: 'A.' },
    greeting: 'b',
    fallback: 'a',
    unprompted: [],
    backchannel: 'a',
    clips: [],
  };
  await writeFile(path.join(folder, 'index.json'), JSON.stringify(index));
  const broken = await bench('--audio', folder);
  expect(broken.exitCode).toBe(1);
  expect(broken.stderr).toContain('names a line "b" that is not among its lines');
});
