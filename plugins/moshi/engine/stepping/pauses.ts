import type { ModelManifest } from '../../../../models/manifest.ts';
import type { FrameTensors } from './frame-tensors.ts';

/** [heads] probabilities that a row's speaker has paused; null from models without such heads. */
export function pausesOf(
  { pauses }: Pick<FrameTensors, 'pauses'>,
  { pauses: description }: Pick<ModelManifest, 'pauses'>,
  row: number,
): number[] | null {
  if (pauses === null || description === null) {
    return null;
  }
  const { heads, classes } = description;
  const first = row * heads * classes;
  return Array.from({ length: heads }, (_, head) => pauses[first + head * classes] ?? Number.NaN);
}
