/**
 * A controller that is aborted as soon as one of the signals is.
 *
 * `AbortSignal.any` would do, but on Node 20 a signal made by it may be collected as garbage with its
 * listeners still waiting.
 */
export function firstAbort(...signals: readonly AbortSignal[]): AbortController {
  const controller = new AbortController();
  for (const signal of signals) {
    const abort = (): void => controller.abort(signal.reason);
    if (signal.aborted) {
      abort();
    } else {
      signal.addEventListener('abort', abort, { once: true });
    }
  }
  return controller;
}
