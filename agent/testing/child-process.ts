import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readEnvironment } from '../config.ts';

const STOP_PATIENCE_MS = 10_000;

/** A program under test, with all that it printed. */
export class TestProcess {
  readonly #child: ChildProcess;
  #output = '';

  constructor(program: string, args: readonly string[], environment: Record<string, string>) {
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...readEnvironment(), ...environment },
    });
    const keep = (chunk: Buffer): void => {
      this.#output += chunk.toString();
    };
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
  }

  /** Standard output and error so far. */
  get output(): string {
    return this.#output;
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  get signalCode(): string | null {
    return this.#child.signalCode;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** @throws Error with the output if the process ends or the time is over first. */
  async waitFor(isReady: () => boolean | Promise<boolean>, timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (!(await isReady())) {
      if (this.#hasEnded() || performance.now() > endMs) {
        const what = this.#hasEnded() ? 'ended' : `was not ready within ${timeoutMs} ms`;
        throw new Error(`${this.#child.spawnargs.join(' ')} ${what}:\n${this.#output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Asks first and insists later; SIGKILL at once on request. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#hasEnded()) {
      return;
    }
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    const insist = setTimeout(() => this.#child.kill('SIGKILL'), STOP_PATIENCE_MS);
    await ended;
    clearTimeout(insist);
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}
