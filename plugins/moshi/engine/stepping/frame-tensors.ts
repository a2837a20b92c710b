/** The frame graph's inputs and outputs as memory that threads share. */
import { strict as assert } from 'node:assert';

/** The memory of the frame graph's inputs and outputs; rows × the shapes of `models/manifest.ts`. */
export type FrameTensors = {
  pcm: Float32Array;
  execMask: Uint8Array;
  forcedText: BigInt64Array;
  forcedCodes: BigInt64Array;
  /** Empty for models that only listen. */
  pcmOut: Float32Array;
  textToken: BigInt64Array;
  frameTokens: BigInt64Array;
  /** Sums of embeddings that rows read in place of their tokens; null for models without. */
  embedding: Float32Array | null;
  hasEmbedding: Uint8Array | null;
  /** Null for models without heads that judge pauses. */
  pauses: Float32Array | null;
};

/** The same memory as it travels between threads. */
export type FrameBuffers = {
  [Name in keyof FrameTensors]: null extends FrameTensors[Name]
    ? SharedArrayBuffer | null
    : SharedArrayBuffer;
};

/** In a forced token: nothing is forced. */
export const FREE = -1n;

/** Views of shared memory, in whichever thread. */
export function frameTensors(buffers: FrameBuffers): FrameTensors {
  return {
    pcm: new Float32Array(buffers.pcm),
    execMask: new Uint8Array(buffers.execMask),
    forcedText: new BigInt64Array(buffers.forcedText),
    forcedCodes: new BigInt64Array(buffers.forcedCodes),
    pcmOut: new Float32Array(buffers.pcmOut),
    textToken: new BigInt64Array(buffers.textToken),
    frameTokens: new BigInt64Array(buffers.frameTokens),
    embedding: buffers.embedding === null ? null : new Float32Array(buffers.embedding),
    hasEmbedding: buffers.hasEmbedding === null ? null : new Uint8Array(buffers.hasEmbedding),
    pauses: buffers.pauses === null ? null : new Float32Array(buffers.pauses),
  };
}

/**
 * Makes the next step of a row read [W] numbers in place of its tokens, or its tokens (null).
 *
 * @throws AssertionError if the model reads no embeddings, or other ones.
 */
export function writeEmbedding(
  { embedding: target, hasEmbedding }: FrameTensors,
  slot: number,
  embedding: Float32Array | null,
): void {
  if (target === null || hasEmbedding === null) {
    assert(embedding === null, 'the model reads no embeddings');
    return;
  }
  hasEmbedding[slot] = embedding === null ? 0 : 1;
  if (embedding !== null) {
    const width = target.length / hasEmbedding.length;
    assert(
      embedding.length === width,
      `an embedding has ${width} numbers, got ${embedding.length}`,
    );
    target.set(embedding, slot * width);
  }
}
