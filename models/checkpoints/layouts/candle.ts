/**
 * Candle's names (kyutai-labs/moshi@e6a55d2 scripts/import_rust.py, rust/moshi-core/src/lm.rs): those
 * of PyTorch, but for the depth transformer.
 */
import type { LanguageModelConfig } from '../language-model-config.ts';
import { depthSliceName } from './depth-slices.ts';

const SLICE = /^depformer\.(\d+)\.(.+)$/;

export function isCandle(names: readonly string[]): boolean {
  return names.some((name) => SLICE.test(name));
}

/** PyTorch's name of a tensor; null for steps that are not used. */
export function candleToPytorch(config: LanguageModelConfig, name: string): string | null {
  const slice = SLICE.exec(name);
  return slice === null ? name : depthSliceName(config, Number(slice[1]), slice[2] ?? '');
}
