/** Tells what a graph computed from what it must have made up. */
import type { ModelManifest } from '../../../../models/manifest.ts';
import { FREE, type FrameTensors } from './frame-tensors.ts';

/** Whether a row's outputs are finite, and its tokens are ones that exist. */
export function isMeaningful(
  { pcmOut, textToken, frameTokens, pauses }: FrameTensors,
  { generatedCodebooks, textCard, audioCard }: ModelManifest,
  slot: number,
): boolean {
  const rows = textToken.length;
  if (!isFiniteRow(pcmOut, slot, rows)) {
    return false;
  }
  if (pauses !== null && !isFiniteRow(pauses, slot, rows)) {
    return false;
  }
  const text = textToken[slot] ?? FREE;
  if (text < 0n || text > textCard) {
    return false;
  }
  const columns = 1 + generatedCodebooks;
  const card = Math.max(textCard, audioCard);
  for (let column = 0; column < columns; column += 1) {
    const token = frameTokens[slot * columns + column] ?? FREE;
    if (token < -2n || token > (column === 0 ? card : audioCard)) {
      return false;
    }
  }
  return true;
}

/** Whether all numbers of a row of a tensor are finite. */
function isFiniteRow(tensor: Float32Array, row: number, rows: number): boolean {
  const length = tensor.length / rows;
  let sum = 0;
  for (let index = row * length; index < (row + 1) * length; index += 1) {
    sum += tensor[index] ?? Number.NaN;
  }
  return Number.isFinite(sum);
}
