import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AccessToken, RoomAgentDispatch, RoomConfiguration } from 'livekit-server-sdk';
import { REPOSITORY_DIRECTORY } from '../config.ts';
import { writeServerConfiguration } from '../livekit-server/server-configuration.ts';
import { WARM_PROCESS_MESSAGE } from '../room/warm-process.ts';
import { AGENT_NAME } from '../worker.ts';
import { TestProcess } from './child-process.ts';

const API_KEY = 'test';

export type StackOptions = {
  /** TCP. */
  port: number;
  /** The worker's health page; missing: the port after `port`. */
  workerPort?: number;
  mediaPort: number;
  /** Whose folder of built graphs is used, so that they are built once. */
  cacheDirectory: string;
  engineSlots?: number;
  /** Where an engine listens already; else one is started. */
  engineUrl?: string;
  /** Folder of a model that writes down what callers say, and of its graphs; nobody does if missing. */
  transcriber?: { checkpoint: string; cacheDirectory: string };
};

/** LiveKit server, engine and worker as they run in production, on loopback, with a secret of their own. */
export class Stack {
  readonly livekitUrl: string;
  readonly engineUrl: string;
  readonly transcriberUrl: string;
  readonly workerPort: number;
  readonly #options: StackOptions;
  readonly #directory = mkdtempSync(path.join(tmpdir(), 'moshi-stack-'));
  readonly #apiSecret = randomBytes(24).toString('hex');
  #livekit: TestProcess | null = null;
  #engine: TestProcess | null = null;
  #transcriber: TestProcess | null = null;
  #worker: TestProcess | null = null;

  constructor(options: StackOptions) {
    this.#options = options;
    this.livekitUrl = `ws://127.0.0.1:${options.port}`;
    this.workerPort = options.workerPort ?? options.port + 1;
    this.engineUrl = options.engineUrl ?? `unix:${path.join(this.#directory, 'engine.sock')}`;
    this.transcriberUrl = `unix:${path.join(this.#directory, 'transcriber.sock')}`;
  }

  get engine(): TestProcess | null {
    return this.#engine;
  }

  get worker(): TestProcess | null {
    return this.#worker;
  }

  async start(): Promise<void> {
    await this.startLiveKit();
    if (this.#options.engineUrl === undefined) {
      await this.startEngine();
    }
    await this.startTranscriber();
    await this.startWorker();
  }

  async startLiveKit(): Promise<void> {
    const file = path.join(this.#directory, 'livekit.yaml');
    writeFileSync(
      file,
      writeServerConfiguration({
        port: this.#options.port,
        mediaPort: this.#options.mediaPort,
        apiKey: API_KEY,
        apiSecret: this.#apiSecret,
        bind: 'loopback',
      }),
    );
    this.#livekit = new TestProcess('livekit-server', ['--config', file], {});
    await this.#livekit.waitFor(() => answers(this.livekitUrl.replace('ws', 'http')), 10_000);
  }

  /** Builds the graphs first if they are not in the cache. */
  async startEngine(): Promise<void> {
    const engine = this.#command('engine');
    this.#engine = engine;
    await engine.waitFor(() => engine.output.includes('the engine is ready'), 180_000);
  }

  /** If there is to be one; builds its graphs first if they are not in its cache. */
  async startTranscriber(): Promise<void> {
    const { transcriber } = this.#options;
    if (transcriber !== undefined) {
      const engine = this.#command('engine', {
        MOSHI_MODEL: transcriber.checkpoint,
        MOSHI_ENGINE_URL: this.transcriberUrl,
        MOSHI_CACHE_DIRECTORY: transcriber.cacheDirectory,
      });
      this.#transcriber = engine;
      await engine.waitFor(() => engine.output.includes('the engine is ready'), 180_000);
    }
  }

  async startWorker(): Promise<void> {
    const worker = this.#command('worker');
    this.#worker = worker;
    await worker.waitFor(() => answers(`http://127.0.0.1:${this.workerPort}/`), 60_000);
    await worker.waitFor(() => worker.output.includes(WARM_PROCESS_MESSAGE), 60_000);
  }

  async stopLiveKit(): Promise<void> {
    await this.#livekit?.stop('SIGKILL');
  }

  /** As a crash does. */
  async killEngine(): Promise<void> {
    await this.#engine?.stop('SIGKILL');
  }

  /** As a crash does. */
  async killTranscriber(): Promise<void> {
    await this.#transcriber?.stop('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.#worker?.stop();
    await this.#transcriber?.stop();
    await this.#engine?.stop();
    await this.#livekit?.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** A token for a room that brings the agent along, or one without it. */
  async token(room: string, identity: string, withAgent = true): Promise<string> {
    const token = new AccessToken(API_KEY, this.#apiSecret, { identity, ttl: 600 });
    token.addGrant({ room, roomJoin: true, canPublish: true, canSubscribe: true });
    if (withAgent) {
      token.roomConfig = new RoomConfiguration({
        agents: [new RoomAgentDispatch({ agentName: AGENT_NAME })],
      });
    }
    return token.toJwt();
  }

  #command(name: 'engine' | 'worker', changes: Record<string, string> = {}): TestProcess {
    return new TestProcess(
      process.execPath,
      ['--import', 'tsx', path.join(REPOSITORY_DIRECTORY, 'agent/cli.ts'), name],
      {
        LIVEKIT_URL: this.livekitUrl,
        LIVEKIT_API_KEY: API_KEY,
        LIVEKIT_API_SECRET: this.#apiSecret,
        MOSHI_MODEL: 'demo',
        MOSHI_TRANSCRIBER: this.#options.transcriber?.checkpoint ?? 'none',
        MOSHI_TRANSCRIBER_URL: this.transcriberUrl,
        MOSHI_ENGINE_URL: this.engineUrl,
        MOSHI_ENGINE_TOKEN: '',
        MOSHI_ENGINE_SLOTS: `${this.#options.engineSlots ?? 4}`,
        MOSHI_WORKER_PORT: `${this.workerPort}`,
        MOSHI_CACHE_DIRECTORY: this.#options.cacheDirectory,
        MOSHI_LOG_LEVEL: 'info',
        ...changes,
      },
    );
  }
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    (response) => response.ok,
    () => false,
  );
}
