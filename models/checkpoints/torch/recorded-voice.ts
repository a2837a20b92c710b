/**
 * A voice as NVIDIA publishes it: what PersonaPlex read while it was prompted with a recording.
 *
 * Source: NVIDIA/personaplex@60620ab moshi/moshi/models/lm.py (`_step_voice_prompt_core`): `embeddings`
 * [rows, 1, 1, W] are the sums of embeddings of positions 0 to rows - 1, `cache` [1, 1 + N, R] is the
 * ring of tokens after them, position p in column p mod R.
 */
import { CheckpointError } from '../checkpoint-error.ts';
import { readTorchArchive } from './torch-archive.ts';

export type RecordedVoice = {
  /** [rows][W]. */
  readonly embeddings: readonly Float32Array[];
  /** [1 + N][R] tokens. */
  readonly ring: readonly (readonly number[])[];
};

/**
 * @param width - W: the model's.
 * @param streams - 1 + N of the model.
 * @throws CheckpointError saying what in the file is not a voice of this model.
 */
export async function readRecordedVoice(
  path: string,
  { width, streams }: { readonly width: number; readonly streams: number },
): Promise<RecordedVoice> {
  const tensors = await readTorchArchive(path);
  const embeddings = tensors.get('embeddings');
  const cache = tensors.get('cache');
  if (embeddings === undefined || cache === undefined) {
    const found = [...tensors.keys()].join(', ');
    throw new CheckpointError(
      `${path}: a voice holds the tensors embeddings and cache, found ${found === '' ? 'none' : found}.`,
    );
  }
  const [rows = 0, ...rowShape] = embeddings.shape;
  if (rowShape.length !== 3 || rowShape[0] !== 1 || rowShape[1] !== 1 || rowShape[2] !== width) {
    throw new CheckpointError(
      `${path}: embeddings has shape [${embeddings.shape.join(', ')}], this model reads ` +
        `[rows, 1, 1, ${width}]: the voice was recorded for another model.`,
    );
  }
  const [, , columns = 0] = cache.shape;
  if (cache.shape.length !== 3 || cache.shape[0] !== 1 || cache.shape[1] !== streams) {
    throw new CheckpointError(
      `${path}: cache has shape [${cache.shape.join(', ')}], this model has [1, ${streams}, columns].`,
    );
  }
  if (!embeddings.values.every(Number.isFinite)) {
    throw new CheckpointError(`${path}: embeddings has values that are no numbers.`);
  }
  return {
    embeddings: Array.from({ length: rows }, (_, row) =>
      Float32Array.from(embeddings.values.subarray(row * width, (row + 1) * width)),
    ),
    ring: Array.from({ length: streams }, (_, stream) =>
      Array.from(cache.values.subarray(stream * columns, (stream + 1) * columns)),
    ),
  };
}
