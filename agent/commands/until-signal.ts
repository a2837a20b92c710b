/** Waits for the person, the system or the supervisor to end a long-running command. */
import { exitWithParent } from '../supervisor/exit-with-parent.ts';

/** A terminal's Ctrl-C reaches us twice under npm, which forwards it: not a second wish. */
const SAME_WISH_MS = 500;

export interface StopSignals {
  /** Aborted at the first SIGINT or SIGTERM. */
  stop: AbortSignal;
  /** Aborted at the second. */
  force: AbortSignal;
}

export function listenForSignals(): StopSignals {
  const stop = new AbortController();
  const force = new AbortController();
  let firstMs: number | null = null;
  const onSignal = (): void => {
    if (firstMs === null) {
      firstMs = performance.now();
      stop.abort();
    } else if (performance.now() - firstMs > SAME_WISH_MS) {
      force.abort();
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  exitWithParent();
  return { stop: stop.signal, force: force.signal };
}

export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
    } else {
      signal.addEventListener('abort', () => resolve(), { once: true });
    }
  });
}
