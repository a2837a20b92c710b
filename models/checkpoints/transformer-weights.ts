/**
 * Finds the tensors of a StreamingTransformer under any of the names that Kyutai's files use.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/transformer.py. Attention weights occur
 * packed (`in_proj_weight`, `in_proj.weight`, `out_proj.weight`: the weight sets one after the
 * other along the rows) and, since `_load_hook` splits them, one tensor a set (`in_projs.N.weight`).
 */
import type { NormWeights } from '../layers/norm.ts';
import { CheckpointError } from './checkpoint-error.ts';
import { matrixRows, type LinearWeight } from './linear-weight.ts';
import type { TensorView } from './safetensors.ts';
import type { NormName, TransformerConfig } from './transformer-config.ts';
import type { WeightSource } from './weight-source.ts';

export type AttentionWeights = {
  /** Rows: all query heads, all key heads, all value heads. */
  readonly input: LinearWeight;
  readonly output: LinearWeight;
};

export type FeedForwardWeights = { readonly input: LinearWeight; readonly output: LinearWeight };

export type LayerWeights = {
  readonly attentionNorm: NormWeights;
  readonly feedForwardNorm: NormWeights;
  /** One per weight set; a transformer without weights per step has one set. */
  readonly attention: readonly AttentionWeights[];
  readonly feedForward: readonly FeedForwardWeights[];
  readonly attentionScale: TensorView | null;
  readonly feedForwardScale: TensorView | null;
};

/** Rows of the fused projection: queries, keys and values. */
export function projectionWidth(config: TransformerConfig): number {
  const keyWidth = config.dimension / config.headsPerKey;
  return config.dimension + 2 * keyWidth;
}

/**
 * @param prefix - For example `transformer`; layers are `transformer.layers.N`.
 * @param weightSets - Sets of weights per layer, or null where steps do not have their own: the
 *   gate's names carry a set number only with them.
 * @param packedSets - Sets that packed tensors hold; the first `weightSets` of them are taken.
 */
export function findTransformerWeights(
  file: WeightSource,
  prefix: string,
  config: TransformerConfig,
  weightSets: number | null,
  packedSets: number = weightSets ?? 1,
): LayerWeights[] {
  return Array.from({ length: config.layers }, (_, index) => {
    const layer = `${prefix}.layers.${index}`;
    const { dimension, norm } = config;
    const scale = (name: string): TensorView | null =>
      config.layerScale ? file.tensor(`${layer}.${name}.scale`, [dimension]) : null;
    return {
      attentionNorm: findNorm(file, `${layer}.norm1`, norm, dimension),
      feedForwardNorm: findNorm(file, `${layer}.norm2`, norm, dimension),
      attention: findAttention(file, `${layer}.self_attn`, config, weightSets ?? 1, packedSets),
      feedForward: findFeedForward(file, layer, config, weightSets),
      attentionScale: scale('layer_scale_1'),
      feedForwardScale: scale('layer_scale_2'),
    };
  });
}

/** RMS norms keep one `alpha` [1, 1, D]; layer norms `weight` and `bias` [D]. */
export function findNorm(
  file: WeightSource,
  prefix: string,
  norm: NormName,
  dimension: number,
): NormWeights {
  if (norm === 'rms_norm' || norm === 'rms_norm_f32') {
    return {
      norm,
      dimension,
      scale: file.tensor(`${prefix}.alpha`, [1, 1, dimension]),
      bias: null,
    };
  }
  return {
    norm,
    dimension,
    scale: file.tensor(`${prefix}.weight`, [dimension]),
    bias: file.tensor(`${prefix}.bias`, [dimension]),
  };
}

function findAttention(
  file: WeightSource,
  prefix: string,
  config: TransformerConfig,
  sets: number,
  packedSets: number,
): AttentionWeights[] {
  const { dimension } = config;
  const input = findSets(
    file,
    [`${prefix}.in_proj_weight`, `${prefix}.in_proj.weight`],
    (set) => `${prefix}.in_projs.${set}.weight`,
    [projectionWidth(config), dimension],
    sets,
    packedSets,
  );
  const output = findSets(
    file,
    [`${prefix}.out_proj.weight`],
    (set) => `${prefix}.out_projs.${set}.weight`,
    [dimension, dimension],
    sets,
    packedSets,
  );
  return input.map((view, set) => ({ input: view, output: output[set] ?? view }));
}

function findSets(
  file: WeightSource,
  packedNames: readonly string[],
  nameOfSet: (set: number) => string,
  [rows, columns]: readonly [number, number],
  sets: number,
  packedSets: number,
): LinearWeight[] {
  const indices = Array.from({ length: sets }, (_, set) => set);
  const packed = packedNames.find((name) => file.has(name));
  if (packed !== undefined) {
    const matrix = file.matrix(packed, [packedSets * rows, columns]);
    return indices.map((set) => matrixRows(matrix, set * rows, rows));
  }
  if (!file.has(nameOfSet(0))) {
    throw new CheckpointError(
      `${file.path}: there is no tensor ${[...packedNames, nameOfSet(0)].join(' or ')}.`,
    );
  }
  return indices.map((set) => file.matrix(nameOfSet(set), [rows, columns]));
}

function findFeedForward(
  file: WeightSource,
  layer: string,
  config: TransformerConfig,
  weightSets: number | null,
): FeedForwardWeights[] {
  const { dimension, hidden } = config;
  if (config.gating === 'none') {
    return [
      {
        input: file.matrix(`${layer}.linear1.weight`, [hidden, dimension]),
        output: file.matrix(`${layer}.linear2.weight`, [dimension, hidden]),
      },
    ];
  }
  const prefixes =
    weightSets === null
      ? [`${layer}.gating`]
      : Array.from({ length: weightSets }, (_, set) => `${layer}.gating.${set}`);
  return prefixes.map((prefix) => ({
    input: file.matrix(`${prefix}.linear_in.weight`, [2 * hidden, dimension]),
    output: file.matrix(`${prefix}.linear_out.weight`, [dimension, hidden]),
  }));
}
