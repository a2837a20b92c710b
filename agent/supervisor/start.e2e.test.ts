/** `start` as a person runs it: the real processes, a real LiveKit server, real signals. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { generateCheckpoint } from '../../models/generate/generate-checkpoint.ts';
import { UNUSUAL_TRANSCRIPTION } from '../../models/test-support/unusual-architecture.ts';
import { fetchEngineHealth } from '../../plugins/moshi/index.ts';
import { StubEngine } from '../../plugins/moshi/test-support/engine-stub.ts';
import { REPOSITORY_DIRECTORY } from '../config.ts';
import { anyFreeTcpPort } from '../livekit-server/free-port.ts';
import { findOnPath } from '../livekit-server/run-program.ts';
import { descendantsOf } from '../testing/descendants.ts';
import { answerPlainly } from '../testing/echo-engine.ts';

const hasLiveKit = (await findOnPath('livekit-server', process.env)) !== null;
if (!hasLiveKit) {
  process.stderr.write('skipped: start.e2e.test.ts, livekit-server is not on the PATH\n');
}

class Start {
  output = '';
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(environment: Record<string, string>) {
    this.child = spawn(process.execPath, ['agent/start.mjs', 'agent/cli.ts', 'start'], {
      cwd: REPOSITORY_DIRECTORY,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const collect = (chunk: Buffer): void => {
      this.output += chunk.toString();
    };
    this.child.stdout?.on('data', collect);
    this.child.stderr?.on('data', collect);
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code) => resolve(code));
    });
  }

  /** The join link it prints, or a failure with its output. */
  async link(): Promise<string> {
    for (;;) {
      const link = /Talk to Moshi: (\S+)/.exec(this.output)?.[1];
      if (link !== undefined) {
        return link;
      }
      if (this.child.exitCode !== null) {
        throw new Error(`start ended:\n${this.output}`);
      }
      await sleep(100);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(processes: { pid: number }[]): Promise<void> {
  while (processes.some(({ pid }) => isAlive(pid))) {
    await sleep(100);
  }
}

describe.skipIf(!hasLiveKit)('start', () => {
  let folder: string;
  let port: number;
  const started: Start[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-start-'));
    port = await anyFreeTcpPort();
  });
  afterEach(async () => {
    for (const start of started.splice(0)) {
      start.child.kill('SIGTERM');
      await start.ended;
    }
    await rm(folder, { recursive: true, force: true });
  });

  function start(environment: Record<string, string> = {}): Start {
    const run = new Start({
      MOSHI_HTTP_PORT: `${port}`,
      MOSHI_CACHE_DIRECTORY: folder,
      ...environment,
    });
    started.push(run);
    return run;
  }

  test('brings everything up, stays up when started twice, heals, and leaves nothing', async () => {
    const first = start();
    const link = await first.link();
    expect(link).toContain(`http://127.0.0.1:${port}/j/`);
    expect((await fetch(link)).status).toBe(200);
    expect(first.output).toContain('This is the demo model');
    const health = (): Promise<{ status: string }> =>
      fetch(`http://127.0.0.1:${port}/health`).then(
        (response) => response.json() as Promise<{ status: string }>,
      );
    expect(await health()).toMatchObject({ status: 'ok', engine: { model: 'demo' } });

    const samePort = start();
    expect(await samePort.ended).toBe(1);
    expect(samePort.output).toMatch(/^error: port \d+ of 127\.0\.0\.1 is taken.*MOSHI_HTTP_PORT/m);
    const sameCache = start({ MOSHI_HTTP_PORT: `${await anyFreeTcpPort()}` });
    expect(await sameCache.ended).toBe(1);
    expect(sameCache.output).toMatch(/^error: an engine runs already.*MOSHI_CACHE_DIRECTORY/m);
    expect(await health()).toMatchObject({ status: 'ok' });

    const engine = descendantsOf(first.child.pid).find(({ command }) =>
      command.endsWith('cli.ts engine'),
    );
    expect(engine).toBeDefined();
    process.kill(engine!.pid, 'SIGKILL');
    while ((await health()).status === 'ok') {
      await sleep(50);
    }
    while ((await health()).status !== 'ok') {
      await sleep(100);
    }

    const everything = descendantsOf(first.child.pid);
    expect(everything.length).toBeGreaterThanOrEqual(4);
    first.child.kill('SIGINT');
    expect(await first.ended).toBe(0);
    await untilGone(everything);
  });

  test('runs a transcriber beside the engine, and heals both', async () => {
    const checkpoint = path.join(folder, 'listener');
    await generateCheckpoint({
      architecture: UNUSUAL_TRANSCRIPTION,
      seed: 0,
      directory: checkpoint,
    });
    const run = start({ MOSHI_TRANSCRIBER: checkpoint, MOSHI_CONTEXT: '100' });
    await run.link();
    const models = (): Promise<string[]> =>
      Promise.all(
        ['engine', 'transcriber'].map(async (name) => {
          const { model } = await fetchEngineHealth(`unix:${path.join(folder, `${name}.sock`)}`);
          return `${model.name} ${model.transcribes ? 'transcribes' : 'speaks'}`;
        }),
      );
    expect(await models()).toEqual(['demo speaks', 'listener transcribes']);
    const engines = descendantsOf(run.child.pid).filter(({ command }) =>
      command.endsWith('cli.ts engine'),
    );
    expect(engines).toHaveLength(2);
    for (const { pid } of engines) {
      process.kill(pid, 'SIGKILL');
    }
    await untilGone(engines);
    await vi.waitUntil(() => models().catch(() => null), { timeout: 60_000, interval: 100 });
    expect(await models()).toEqual(['demo speaks', 'listener transcribes']);
    expect(run.child.exitCode).toBeNull();
  });

  test('says by name that an engine is not for what it is asked', async () => {
    const speaking = await StubEngine.start(path.join(folder, 'speaking.sock'), {
      http: answerPlainly,
    });
    const run = start({
      MOSHI_TRANSCRIBER: 'stt-1b-en_fr',
      MOSHI_TRANSCRIBER_URL: speaking.url,
    });
    expect(await run.ended).toBe(1);
    expect(run.output).toMatch(
      /^error: MOSHI_TRANSCRIBER_URL is unix:.*stub .*speaks and does not transcribe/m,
    );
    await speaking.kill();
  });

  test('takes everything with it when it is killed', async () => {
    const run = start();
    await run.link();
    const everything = descendantsOf(run.child.pid);
    run.child.kill('SIGKILL');
    await run.ended;
    await untilGone(everything);
  });

  test('says in one line why the engine does not start, and stops the rest', async () => {
    const run = start({ MOSHI_MODEL: path.join(folder, 'no-such-model') });
    expect(await run.ended).toBe(1);
    expect(run.output.split('\n').filter((line) => line.startsWith('error: '))).toEqual([
      expect.stringContaining('no-such-model'),
    ]);
    expect(descendantsOf(run.child.pid)).toEqual([]);
  });

  test('says that a configured LiveKit server is not there', async () => {
    const run = start({
      LIVEKIT_URL: `ws://127.0.0.1:${await anyFreeTcpPort()}`,
      LIVEKIT_API_KEY: 'key',
      LIVEKIT_API_SECRET: 'secret of an example that is long enough',
    });
    expect(await run.ended).toBe(1);
    expect(run.output).toMatch(/^error: LIVEKIT_URL is ws:/m);
  });
});
