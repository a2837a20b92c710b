/** What each precision of a model asks of a machine, without building it. */
import { composeGraph, openForBuild, type ModelSource } from './build.ts';
import { BLOCK_PRECISIONS } from './checkpoints/linear-weight.ts';
import { FASTEST_ON_CPU, TENSOR_TYPE_BYTES, type Precision } from './manifest.ts';

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

/** Products of 16 bits: what devices compute in them. */
export type HalfPrecision = 'bf16' | 'f16';

/**
 * The first has the least error, the last the least bytes; a checkpoint that `models quantize` wrote
 * has its own precision alone. On devices that compute in 16 bits, those take the place of 32: of
 * matrices that were published in as many they keep every bit. Takes some tenths of a second for each.
 *
 * @param halves - What the device computes in. Of several, the one in which the checkpoint is stored,
 * else the first.
 * @param isEnough - Whether float32 needs so little that the others need not be counted.
 * @throws CheckpointError when the checkpoint cannot be used.
 */
export async function precisionNeeds(
  { halves = [], ...options }: ModelSource & { halves?: readonly HalfPrecision[] },
  isEnough: (needs: PrecisionNeeds) => boolean,
): Promise<PrecisionNeeds[]> {
  if (options.precision !== undefined) return [await needsOf(options, options.precision)];
  const { languageModel, precision, stored } = await openForBuild(options);
  if (languageModel.blockPrecision !== null) return [await needsOf(options, precision)];
  const plain = await needsOf(options, 'f32');
  if (isEnough(plain)) return [plain];
  const { BF16 = 0, F16 = 0 } = stored.types;
  const published = F16 > BF16 ? 'f16' : 'bf16';
  const half = halves.find((one) => one === published) ?? halves[0];
  const all = [half === undefined ? plain : await needsOf(options, half)];
  const isOnCpu = (options.device ?? 'cpu') === 'cpu';
  for (const block of BLOCK_PRECISIONS) {
    if (isOnCpu || block !== FASTEST_ON_CPU) all.push(await needsOf(options, block));
  }
  return all;
}

async function needsOf(options: ModelSource, precision: Precision): Promise<PrecisionNeeds> {
  const checkpoint = await openForBuild({ ...options, precision });
  const { signature } = composeGraph(checkpoint, 'frame', 1, false, options.device).finish();
  return {
    precision,
    weightBytes: signature.weightBytes,
    bytesPerConversation: signature.states.reduce(
      (sum, { type, rowShape }) =>
        sum + rowShape.reduce((count, size) => count * size, TENSOR_TYPE_BYTES[type]),
      0,
    ),
  };
}
