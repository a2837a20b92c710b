/**
 * MLX and Candle keep the depth transformer as one module per step, where PyTorch packs the steps'
 * weights; what steps share (norms, and sets that a schedule uses twice) is there once per step.
 *
 * Sources: kyutai-labs/moshi@e6a55d2 scripts/import_mlx.py, scripts/import_rust.py.
 */
import type { LanguageModelConfig } from '../language-model-config.ts';

/**
 * PyTorch's name for `rest` of the module of `step`, for example `emb.weight`; null for a step that
 * the configuration does not use.
 */
export function depthSliceName(
  config: LanguageModelConfig,
  step: number,
  rest: string,
): string | null {
  if (config.depth === null) return null;
  const { schedule, weightsPerStep, inputPerSet } = config.depth;
  const scheduled = schedule[step];
  if (scheduled === undefined) return null;
  const set = weightsPerStep ? scheduled : 0;
  const table = step === 0 ? 'depformer_text_emb' : `depformer_emb.${step - 1}`;
  return rest
    .replace(/^linear_in\./, `depformer_in.${inputPerSet ? scheduled : 0}.`)
    .replace(/^linear_out\./, `linears.${step}.`)
    .replace(/^emb\./, `${table}.`)
    .replace(/^transformer\./, 'depformer.')
    .replace(/\.self_attn\.(in|out)_proj[._]weight/, `.self_attn.$1_projs.${set}.weight`)
    .replace(/\.gating\.linear/, weightsPerStep ? `.gating.${set}.linear` : '.gating.linear');
}
