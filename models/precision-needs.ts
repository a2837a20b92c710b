/** What each precision of a model asks of a machine, without building it. */
import { composeGraph, openForBuild, type BuildOptions } from './build.ts';
import { TENSOR_TYPE_BYTES, type Precision } from './manifest.ts';

export type PrecisionNeeds = {
  readonly precision: Precision;
  /**
   * Bytes of weights that a frame reads, in the type they are computed in; what stays in memory.
   * Tables that a frame reads single rows of stay in their file.
   */
  readonly weightBytes: number;
  /** State of one conversation. */
  readonly bytesPerConversation: number;
};

/**
 * The first has the least error, the last the least bytes; a checkpoint that `models quantize` wrote
 * has its own precision alone. Takes some tenths of a second for each.
 *
 * @param isEnough - Whether the first needs so little that the others need not be counted.
 * @throws CheckpointError when the checkpoint cannot be used.
 */
export async function precisionNeeds(
  options: Pick<
    BuildOptions,
    'checkpoint' | 'hubCacheDirectory' | 'adapters' | 'guidance' | 'keyValueType' | 'device'
  >,
  isEnough: (needs: PrecisionNeeds) => boolean,
): Promise<PrecisionNeeds[]> {
  const stored = await openForBuild(options);
  const precisions: Precision[] =
    stored.languageModel.blockPrecision === null ? ['f32', 'q8', 'q4'] : [stored.precision];
  const all: PrecisionNeeds[] = [];
  for (const precision of precisions) {
    const checkpoint = await openForBuild({ ...options, precision });
    const { signature } = composeGraph(checkpoint, 'frame', 1, false).finish();
    const needs = {
      precision,
      weightBytes: signature.weightBytes,
      bytesPerConversation: signature.states.reduce(
        (sum, { type, rowShape }) =>
          sum + rowShape.reduce((count, size) => count * size, TENSOR_TYPE_BYTES[type]),
        0,
      ),
    };
    all.push(needs);
    if (all.length === 1 && isEnough(needs)) break;
  }
  return all;
}
