/** Time without input after which silence takes its place, ms. */
const PATIENCE_MS = 200;
/** After a stall of the host the missed time is not made up for, ms. */
const FORGIVEN_MS = 500;

/**
 * Decides when silence has to stand in for a caller whose track is gone.
 *
 * The engine steps when a frame of input is complete, so without input the model would stop in the
 * middle of a word. Before the first input nothing is filled: the model begins when there is
 * somebody to hear it.
 */
export class SilenceFiller {
  readonly #frameMs: number;
  #heardUntilMs: number | null = null;

  constructor(frameMs: number) {
    this.#frameMs = frameMs;
  }

  heard(nowMs: number): void {
    this.#heardUntilMs = nowMs;
  }

  /** Frames of silence that are due now. */
  due(nowMs: number): number {
    if (this.#heardUntilMs === null) {
      return 0;
    }
    if (nowMs - this.#heardUntilMs > FORGIVEN_MS) {
      this.#heardUntilMs = nowMs - PATIENCE_MS - this.#frameMs;
    }
    let frames = 0;
    while (nowMs - this.#heardUntilMs > PATIENCE_MS) {
      this.#heardUntilMs += this.#frameMs;
      frames += 1;
    }
    return frames;
  }
}
