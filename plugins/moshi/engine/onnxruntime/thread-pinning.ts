/**
 * Threads that stay on processors of their own: the system moves none of them in the middle of a
 * frame, and what they read last is still in that processor's cache.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

import { OnnxRuntimeError } from './onnx-runtime-error.ts';
import { listProcessors, MOST_PROCESSORS, parseProcessors } from './processor-list.ts';

/** The threads that share one operator's work. */
export type OperatorThreads = {
  /** How many, the one that calls included. */
  threads: number;
  /** The processor of each, the calling thread's first; the system chooses if missing. */
  processors?: readonly number[] | undefined;
};

let allowed: readonly number[] | null | undefined;

/**
 * Processors that this process was given when it was first asked, ascending; null where the system
 * does not tell, or lets no thread choose.
 */
export function allowedProcessors(): readonly number[] | null {
  // Asked once: pinned threads have but one each.
  allowed ??= readAllowedProcessors();
  return allowed;
}

function readAllowedProcessors(): readonly number[] | null {
  try {
    const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return list?.[1] === undefined ? null : parseProcessors(list[1]);
  } catch {
    return null;
  }
}

/** @throws OnnxRuntimeError if not all of these can be had, naming those that can. */
export function requireProcessors(processors: readonly number[]): void {
  const there = allowedProcessors();
  if (there === null) {
    throw OnnxRuntimeError.cannotPin(
      listProcessors(processors),
      `${process.platform} lets no thread choose its processor`,
    );
  }
  const missing = processors.filter((processor) => !there.includes(processor));
  if (missing.length > 0) {
    throw OnnxRuntimeError.cannotPin(
      listProcessors(processors),
      `this process may not use ${listProcessors(missing)}, only ${listProcessors(there)}`,
    );
  }
}

/** @throws OnnxRuntimeError if the system refuses. */
export function pinCallingThread(processor: number): void {
  const mask = new Uint8Array(MOST_PROCESSORS / 8);
  mask[processor >> 3] = 1 << (processor & 7);
  const setAffinity = koffi
    .load('libc.so.6')
    .func('sched_setaffinity', 'int', ['int', 'size_t', 'void *']);
  // Process 0 means the thread that calls.
  if (setAffinity(0, mask.length, mask) !== 0) {
    throw OnnxRuntimeError.cannotPin(
      String(processor),
      `sched_setaffinity failed (errno ${koffi.errno()})`,
    );
  }
}

/**
 * Value of `session.intra_op_thread_affinities`: a processor for each thread that ONNX Runtime starts
 * itself, which are all but the calling one; its numbers begin at 1
 * (onnxruntime_session_options_config_keys.h).
 */
export function threadAffinities(processors: readonly number[]): string {
  return processors
    .slice(1)
    .map((processor) => processor + 1)
    .join(';');
}
