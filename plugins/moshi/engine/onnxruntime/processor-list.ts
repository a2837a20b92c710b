/** Processors by the numbers that Linux gives them, from 0, as in `lscpu` and `taskset`. */

/** Bits of `cpu_set_t` (sched.h). */
export const MOST_PROCESSORS = 1_024;

/**
 * Reads a list as the kernel, `lscpu` and `taskset` write it: numbers and ranges, `0,2-3`.
 *
 * @returns them in their order; null if it is no such list.
 */
export function parseProcessors(list: string): number[] | null {
  const processors: number[] = [];
  for (const part of list.split(',')) {
    const [, first, last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first) || Number(last) >= MOST_PROCESSORS) {
      return null;
    }
    for (let processor = Number(first); processor <= Number(last); processor += 1) {
      processors.push(processor);
    }
  }
  return processors;
}

/** One by one, in their order. */
export function listProcessors(processors: readonly number[]): string {
  return processors.join(',');
}
