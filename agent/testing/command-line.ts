/** Runs the command line as a person does, with a cache of its own. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { readEnvironment, REPOSITORY_DIRECTORY } from '../config.ts';

export interface Outcome {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** @param environment - All that the command sees beside the search path for programs. */
export function runCommandLine(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', path.join(REPOSITORY_DIRECTORY, 'agent/cli.ts'), ...args],
      {
        cwd: REPOSITORY_DIRECTORY,
        env: { PATH: readEnvironment()['PATH'], ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const outcome: Outcome = { exitCode: null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (outcome.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (outcome.stderr += chunk.toString()));
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ ...outcome, exitCode }));
  });
}
