// Runs a program that knows nothing of its parent and ends it when the parent is gone.
// Plain JavaScript, so that the wrapper costs no more than a bare Node process.
//
// usage: leash.mjs PROGRAM ARGUMENT…, spawned with an IPC channel as leader of a process group.
import { spawn } from 'node:child_process';

const [program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => child.kill(signal));
}
process.on('disconnect', () => {
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), 3_000).unref();
});
child.on('error', (error) => {
  process.stderr.write(`error: ${program} does not start: ${error.message}\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (process.connected) {
    process.disconnect();
  }
  process.exit(signal === null ? (code ?? 1) : 1);
});
