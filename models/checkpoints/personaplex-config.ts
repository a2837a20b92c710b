/**
 * PersonaPlex: what it needs beyond Moshi's configuration.
 *
 * Source: NVIDIA/personaplex@60620ab moshi/moshi/models/loaders.py and lm.py. The reference never
 * reads config.json: it takes Moshi's built-in 7B configuration with a depth transformer of 16 steps.
 * So the published file may lack every key, and what it lacks is filled from that configuration; and
 * where it says nothing of the architecture, keys that nobody here knows cannot be about it.
 *
 * Steps 8 to 15 of the depth transformer guess what the user will say. Each step sees only those
 * before it and the user's real codes replace the guesses, so they change nothing and are not run.
 */
import type { PromptDescription } from '../manifest.ts';
import { CheckpointError } from './checkpoint-error.ts';

/** Keys of published configurations that say nothing about the arithmetic. */
const INFORMATIVE_KEYS = new Set([
  'version',
  'architectures',
  'library_name',
  'license',
  'torch_dtype',
  'dtype',
  'transformers_version',
  '_name_or_path',
]);

/** A configuration without any of them is no description of a model. */
const ARCHITECTURE_KEYS = ['dim', 'num_layers', 'num_heads', 'n_q', 'dep_q', 'card', 'context'];

/** lm.py, `SILENCE_TOKENS`: the codec's steady codes of digital silence. */
const SILENCE_CODES = [948, 243, 1178, 546, 1736, 1030, 1978, 2008];
/** lm.py, `SINE_TOKENS`: its steady codes of a tone of 440 Hz at half of full scale. */
const TONE_CODES = [430, 1268, 381, 1611, 1095, 1495, 56, 472];
/** lm.py, `audio_silence_frame_cnt`: half a second, in whole frames. */
const GAP_FRAMES = 6;

/**
 * By its name, or by a Moshi whose depth transformer has a step for every codebook of both voices.
 *
 * @param hasVoices - Whether voices lie beside it: a configuration that says nothing of an architecture
 * is then PersonaPlex's.
 */
export function isPersonaPlex(json: unknown, hasVoices = false): json is Record<string, unknown> {
  if (typeof json !== 'object' || json === null) return false;
  const { model_type: type, n_q: codebooks, dep_q: steps } = json as Record<string, unknown>;
  if (type === 'personaplex') return true;
  if (hasVoices && !describesArchitecture(json)) return true;
  return (type === undefined || type === 'moshi') && codebooks === 16 && steps === 16;
}

function describesArchitecture(json: object): boolean {
  return ARCHITECTURE_KEYS.some((key) => Object.hasOwn(json, key));
}

/**
 * The configuration with everything that it lacks, and without what says nothing about the arithmetic.
 *
 * @param known - Keys that the configuration of a language model can have.
 * @returns with the other keys that were left out because no architecture is described.
 */
export function completePersonaPlex(
  json: Record<string, unknown>,
  moshi: Record<string, unknown>,
  known: ReadonlySet<string>,
): { complete: Record<string, unknown>; ignored: readonly string[] } {
  const ignored = describesArchitecture(json)
    ? []
    : Object.keys(json).filter((key) => !known.has(key) && !INFORMATIVE_KEYS.has(key));
  const given = Object.entries(json).filter(
    ([key]) => !INFORMATIVE_KEYS.has(key) && !ignored.includes(key),
  );
  const complete = {
    ...moshi,
    dep_q: 16,
    ...Object.fromEntries(given),
    model_type: 'personaplex',
  };
  return { complete, ignored };
}

/**
 * @param sizes - D generated codebooks of `card` entries each, and the delays of text and codebooks.
 * @throws CheckpointError where the reference's codes do not exist.
 */
export function personaPlexPrompt(sizes: {
  readonly generatedCodebooks: number;
  readonly audioCard: number;
  readonly delays: readonly number[];
}): PromptDescription {
  const { generatedCodebooks, audioCard, delays } = sizes;
  const highest = Math.max(...SILENCE_CODES, ...TONE_CODES);
  if (generatedCodebooks !== SILENCE_CODES.length || audioCard <= highest) {
    throw new CheckpointError(
      `config.json: PersonaPlex is prompted with codes of ${SILENCE_CODES.length} codebooks up to ` +
        `${highest}; found ${generatedCodebooks} codebooks a voice (n_q / 2) of ${audioCard} codes (card).`,
    );
  }
  return {
    silenceCodes: SILENCE_CODES,
    toneCodes: TONE_CODES,
    gapFrames: GAP_FRAMES,
    delays: [...delays],
  };
}
