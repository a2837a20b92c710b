/** `start`: everything on one machine, under one supervisor. */
import path from 'node:path';
import { EngineConnectionError } from '../../plugins/moshi/client/engine-connection-error.ts';
import { fetchEngineHealth } from '../../plugins/moshi/client/engine-http.ts';
import { inCache } from '../commands/cache-folder.ts';
import { CommandError, type CommandContext } from '../commands/command-context.ts';
import { listenForSignals, whenAborted, type StopSignals } from '../commands/until-signal.ts';
import { REPOSITORY_DIRECTORY, toEnvironment, transcriberConfig, type Config } from '../config.ts';
import { WARM_PROCESS_MESSAGE } from '../room/warm-process.ts';
import { anyFreeTcpPort, tcpPortProblem } from '../livekit-server/free-port.ts';
import { createRoomDirectory } from '../server/room-directory.ts';
import { firstAbort } from './first-abort.ts';
import { prepareLiveKitProcess } from './livekit-process.ts';
import { runOnce } from './run-once.ts';
import { SupervisedProcess, type ProcessDescription } from './supervised-process.ts';

/** Large models take their time to load. */
const ENGINE_START_TIMEOUT_MS = 600_000;
const START_TIMEOUT_MS = 60_000;

/**
 * A call that comes before the worker has a process in reserve waits for one to load, two seconds or
 * more: the link is printed only then. The framework tells it nowhere but in the log, which may be
 * set to silence; after this time the link is printed anyway. Milliseconds.
 */
const WARM_UP_MS = 10_000;

/** How often a process under npm looks whether npm is still there, milliseconds. */
const PARENT_POLL_MS = 500;

/** What the lines of a process begin with. */
function label(name: string): string {
  return `${name.padEnd('transcriber'.length)} | `;
}

/** Runs until a signal. @throws {CommandError} with what to do when something cannot start. */
export async function runStart(context: CommandContext): Promise<void> {
  const signals = listenForSignals();
  const orphaned = watchParent(context);
  const stop = firstAbort(signals.stop, orphaned).signal;
  const processes: SupervisedProcess[] = [];
  const failure = new AbortController();
  const ended = firstAbort(stop, failure.signal).signal;
  try {
    await startAll({
      context,
      ended,
      startProcess: async (description, { observe, onFailure } = {}) => {
        ended.throwIfAborted();
        const supervised = new SupervisedProcess(description, (name, line) => {
          observe?.(line);
          context.remark(`${label(name)}${line}`);
        });
        processes.push(supervised);
        await supervised.start(onFailure ?? ((error) => failure.abort(error)));
      },
    });
    await whenAborted(ended);
    if (failure.signal.aborted) {
      throw failure.signal.reason;
    }
  } catch (error) {
    // What still starts beside the part that failed must not start any more.
    failure.abort(error);
    if (!stop.aborted) {
      throw error;
    }
  } finally {
    await stopAll(processes, signals, context);
  }
}

interface Startup {
  context: CommandContext;
  /** Aborted when there is no point in going on. */
  ended: AbortSignal;
  /** Resolves when the process is ready. */
  startProcess: (
    description: ProcessDescription,
    options?: {
      observe?: (line: string) => void;
      /** When it dies for good after it was ready; everything ends if missing. */
      onFailure?: (error: Error) => void;
    },
  ) => Promise<void>;
}

async function startAll({ context, ended, startProcess }: Startup): Promise<void> {
  const { remark } = context;
  await checkHttpPort(context.config);
  await inCache(context.config.cacheDirectory, () => Promise.resolve());
  const transcriber = transcriberConfig(context.config);
  const hasEngine = await findEngine(context.config, { transcribes: false });
  const hasTranscriber =
    transcriber === null || (await findEngine(transcriber, { transcribes: true }));

  let config = context.config;
  const environment = (): Record<string, string | undefined> => ({
    ...context.environment,
    ...toEnvironment(config),
  });
  const description = (name: string, command: string): ProcessDescription => ({
    name,
    program: process.execPath,
    arguments: () => moshiArguments(command),
    environment,
    isReady: () => Promise.resolve(true),
    startTimeoutMs: START_TIMEOUT_MS,
    stopTimeoutMs: 5_000,
  });

  const bringLiveKit = async (): Promise<void> => {
    if (config.livekit.url !== undefined) {
      await checkLiveKit(config);
      return;
    }
    const { apiKey, apiSecret } = config.livekit;
    const livekit = await prepareLiveKitProcess({
      cacheDirectory: config.cacheDirectory,
      environment: context.environment,
      keys: apiKey === undefined || apiSecret === undefined ? undefined : { apiKey, apiSecret },
      signal: ended,
      report: (text) => remark(`${label('start')}${text}`),
    });
    remark(`${label('start')}LiveKit from ${livekit.origin}`);
    await startProcess(livekit.description);
    config = { ...config, livekit: livekit.credentials };
  };
  const build = async (): Promise<void> => {
    await runOnce({
      name: 'build',
      program: process.execPath,
      arguments: moshiArguments('build'),
      environment: environment(),
      signal: ended,
      observe: (line) => remark(`${label('build')}${line}`),
    });
  };
  await Promise.all([bringLiveKit(), build()]);

  const engineDescription = (name: string, { engine }: Config): ProcessDescription => ({
    ...description(name, 'engine'),
    isReady: async () => (await fetchEngineHealth(engine.url, engine.token)).status === 'ok',
    startTimeoutMs: ENGINE_START_TIMEOUT_MS,
  });
  const bringEngine = async (): Promise<void> => {
    if (!hasEngine) {
      await startProcess(engineDescription('engine', config));
    }
  };
  const bringTranscriber = async (): Promise<void> => {
    if (transcriber !== null && !hasTranscriber) {
      await startProcess(
        {
          ...engineDescription('transcriber', transcriber),
          environment: () => ({ ...context.environment, ...toEnvironment(transcriber) }),
        },
        {
          // A helper: calls go on without it.
          onFailure: ({ message }) =>
            remark(`${label('start')}nothing is written down: ${message}`),
        },
      );
    }
  };
  await Promise.all([bringEngine(), bringTranscriber()]);

  let workerPort = config.worker.port;
  let isWarm = false;
  const warmByMs = performance.now() + WARM_UP_MS;
  await Promise.all([
    startProcess(
      {
        ...description('worker', 'worker'),
        environment: async () => {
          // The port of a worker that is still leaving is taken: each one gets its own.
          workerPort = config.worker.port === 0 ? await anyFreeTcpPort() : config.worker.port;
          return { ...environment(), MOSHI_WORKER_PORT: `${workerPort}` };
        },
        isReady: async () =>
          (await fetch(`http://127.0.0.1:${workerPort}/`)).ok &&
          (isWarm || performance.now() > warmByMs),
      },
      {
        observe: (line) => {
          isWarm ||= line.includes(WARM_PROCESS_MESSAGE);
        },
      },
    ),
    startProcess({
      ...description('serve', 'serve'),
      isReady: async () => (await fetch(new URL('/health', localAddress(config)))).ok,
    }),
  ]);
  const { model } = await fetchEngineHealth(config.engine.url, config.engine.token);
  await announce(context, config, model);
}

function moshiArguments(command: string): string[] {
  return [
    '--import',
    import.meta.resolve('tsx'),
    path.join(REPOSITORY_DIRECTORY, 'agent', 'cli.ts'),
    command,
  ];
}

async function announce(
  context: CommandContext,
  config: Config,
  model: { name: string; isDemo: boolean },
): Promise<void> {
  const response = await fetch(new URL('/api/links', localAddress(config)), { method: 'POST' });
  const link = (await response.json()) as { url?: string; message?: string };
  if (link.url === undefined) {
    throw new CommandError(`no join link: ${link.message ?? `HTTP status ${response.status}`}`);
  }
  context.print(`\nTalk to Moshi: ${link.url}\n`);
  if (model.isDemo) {
    context.print(
      'This is the demo model: tiny, made to show the path, it knows a few answers.\n' +
        'For a real one: npm run moshi -- models pull moshiko, then MOSHI_MODEL=moshiko npm start\n',
    );
  } else {
    context.print(`Model: ${model.name}\n`);
  }
  context.print('Ctrl-C stops everything.\n');
}

async function checkHttpPort(config: Config): Promise<void> {
  const { host, port } = config.server;
  const variables = { host: 'MOSHI_HTTP_HOST', port: 'MOSHI_HTTP_PORT' };
  const problem = await tcpPortProblem(port, host, variables);
  if (problem !== null) {
    throw new CommandError(problem);
  }
}

/** Whether a configured engine runs already, here or on another host. */
async function findEngine(
  config: Config,
  { transcribes }: { transcribes: boolean },
): Promise<boolean> {
  const { url, token, isConfigured } = config.engine;
  const variable = transcribes ? 'MOSHI_TRANSCRIBER_URL' : 'MOSHI_ENGINE_URL';
  let problem: unknown;
  try {
    const { model } = await fetchEngineHealth(url, token);
    if (model.transcribes !== transcribes) {
      const { message } = EngineConnectionError.wrongModel(url, model);
      throw new CommandError(`${variable} is ${url}: ${message}`);
    }
    if (!isConfigured) {
      throw new CommandError(
        `an engine runs already at ${url}, perhaps of another npm start: stop it, or set ` +
          'MOSHI_CACHE_DIRECTORY to another folder for this one',
      );
    }
    return true;
  } catch (error) {
    if (error instanceof CommandError) {
      throw error;
    }
    problem = error;
  }
  if (!isConfigured || url.startsWith('unix:') || isLoopback(new URL(url).hostname)) {
    return false;
  }
  const reason = problem instanceof Error ? problem.message : String(problem);
  throw new CommandError(`${variable} is ${url}, and no engine answers there: ${reason}`);
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host.startsWith('127.');
}

async function checkLiveKit(config: Config): Promise<void> {
  const { url = '', apiKey = '', apiSecret = '' } = config.livekit;
  try {
    await createRoomDirectory({ url, apiKey, apiSecret }, Date.now).check();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError(`LIVEKIT_URL is ${url}, but: ${reason}`, { cause: error });
  }
}

/** The HTTP server as this machine reaches it, whatever its public name. */
function localAddress(config: Config): string {
  const { host, port } = config.server;
  const local = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${local.includes(':') ? `[${local}]` : local}:${port}`;
}

/** In reverse order of starting, so that calls end before the server that carries them. */
async function stopAll(
  processes: SupervisedProcess[],
  signals: StopSignals,
  context: CommandContext,
): Promise<void> {
  if (processes.length > 0) {
    context.remark(`${label('start')}stopping, Ctrl-C again kills`);
  }
  for (const supervised of processes.reverse()) {
    await supervised.stop(signals.force);
  }
}

/** Aborted when npm, which started us, is gone without a signal. */
function watchParent(context: CommandContext): AbortSignal {
  const orphaned = new AbortController();
  if (context.environment['npm_lifecycle_event'] !== undefined) {
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) {
        orphaned.abort();
      }
    }, PARENT_POLL_MS).unref();
  }
  return orphaned.signal;
}
