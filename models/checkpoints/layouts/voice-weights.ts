/**
 * The transformer of the codec's decoder in blocks of 8 bits, for language models that a build rounds.
 *
 * Codes have been chosen before it: rounding it changes the sound, by less than can be heard, and no
 * token. The encoder stays as it is, for a less exact distance would choose other codes; so do the
 * decoder's convolutions, through which all of the sound goes, while a layer of the transformer adds
 * to it what its scales leave: with the three largest kernels in blocks, too, the demo's voice was 35 dB
 * above what that lost instead of 42, and a frame took no less time.
 */
import type { SafetensorsFile } from '../safetensors.ts';
import { ConvertedWeights } from './converted-weights.ts';
import type { ConvertedFile } from './open-weights.ts';

const VOICE_FILE = 'voice.safetensors';
const VOICE_TRANSFORMER = 'decoder_transformer.';

/** Null where no matrix of it is a whole number of blocks wide. */
export function voiceInBlocks(codec: SafetensorsFile): ConvertedFile | null {
  const tensors = codec
    .names()
    .filter((name) => name.startsWith(VOICE_TRANSFORMER))
    .map((name) => {
      const stored = codec.stored(name);
      return { name, shape: stored.shape, stored, packing: null };
    });
  const weights = new ConvertedWeights(codec.path, VOICE_FILE, 'PyTorch', tensors, 'q8');
  return weights.blockMatrices === 0 ? null : { fileName: VOICE_FILE, weights };
}
