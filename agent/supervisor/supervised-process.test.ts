import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SupervisedProcess, type ProcessDescription } from './supervised-process.ts';

let folder: string;
let lines: string[];
const running: SupervisedProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-supervisor-'));
  lines = [];
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((supervised) => supervised.stop(AbortSignal.abort())));
  await rm(folder, { recursive: true, force: true });
});

/** Supervises a Node program that says it is ready by writing its pid to `ready`. */
function supervise(program: string, change: Partial<ProcessDescription> = {}): SupervisedProcess {
  const supervised = new SupervisedProcess(
    {
      name: 'part',
      program: process.execPath,
      arguments: () => ['-e', program, readyFile()],
      environment: () => ({ PATH: '/usr/bin:/bin' }),
      isReady: () => Promise.resolve(existsSync(readyFile())),
      startTimeoutMs: 10_000,
      stopTimeoutMs: 5_000,
      ...change,
    },
    (_name, line) => lines.push(line),
  );
  running.push(supervised);
  return supervised;
}

function readyFile(): string {
  return path.join(folder, 'ready');
}

async function readyPid(): Promise<number> {
  return Number(await readFile(readyFile(), 'utf8'));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) {
    await sleep(20);
  }
}

const SAY_READY = `require('node:fs').writeFileSync(process.argv[1], String(process.pid));`;
const STAY = `setInterval(() => {}, 1000);`;

test('is started when the process is ready, and shows its lines', async () => {
  await supervise(`console.log('hello'); ${SAY_READY} ${STAY}`).start(() => undefined);
  await until(() => lines.includes('hello'));
});

test('starts a process again that died', async () => {
  const supervised = supervise(`${SAY_READY} ${STAY}`);
  await supervised.start(() => undefined);
  const first = await readyPid();
  process.kill(first, 'SIGKILL');
  await until(async () => (await readyPid()) !== first);
  expect(lines).toContain('ended (signal SIGKILL), starts again in 0.5 s');
});

test('gives up on a process that cannot start, with its own last error', async () => {
  const program = `process.stderr.write('error: the model has no weights\\n'); process.exit(1);`;
  await expect(supervise(program).start(() => undefined)).rejects.toThrow(
    'part does not start: the model has no weights',
  );
});

test('gives up on a program that is not there', async () => {
  const supervised = supervise('', { program: '/no/such/program' });
  await expect(supervised.start(() => undefined)).rejects.toThrow(/ENOENT/);
});

test('ends what the process started, also when it ignores the polite signal', async () => {
  const grandchild = `${SAY_READY} process.on('SIGTERM', () => {}); ${STAY}`;
  const program = `
    process.on('SIGTERM', () => {});
    require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(grandchild)}, process.argv[1]]);
    ${STAY}`;
  const supervised = supervise(program, { stopTimeoutMs: 300 });
  await supervised.start(() => undefined);
  const pid = await readyPid();
  expect(isAlive(pid)).toBe(true);
  await supervised.stop(new AbortController().signal);
  await until(() => !isAlive(pid));
});

test('a leashed program ends when the process that holds the leash is killed', async () => {
  const leash = path.join(import.meta.dirname, 'leash.mjs');
  const holder = spawn(
    process.execPath,
    [
      '-e',
      `require('node:child_process').spawn(process.execPath, process.argv.slice(1), {
         stdio: ['ignore', 'ignore', 'ignore', 'ipc'], detached: true });
       ${STAY}`,
      leash,
      process.execPath,
      '-e',
      `${SAY_READY} ${STAY}`,
      readyFile(),
    ],
    { stdio: 'ignore' },
  );
  await until(() => existsSync(readyFile()));
  await until(async () => (await readyPid()) > 0);
  const pid = await readyPid();
  holder.kill('SIGKILL');
  await until(() => !isAlive(pid));
});
