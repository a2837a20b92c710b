/** One process of `start`: started, watched, restarted, stopped. */
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorOfLine, forEachLine, formatLogLine } from './log-line.ts';
import { RestartPolicy } from './restart-policy.ts';

export interface ProcessDescription {
  /** Shown before each of its lines. */
  name: string;
  program: string;
  /** Asked at every start: a worker takes another port each time. */
  arguments: () => Promise<readonly string[]> | readonly string[];
  environment: () => Promise<Environment> | Environment;
  /** Whether the process does its work; asked again and again until it says yes. */
  isReady: () => Promise<boolean>;
  /** Longest start before it counts as failed, milliseconds. */
  startTimeoutMs: number;
  /** Time from the polite signal to the end by force, milliseconds. */
  stopTimeoutMs: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Receives every line of a process, and what the supervisor has to say about it. */
export type LineObserver = (name: string, line: string) => void;

/** The process died too often at its start; the message holds its own last error. */
export class ProcessFailedError extends Error {
  constructor(name: string, reason: string) {
    super(`${name} does not start: ${reason}`);
    this.name = 'ProcessFailedError';
  }
}

const READY_POLL_MS = 150;
/** Time for the last lines to arrive after the end of a process, milliseconds. */
const OUTPUT_GRACE_MS = 200;

/**
 * Keeps one process running until `stop`. The process leads a process group of its own, so that a
 * Ctrl-C in the terminal reaches only the supervisor, and so that its own children can be found.
 */
export class SupervisedProcess {
  readonly name: string;
  readonly #description: ProcessDescription;
  readonly #observe: LineObserver;
  readonly #policy = new RestartPolicy();
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;
  #running: Promise<void> = Promise.resolve();
  #lastReason = '';

  constructor(description: ProcessDescription, observe: LineObserver) {
    this.name = description.name;
    this.#description = description;
    this.#observe = observe;
  }

  /**
   * Resolves when the process is ready for the first time. `onFailure` is called if it later dies
   * for good.
   *
   * @throws {ProcessFailedError} when it never becomes ready.
   */
  start(onFailure: (error: Error) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      let wasReady = false;
      const onReady = (): void => {
        wasReady = true;
        resolve();
      };
      this.#running = this.#keepRunning(onReady).then(
        () => reject(new ProcessFailedError(this.name, 'it was stopped')),
        (error: unknown) => {
          const failure = error instanceof Error ? error : new Error(String(error));
          reject(failure);
          if (wasReady) {
            onFailure(failure);
          }
        },
      );
    });
  }

  /** Ends the process politely, by force after its time or when `force` is aborted. */
  async stop(force: AbortSignal): Promise<void> {
    this.#stopping.abort();
    this.#child?.kill('SIGTERM');
    const kill = (): void => this.#killGroup();
    const deadline = setTimeout(kill, this.#description.stopTimeoutMs);
    force.addEventListener('abort', kill);
    if (force.aborted) {
      kill();
    }
    await this.#running;
    clearTimeout(deadline);
    force.removeEventListener('abort', kill);
  }

  async #keepRunning(onReady: () => void): Promise<void> {
    while (!this.#isStopping()) {
      const readyForMs = await this.#runOnce(onReady);
      if (this.#isStopping()) {
        return;
      }
      const decision = this.#policy.onDeath(readyForMs);
      if (decision.action === 'give_up') {
        throw new ProcessFailedError(this.name, this.#lastReason);
      }
      this.#observe(
        this.name,
        `ended (${this.#lastReason}), starts again in ${decision.delayMs / 1000} s`,
      );
      await sleep(decision.delayMs, undefined, { signal: this.#stopping.signal }).catch(
        () => undefined,
      );
    }
  }

  /** Runs the process once; returns for how long it was ready, or null if it never was. */
  async #runOnce(onReady: () => void): Promise<number | null> {
    const description = this.#description;
    const [args, environment] = await Promise.all([
      description.arguments(),
      description.environment(),
    ]);
    if (this.#isStopping()) {
      return null;
    }
    let lastError = '';
    const child = spawn(description.program, args, {
      env: environment,
      // The fourth is an IPC channel: its end tells the child that the supervisor is gone.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: process.platform !== 'win32',
    });
    this.#child = child;
    forEachLine(child, (line) => {
      lastError = errorOfLine(line) ?? lastError;
      this.#observe(this.name, formatLogLine(line));
    });
    const ended = new AbortController();
    const exit = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `exit code ${code ?? 'unknown'}` : `signal ${signal}`),
      );
    });
    const readiness = this.#waitUntilReady(ended.signal, onReady);
    const reason = await exit;
    ended.abort();
    // Lines may still be in the pipe; grandchildren may keep it open for ever, so not 'close'.
    await sleep(OUTPUT_GRACE_MS);
    this.#killGroup();
    this.#child = undefined;
    const readySince = await readiness;
    this.#lastReason =
      readySince === 'timed_out'
        ? `not ready after ${description.startTimeoutMs / 1000} s`
        : lastError === ''
          ? reason
          : lastError;
    return typeof readySince === 'number' ? performance.now() - readySince : null;
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #waitUntilReady(
    ended: AbortSignal,
    onReady: () => void,
  ): Promise<number | 'timed_out' | 'ended'> {
    const deadlineMs = performance.now() + this.#description.startTimeoutMs;
    const hasEnded = (): boolean => ended.aborted;
    while (!hasEnded()) {
      const isReady = await this.#description.isReady().catch(() => false);
      // Asked again: somebody else may have answered in place of a process that has just died.
      if (isReady && !hasEnded()) {
        onReady();
        return performance.now();
      }
      if (performance.now() > deadlineMs) {
        this.#killGroup();
        return 'timed_out';
      }
      await sleep(READY_POLL_MS, undefined, { signal: ended }).catch(() => undefined);
    }
    return 'ended';
  }

  /** Ends the process and everything it started that is still there. */
  #killGroup(): void {
    const pid = this.#child?.pid;
    if (pid === undefined) {
      return;
    }
    try {
      if (process.platform === 'win32') {
        this.#child?.kill('SIGKILL');
      } else {
        process.kill(-pid, 'SIGKILL');
      }
    } catch {
      // ESRCH: all of them are gone already.
    }
  }
}
