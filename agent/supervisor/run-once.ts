/** Runs a program of ours to its end, showing its lines. */
import { spawn } from 'node:child_process';
import { CommandError } from '../commands/command-context.ts';
import { errorOfLine, forEachLine, formatLogLine } from './log-line.ts';

export interface RunOnceOptions {
  name: string;
  program: string;
  arguments: readonly string[];
  environment: Readonly<Record<string, string | undefined>>;
  signal: AbortSignal;
  observe: (line: string) => void;
}

/** @throws {CommandError} with the program's own last `error:` line when it fails. */
export function runOnce(options: RunOnceOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let lastError: string | undefined;
    const child = spawn(options.program, options.arguments, {
      env: options.environment,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: process.platform !== 'win32',
      signal: options.signal,
    });
    forEachLine(child, (line) => {
      const error = errorOfLine(line);
      if (error === null) {
        options.observe(formatLogLine(line));
      } else {
        lastError = error;
      }
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) {
        resolve();
      } else {
        const reason = signal === null ? `exit code ${code ?? 'unknown'}` : `signal ${signal}`;
        reject(new CommandError(lastError ?? `${options.name} failed (${reason})`));
      }
    });
  });
}
