import { spawnSync } from 'node:child_process';

/** True if the program can be run; else says on standard error what is skipped and why. */
export function hasProgram(program: string, versionFlag: string, test: string): boolean {
  const isThere = spawnSync(program, [versionFlag], { stdio: 'ignore' }).status === 0;
  if (!isThere) {
    process.stderr.write(`skipped: ${test}, ${program} is not on the PATH\n`);
  }
  return isThere;
}
