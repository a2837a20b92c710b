/** What a model of the catalogue needs, computed from its architecture, not written down. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveModel, type CatalogueEntry } from './catalogue.ts';
import {
  parseLanguageModelConfig,
  readLanguageModelConfig,
  type LanguageModelConfig,
} from './checkpoints/language-model-config.ts';
import { readMimiConfig, type MimiConfig } from './checkpoints/mimi-config.ts';
import { architecture } from './generate/architectures.ts';
import { parameterCount } from './generate/generate-checkpoint.ts';
import { precision, type Precision } from './manifest.ts';
import { languageModelTensors } from './generate/language-model-tensors.ts';
import {
  bytesPerConversation,
  codecParameterCount,
  memoryBytes,
  parameterCounts,
} from './model-size.ts';

export type MemoryFacts = {
  /**
   * Of weights and one conversation, by what the matrices are computed in; see `memoryBytes`. 16 bits
   * are for GPUs.
   */
  readonly memoryBytes: Readonly<Record<Precision, number>>;
  /** Of every further conversation. */
  readonly bytesPerConversation: Readonly<Record<Precision, number>>;
};

export type CatalogueFacts = MemoryFacts & {
  /** Numbers of the language model. */
  readonly parameters: number;
  /** Of the files; within some per cent for quantised ones. */
  readonly downloadBytes: number;
};

/** Bits of a stored number, scales included (`layouts/mlx.ts`, `layouts/gguf.ts`). */
const STORED_BITS: Readonly<
  Record<CatalogueEntry['layout'], Readonly<Record<CatalogueEntry['precision'], number>>>
> = {
  PyTorch: { f32: 32, bf16: 16, q8: 8, q4: 4 },
  MLX: { f32: 32, bf16: 16, q8: 8.5, q4: 5 },
  Candle: { f32: 32, bf16: 16, q8: 8.5, q4: 4.5 },
};
const CODEC_BYTES_PER_NUMBER = 4;

export async function catalogueFacts(entry: CatalogueEntry): Promise<CatalogueFacts> {
  if (entry.architecture === null) return bundledFacts(entry.name);
  const { config } = architecture(entry.architecture);
  const mimi = await readMimiConfig(null);
  const stored = parameterCount(languageModelTensors(config));
  const bits = STORED_BITS[entry.layout][entry.precision];
  return {
    parameters: stored,
    downloadBytes: (stored * bits) / 8 + codecParameterCount(mimi) * CODEC_BYTES_PER_NUMBER,
    ...memoryFacts(parseLanguageModelConfig(config, `${entry.name}/config.json`), mimi),
  };
}

/** The weights are here: what they are is read, not remembered. */
async function bundledFacts(name: string): Promise<CatalogueFacts> {
  const { directory } = resolveModel(name);
  const config = await readLanguageModelConfig(directory);
  const { mimiConfig, model, mimi: codec } = config.files;
  const mimi = await readMimiConfig(mimiConfig === null ? null : join(directory, mimiConfig));
  const sizes = await Promise.all(
    [model, codec].map(async (file) => (await stat(join(directory, file))).size),
  );
  return {
    parameters: sum(Object.values(parameterCounts(config))),
    downloadBytes: sum(sizes),
    ...memoryFacts(config, mimi),
  };
}

export function memoryFacts(config: LanguageModelConfig, mimi: MimiConfig): MemoryFacts {
  const byPrecision = (bytes: (precision: Precision) => number): Record<Precision, number> =>
    Object.fromEntries(
      precision.options.map((precision) => [precision, bytes(precision)] as const),
    ) as Record<Precision, number>;
  return {
    memoryBytes: byPrecision((precision) => memoryBytes(config, mimi, precision, 1)),
    bytesPerConversation: byPrecision((precision) => bytesPerConversation(config, mimi, precision)),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
