/**
 * What a model is given step by step when its input is a file, as Kyutai's own scripts do it.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/server.py, which loses the first frame, and
 * moshi/moshi/run_inference.py for models that end a stream: the first frame comes twice, because
 * the model does not hear the first step; after the last one comes a column of codes that no sound
 * has, then silence until the model has said all.
 */
import type { ModelManifest } from '../../../models/manifest.ts';

export interface InferStep {
  /** [1920] at 24 kHz. */
  pcm: Float32Array;
  /** [N], codes in place of those of `pcm`; -1 leaves one as it is. */
  forcedCodes?: readonly number[];
  /** Whether the speech is over, so that the model may end. */
  isTail: boolean;
}

/**
 * @param frames - At least one.
 * @param tailFrames - Most steps to give after the speech to a model that ends a stream; 0: none.
 */
export function inferSteps(
  manifest: Pick<
    ModelManifest,
    'endOfStreamToken' | 'generatedCodebooks' | 'heardCodebooks' | 'audioCard' | 'frameSamples'
  >,
  frames: readonly Float32Array[],
  tailFrames: number,
): InferStep[] {
  const { generatedCodebooks, heardCodebooks, audioCard, frameSamples } = manifest;
  const speech = frames.map((pcm) => ({ pcm, isTail: false }));
  if (manifest.endOfStreamToken === null) {
    return speech;
  }
  const silence = new Float32Array(frameSamples);
  const end = [
    ...Array<number>(generatedCodebooks).fill(-1),
    ...Array<number>(heardCodebooks).fill(audioCard),
  ];
  const tail = Array.from({ length: tailFrames }, (_, index) => ({
    pcm: silence,
    isTail: true,
    ...(index === 0 && { forcedCodes: end }),
  }));
  return [...speech.slice(0, 1), ...speech, ...tail];
}
