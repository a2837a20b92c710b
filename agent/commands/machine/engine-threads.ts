/** The threads that compute a frame. */
import os from 'node:os';
import {
  requireProcessors,
  type OperatorThreads,
} from '../../../plugins/moshi/engine/onnxruntime/thread-pinning.ts';
import type { Config } from '../../config.ts';

/** More than a few threads cost the small graphs of one frame more than they give. */
const MAX_DEFAULT_THREADS = 8;

/**
 * As many as the configuration says, else one for each processor that it names, else one less than
 * there are: the rooms run on the same machine more often than not.
 *
 * @throws OnnxRuntimeError if a processor is named that this process may not use.
 */
export function engineThreads(
  { threads, processors }: Config['engine'],
  cores: number = os.availableParallelism(),
): OperatorThreads {
  if (processors !== undefined) {
    requireProcessors(processors);
  }
  return {
    threads: threads ?? processors?.length ?? Math.max(1, Math.min(MAX_DEFAULT_THREADS, cores - 1)),
    processors,
  };
}
