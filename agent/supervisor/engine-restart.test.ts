/** The engine as `start` runs it, killed in the middle of several conversations. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineConversation } from '../../plugins/moshi/client/engine-conversation.ts';
import { fetchEngineHealth, fetchEngineMetrics } from '../../plugins/moshi/client/engine-http.ts';
import { FRAME_SAMPLES } from '../../plugins/moshi/protocol/messages.ts';
import { REPOSITORY_DIRECTORY, readEnvironment } from '../config.ts';
import { descendantsOf } from '../testing/descendants.ts';
import { SupervisedProcess } from './supervised-process.ts';

const CONVERSATIONS = 3;
/** Longer than the model waits before it greets. */
const FRAMES = 12;

let folder: string;
let url: string;
let engine: SupervisedProcess;
const lines: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-restart-'));
  url = `unix:${path.join(folder, 'engine.sock')}`;
  engine = new SupervisedProcess(
    {
      name: 'engine',
      program: process.execPath,
      arguments: () => [
        '--import',
        import.meta.resolve('tsx'),
        path.join(REPOSITORY_DIRECTORY, 'agent/cli.ts'),
        'engine',
      ],
      environment: () => ({
        PATH: readEnvironment()['PATH'],
        HOME: folder,
        MOSHI_CACHE_DIRECTORY: folder,
        MOSHI_DEVICE: 'cpu',
        MOSHI_ENGINE_SLOTS: `${CONVERSATIONS}`,
        MOSHI_ENGINE_THREADS: '1',
        MOSHI_ENGINE_URL: url,
        MOSHI_PRECISION: 'f32',
      }),
      isReady: async () => (await fetchEngineHealth(url)).status === 'ok',
      startTimeoutMs: 60_000,
      stopTimeoutMs: 5_000,
    },
    (_name, line) => lines.push(line),
  );
  await engine.start(() => undefined);
});
afterAll(async () => {
  await engine.stop(new AbortController().signal);
  await rm(folder, { recursive: true, force: true });
});

/** A caller who says the next frame when the last one is answered; remembers what he is told. */
class Caller {
  readonly events: string[] = [];
  /** Of the connection that there is now: each frame's step. */
  steps: number[] = [];
  readonly #conversation = new EngineConversation({ engineUrl: url });

  constructor() {
    const say = (): void => this.#conversation.pushSamples(new Float32Array(FRAME_SAMPLES));
    this.#conversation.on('ready', () => {
      this.events.push('ready');
      this.steps = [];
      say();
    });
    this.#conversation.on('frame', ({ step }) => {
      this.steps.push(step);
      say();
    });
    this.#conversation.on('reconnecting', ({ error }) => this.events.push(error.problem));
    this.#conversation.on('failed', () => this.events.push('failed'));
    this.#conversation.connect();
  }

  close(): void {
    this.#conversation.close();
  }
}

async function startedAtSeconds(): Promise<number> {
  const text = await fetchEngineMetrics(url);
  return Number(/^process_start_time_seconds (\S+)$/m.exec(text)?.[1]);
}

test('every caller is told once that the engine was killed, and comes back to the next one', async () => {
  const firstStartedAt = await startedAtSeconds();
  const killed = descendantsOf(process.pid).find(({ command }) =>
    command.endsWith('cli.ts engine'),
  );
  expect(killed).toBeDefined();
  const callers = Array.from({ length: CONVERSATIONS }, () => new Caller());
  try {
    const allTalk = (): boolean => callers.every(({ steps }) => steps.length >= FRAMES);
    await expect.poll(allTalk, { timeout: 30_000 }).toBe(true);

    process.kill(killed!.pid, 'SIGKILL');
    const told = (): number[] => callers.map(({ events }) => events.length);
    await expect.poll(() => Math.min(...told()), { timeout: 5_000 }).toBeGreaterThan(1);
    for (const caller of callers) {
      caller.steps = [];
    }
    await expect.poll(allTalk, { timeout: 60_000 }).toBe(true);

    expect(lines).toContainEqual(expect.stringMatching(/^ended \(.*\), starts again in 0\.5 s$/));
    for (const { events, steps } of callers) {
      // Once that the connection broke; then what each attempt found, until there was an engine.
      expect(events.filter((event) => event === 'closed')).toHaveLength(1);
      expect(events.at(-1)).toBe('ready');
      expect(events.filter((event) => event === 'ready')).toHaveLength(2);
      expect(events).not.toContain('failed');
      expect(steps.slice(0, FRAMES)).toEqual(Array.from({ length: FRAMES }, (_, step) => step));
    }
    expect((await fetchEngineHealth(url)).slotsUsed).toBe(CONVERSATIONS);
    expect(await startedAtSeconds()).toBeGreaterThan(firstStartedAt);
  } finally {
    for (const caller of callers) {
      caller.close();
    }
  }
  await expect.poll(async () => (await fetchEngineHealth(url)).slotsUsed).toBe(0);
}, 120_000);
