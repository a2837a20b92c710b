/**
 * A histogram of what happens with every frame.
 *
 * prom-client looks labels and buckets up by name for each value: cheap for many in a row, dear for one
 * between two messages, when none of it is in the processor's caches. So values wait for one another.
 */
import { Histogram, type HistogramConfiguration } from 'prom-client';

/** Values that may wait; half a minute of one conversation. */
const CAPACITY = 400;

export class BufferedHistogram {
  readonly #waiting = new Float64Array(CAPACITY);
  readonly #histogram: Histogram;
  #count = 0;

  constructor(configuration: Omit<HistogramConfiguration<string>, 'collect'>) {
    this.#histogram = new Histogram({ ...configuration, collect: () => this.#flush() });
  }

  observe(value: number): void {
    this.#waiting[this.#count] = value;
    this.#count += 1;
    if (this.#count === CAPACITY) {
      this.#flush();
    }
  }

  #flush(): void {
    for (const value of this.#waiting.subarray(0, this.#count)) {
      this.#histogram.observe(value);
    }
    this.#count = 0;
  }
}
