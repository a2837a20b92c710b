/** Shows how far long work has come: a bar on a terminal, a line now and then elsewhere. */

const BAR_WIDTH = 30;
const TERMINAL_INTERVAL_MS = 100;
const LINE_INTERVAL_MS = 10_000;

export interface ProgressOptions {
  /** What is counted, for example `frames`. */
  unit: string;
  total: number;
  stream: { isTTY?: boolean; write: (text: string) => unknown };
  /** Monotonic milliseconds. */
  clock: () => number;
}

export class Progress {
  readonly #options: ProgressOptions;
  readonly #isTerminal: boolean;
  #shownMs: number;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#isTerminal = options.stream.isTTY === true;
    this.#shownMs = options.clock();
  }

  /** Cheap enough to call for every piece of work. */
  update(done: number): void {
    const { clock, stream, total, unit } = this.#options;
    const nowMs = clock();
    const intervalMs = this.#isTerminal ? TERMINAL_INTERVAL_MS : LINE_INTERVAL_MS;
    if (nowMs - this.#shownMs < intervalMs) {
      return;
    }
    this.#shownMs = nowMs;
    const filled = Math.round((BAR_WIDTH * done) / total);
    const bar = '█'.repeat(filled).padEnd(BAR_WIDTH, '░');
    stream.write(
      this.#isTerminal ? `\r${bar} ${done}/${total} ${unit}` : `${done} of ${total} ${unit}\n`,
    );
  }

  /** Takes the bar away. */
  finish(): void {
    if (this.#isTerminal) {
      this.#options.stream.write('\r\u001b[K');
    }
  }
}
