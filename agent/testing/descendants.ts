import { execFileSync } from 'node:child_process';

/** Everything that runs below a process, by the process table. */
export function descendantsOf(root: number | undefined): { pid: number; command: string }[] {
  const table = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({ pid: Number(match[1]), parent: Number(match[2]), command: match[3] ?? '' }));
  const found: { pid: number; command: string }[] = [];
  const parents = new Set([root]);
  // Parents come before their children in most tables, but pids wrap around.
  for (let size = -1; size !== parents.size;) {
    size = parents.size;
    for (const { pid, parent, command } of table) {
      if (parents.has(parent) && !parents.has(pid) && !/^ps /.test(command)) {
        parents.add(pid);
        found.push({ pid, command });
      }
    }
  }
  return found;
}
