/** A supervised process must not outlive its supervisor, however that one ends. */

/** Time to close connections before the whole process group is killed, milliseconds. */
const GRACE_MS = 5_000;

/**
 * Ends this process and its own children when the supervisor is gone; the closed IPC channel tells.
 * Does nothing in a process that was not started by the supervisor.
 */
export function exitWithParent(): void {
  if (process.channel === undefined) {
    return;
  }
  // The channel is only listened to: it must not keep a finished process alive.
  process.channel.unref();
  process.once('disconnect', () => {
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => killOwnGroup(), GRACE_MS);
  });
}

function killOwnGroup(): void {
  try {
    process.kill(-process.pid, 'SIGKILL');
  } catch {
    process.exit(1);
  }
}
