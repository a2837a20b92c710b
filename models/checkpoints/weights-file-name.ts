/** How the weights of the language model are called where config.json does not say it. */

/** The first that exists is meant (kyutai-labs/moshi@e6a55d2 moshi_mlx/moshi_mlx/local.py, README.md). */
const NAMES = [
  'model.safetensors',
  'model.q8.safetensors',
  'model.q4.safetensors',
  'model.q8.gguf',
  'model.q4.gguf',
] as const;

/** @param has - Whether the checkpoint has a file of this name. */
export function weightsFileName(has: (fileName: string) => boolean): string {
  return NAMES.find(has) ?? NAMES[0];
}
