/** What a model takes of this machine's memory, counted before it is loaded. */
import type { GraphDescription } from '../../../../models/manifest.ts';
import { graphsFor, type ModelDirectory } from './model-directory.ts';
import { rowBytes } from '../onnxruntime/tensor.ts';

/** There is not enough memory; the message has the figures. */
export class MemoryError extends Error {
  override readonly name = 'MemoryError';
}

export type MemoryNeeds = {
  /** In the type they are computed in, as `GraphDescription` counts them. */
  weightsBytes: number;
  /** State, input and output of one conversation. */
  bytesPerConversation: number;
  /** Conversations that memory is taken for: all slots, and what fills up the largest graph. */
  rows: number;
};

export function memoryNeeds(model: ModelDirectory, slots: number): MemoryNeeds {
  const largest = graphsFor(model, 'frame', slots).at(-1);
  const rows = largest?.batch ?? slots;
  const tensors = [
    ...(largest?.inputs ?? []).map(({ type, shape }) => ({ type, rowShape: shape.slice(1) })),
    ...(largest?.outputs ?? []).map(({ type, shape }) => ({ type, rowShape: shape.slice(1) })),
    ...(largest?.states ?? []),
  ];
  return {
    weightsBytes: largest?.weightBytes ?? 0,
    bytesPerConversation: sum(tensors.map(rowBytes)),
    rows,
  };
}

/**
 * What a device takes beside weights and states: NVIDIA's context and kernels, workspaces of matrix
 * products, and what a frame's steps hand to each other.
 */
const DEVICE_OVERHEAD_BYTES = 1e9;

/** Of a device with memory of its own, on which all graphs of one kind are loaded. */
export function deviceMemoryNeeds(
  model: ModelDirectory,
  kind: GraphDescription['kind'],
  slots: number,
): MemoryNeeds {
  const graphs = graphsFor(model, kind, slots);
  const largest = graphs.at(-1);
  // Tables included: there is no file to read single rows from.
  const shared = (largest?.weights ?? []).filter(({ isReadAsStored }) => isReadAsStored);
  return {
    weightsBytes:
      sum(shared.map(({ lengthBytes }) => lengthBytes)) +
      sum(graphs.map(({ foldedBytes }) => foldedBytes)) +
      DEVICE_OVERHEAD_BYTES,
    bytesPerConversation: sum((largest?.states ?? []).map(rowBytes)),
    rows: largest?.batch ?? slots,
  };
}

/**
 * Memory for states is taken page by page as conversations go on, so too little of it would show
 * minutes later, as a killed process.
 *
 * @param weightsBytes - Still to be loaded; 0 afterwards.
 * @param availableBytes - `availableMemory()`, or what is free of the device.
 * @returns Bytes that are left.
 * @throws MemoryError with what is needed, what there is, and how many conversations would fit.
 */
export function refuseTooLittleMemory(
  { weightsBytes, bytesPerConversation, rows }: MemoryNeeds,
  availableBytes: number,
): number {
  const statesBytes = bytesPerConversation * rows;
  const leftBytes = availableBytes - weightsBytes - statesBytes;
  if (leftBytes >= 0) {
    return leftBytes;
  }
  const fitting = Math.floor((availableBytes - weightsBytes) / bytesPerConversation);
  throw new MemoryError(
    `Not enough memory: ${megabytes(statesBytes)} for ${rows} conversations (${megabytes(bytesPerConversation)} each)` +
      `${weightsBytes > 0 ? ` and ${megabytes(weightsBytes)} for weights and workspaces` : ''} are needed, ` +
      `${megabytes(availableBytes)} are free. ` +
      (fitting >= 1
        ? `Set MOSHI_ENGINE_SLOTS to at most ${fitting}.`
        : 'Choose a smaller model, a shorter context (MOSHI_CONTEXT) or, on a CPU, keys and values of 8 bits ' +
          '(MOSHI_KV_TYPE=int8), or free memory.'),
  );
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
