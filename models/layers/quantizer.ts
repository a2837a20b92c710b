/**
 * Split residual vector quantisation: one semantic codebook, and a residual chain of acoustic ones
 * over the same latent.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/quantization/vq.py (SplitResidualVectorQuantizer) and
 * moshi/moshi/quantization/core_vq.py (EuclideanCodebook). Letters: B rows, L latent width, Q codebook
 * width, V entries (bins), K codebooks.
 */
import type { SafetensorsFile, TensorView } from '../checkpoints/safetensors.ts';
import type { MimiConfig } from '../checkpoints/mimi-config.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add, multiply, reshape, slice, subtract } from '../onnx/tensor-operations.ts';
import { sum } from './device-kernels.ts';
import { linear } from './linear.ts';

/** Entries that were used less than this count as used this often (core_vq.py, `epsilon`). */
const LEAST_USAGE = 1e-5;

export type CodebookWeights = {
  /** [V, Q]: sum of the vectors assigned to each entry during training. */
  readonly sum: TensorView;
  /** [V]: how many there were. */
  readonly usage: TensorView;
};

type Chain = {
  /** [Q, L, 1] and [L, Q, 1]. */
  readonly input: TensorView;
  readonly output: TensorView;
  readonly codebooks: readonly CodebookWeights[];
};

export type QuantizerWeights = {
  readonly config: MimiConfig['quantizer'];
  readonly semantic: Chain;
  readonly acoustic: Chain;
};

/** Accepts the older names `embed_avg` and `cluster_size` too. */
export function findQuantizer(
  file: SafetensorsFile,
  config: MimiConfig['quantizer'],
): QuantizerWeights {
  const { dimension, latentDimension, bins } = config;
  const either = (prefix: string, names: readonly [string, string], shape: number[]): TensorView =>
    file.tensor(`${prefix}.${file.has(`${prefix}.${names[1]}`) ? names[1] : names[0]}`, shape);
  const chain = (prefix: string, count: number): Chain => ({
    input: file.tensor(`${prefix}.input_proj.weight`, [dimension, latentDimension, 1]),
    output: file.tensor(`${prefix}.output_proj.weight`, [latentDimension, dimension, 1]),
    codebooks: Array.from({ length: count }, (_, index) => {
      const codebook = `${prefix}.vq.layers.${index}._codebook`;
      return {
        sum: either(codebook, ['embedding_sum', 'embed_avg'], [bins, dimension]),
        usage: either(codebook, ['cluster_usage', 'cluster_size'], [bins]),
      };
    }),
  });
  return {
    config,
    semantic: chain('quantizer.rvq_first', 1),
    acoustic: chain('quantizer.rvq_rest', config.codebooks - 1),
  };
}

/** latent [B, L] → the first `count` codes, each [B, 1] int64. Fewer codes are a prefix of more. */
export function quantize(
  graph: GraphBuilder,
  weights: QuantizerWeights,
  latent: Value,
  count: number,
): Value[] {
  return [
    ...quantizeChain(graph, weights, weights.semantic, latent, Math.min(count, 1)),
    ...quantizeChain(graph, weights, weights.acoustic, latent, count - 1),
  ];
}

function quantizeChain(
  graph: GraphBuilder,
  { config }: QuantizerWeights,
  chain: Chain,
  latent: Value,
  count: number,
): Value[] {
  if (count < 1) return [];
  const codes: Value[] = [];
  const input = { ...chain.input, shape: [config.dimension, config.latentDimension] };
  let residual = linear(graph, latent, input); // [B, Q]
  chain.codebooks.slice(0, count).forEach((codebook, index) => {
    const entries = codebookEntries(graph, codebook, config.bins);
    // Nearest entry: argmin |z - e|² = argmax z·e - |e|²/2.
    const halfSquares = multiply(
      graph,
      graph.op('ReduceSumSquare', [entries, graph.integers([1])], { keepdims: 0 }),
      graph.floats([-0.5]),
    ); // [V]
    const scores = graph.op('Gemm', [residual, entries, halfSquares], { transB: 1 }); // [B, V]
    const code = graph.op('ArgMax', [scores], { axis: 1, keepdims: 1 }); // [B, 1]
    codes.push(code);
    if (index + 1 < count) {
      const chosen = graph.op('Gather', [entries, reshape(graph, code, [graph.batch])], {
        axis: 0,
      });
      residual = subtract(graph, residual, chosen);
    }
  });
  return codes;
}

/** codes [B, K] → latent [B, L]. */
export function dequantize(
  graph: GraphBuilder,
  weights: QuantizerWeights,
  codes: Value,
  count: number,
): Value {
  const { config, semantic, acoustic } = weights;
  const codebooks = [...semantic.codebooks, ...acoustic.codebooks].slice(0, count);
  const vectors = codebooks.map((codebook, index) => {
    const code = reshape(graph, slice(graph, codes, 1, index, index + 1), [graph.batch]);
    const entries = codebookEntries(graph, codebook, config.bins);
    return graph.op('Gather', [entries, code], { axis: 0 }); // [B, Q]
  });
  const project = (chain: Chain, sum: Value): Value =>
    linear(graph, sum, { ...chain.output, shape: [config.latentDimension, config.dimension] });
  const [first, ...rest] = vectors;
  if (first === undefined) throw new RangeError('no codebooks to decode');
  const semanticLatent = project(semantic, first);
  if (rest.length === 0) return semanticLatent;
  const acousticSum = rest.length === 1 && rest[0] !== undefined ? rest[0] : sum(graph, rest);
  return add(graph, semanticLatent, project(acoustic, acousticSum));
}

/** The entries [V, Q]: constants, so onnxruntime computes them once when it loads the graph. */
function codebookEntries(graph: GraphBuilder, codebook: CodebookWeights, bins: number): Value {
  const usage = graph.op('Max', [
    graph.weight(codebook.usage, [bins, 1]),
    graph.floats([LEAST_USAGE]),
  ]);
  return graph.op('Div', [graph.weight(codebook.sum), usage]);
}
