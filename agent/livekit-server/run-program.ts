/** Runs short-lived programs of this machine and finds them on its PATH. */
import { spawn } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';

export interface ProgramResult {
  /** null: could not be started, or was ended by a signal. */
  exitCode: number | null;
  /** Standard output and error together, the last 20 kB. */
  output: string;
}

export interface ProgramOptions {
  environment: Readonly<Record<string, string | undefined>>;
  timeoutMs: number;
  signal?: AbortSignal;
}

const MAX_OUTPUT_CHARACTERS = 20_000;

/** Never rejects: a program that does not exist is a result with exit code null. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, {
      env: options.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString('utf8')).slice(-MAX_OUTPUT_CHARACTERS);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', (error) => resolve({ exitCode: null, output: error.message }));
    child.on('close', (exitCode) => resolve({ exitCode, output: output.trim() }));
  });
}

/** Absolute path of an executable on the given PATH, or null. */
export async function findOnPath(
  program: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string | null> {
  for (const directory of (environment['PATH'] ?? '').split(path.delimiter)) {
    const candidate = path.join(directory === '' ? '.' : directory, program);
    if (await isExecutable(candidate)) {
      return path.resolve(candidate);
    }
  }
  return null;
}

export async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
