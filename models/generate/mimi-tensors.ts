/**
 * Tensors of the Mimi codec in Kyutai's PyTorch layout.
 *
 * Names and shapes: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/compression.py (MimiModel),
 * moshi/moshi/modules/seanet.py, moshi/moshi/quantization/{vq,core_vq}.py.
 */
import type { MimiConfig } from '../checkpoints/mimi-config.ts';
import { TensorList, type GeneratedTensor, type Spelling } from './tensor-list.ts';

/** Speech of usual loudness then gives latents of about 1, and what is decoded is about as loud. */
const CONVOLUTION_GAIN = 1.4;
const LAST_GAIN = 0.1;
/** About the latents' own: much larger and one entry wins always, much smaller and the rest hides. */
const CODEBOOK_DEVIATION = 1;
const LAYER_SCALE = { mean: 0.3, deviation: 0.05 };

export function mimiTensors(config: MimiConfig, spelling: Spelling = 'packed'): GeneratedTensor[] {
  const list = new TensorList(spelling);
  addEncoder(list, config);
  addDecoder(list, config);
  const { dimension } = config.seanet;
  const stride = config.latentsPerFrame;
  list.addLinear(
    'downsample.conv.conv.conv.weight',
    [dimension, dimension, 2 * stride],
    CONVOLUTION_GAIN,
  );
  list.addLinear('upsample.convtr.convtr.convtr.weight', [dimension, 1, 2 * stride], 1);
  for (const side of ['encoder', 'decoder']) addTransformer(list, `${side}_transformer`, config);
  addQuantizer(list, config);
  return list.tensors;
}

function addConvolution(
  list: TensorList,
  name: string,
  shape: readonly number[],
  gain = CONVOLUTION_GAIN,
): void {
  list.addLinear(`${name}.conv.conv.weight`, shape, gain);
  list.addBias(`${name}.conv.conv.bias`, shape[0] ?? 1);
}

function addBlock(
  list: TensorList,
  name: string,
  channels: number,
  { compress, residual_kernel_size: kernel, true_skip: plainSkip }: MimiConfig['seanet'],
): void {
  const hidden = channels / compress;
  addConvolution(list, `${name}.block.1`, [hidden, channels, kernel]);
  addConvolution(list, `${name}.block.3`, [channels, hidden, 1]);
  if (!plainSkip) addConvolution(list, `${name}.shortcut`, [channels, channels, 1]);
}

/** Every ratio takes its residual blocks, an activation and a convolution. */
function modulesPerRatio({ n_residual_layers: blocks }: MimiConfig['seanet']): number {
  return blocks + 2;
}

function addEncoder(list: TensorList, { seanet }: MimiConfig): void {
  const perRatio = modulesPerRatio(seanet);
  let channels = seanet.n_filters;
  addConvolution(list, 'encoder.model.0', [channels, 1, seanet.kernel_size]);
  for (const [index, ratio] of seanet.ratios.toReversed().entries()) {
    const first = 1 + index * perRatio;
    for (let block = 0; block < seanet.n_residual_layers; block += 1) {
      addBlock(list, `encoder.model.${first + block}`, channels, seanet);
    }
    const name = `encoder.model.${first + perRatio - 1}`;
    addConvolution(list, name, [2 * channels, channels, 2 * ratio]);
    channels *= 2;
  }
  const last = `encoder.model.${2 + seanet.ratios.length * perRatio}`;
  addConvolution(list, last, [seanet.dimension, channels, seanet.last_kernel_size]);
}

function addDecoder(list: TensorList, { seanet }: MimiConfig): void {
  const perRatio = modulesPerRatio(seanet);
  let channels = seanet.n_filters * 2 ** seanet.ratios.length;
  addConvolution(list, 'decoder.model.0', [channels, seanet.dimension, seanet.kernel_size]);
  for (const [index, ratio] of seanet.ratios.entries()) {
    const name = `decoder.model.${2 + index * perRatio}.convtr.convtr`;
    // Stored [inputs, outputs, kernel]; every sample sees two of the kernel's pieces.
    const deviation = CONVOLUTION_GAIN / Math.sqrt(2 * channels);
    list.add(`${name}.weight`, [channels, channels / 2, 2 * ratio], { mean: 0, deviation });
    list.addBias(`${name}.bias`, channels / 2);
    channels /= 2;
    for (let block = 0; block < seanet.n_residual_layers; block += 1) {
      addBlock(list, `decoder.model.${3 + index * perRatio + block}`, channels, seanet);
    }
  }
  const last = `decoder.model.${2 + seanet.ratios.length * perRatio}`;
  addConvolution(list, last, [1, channels, seanet.last_kernel_size], LAST_GAIN);
}

function addTransformer(list: TensorList, prefix: string, config: MimiConfig): void {
  const { transformer } = config;
  const { dimension: width, hidden } = transformer;
  const latent = config.quantizer.latentDimension;
  if (width !== latent) {
    list.addLinear(`${prefix}.input_proj.weight`, [width, latent], 1);
    list.addLinear(`${prefix}.output_projs.0.weight`, [latent, width], 1);
  }
  const rows = width + (2 * width) / transformer.headsPerKey;
  for (let index = 0; index < transformer.layers; index += 1) {
    const layer = `${prefix}.transformer.layers.${index}`;
    list.addAttention(`${layer}.self_attn`, { rows, width, sets: 1, gain: 1 });
    list.addNorm(`${layer}.norm1`, transformer.norm, width);
    list.addNorm(`${layer}.norm2`, transformer.norm, width);
    if (transformer.layerScale) {
      list.add(`${layer}.layer_scale_1.scale`, [width], LAYER_SCALE);
      list.add(`${layer}.layer_scale_2.scale`, [width], LAYER_SCALE);
    }
    const [input, output] =
      transformer.gating === 'none'
        ? [`${layer}.linear1.weight`, `${layer}.linear2.weight`]
        : [`${layer}.gating.linear_in.weight`, `${layer}.gating.linear_out.weight`];
    const inputRows = transformer.gating === 'none' ? hidden : 2 * hidden;
    list.addLinear(input, [inputRows, width], 1);
    list.addLinear(output, [width, hidden], 1);
  }
}

function addQuantizer(list: TensorList, { quantizer }: MimiConfig): void {
  const { dimension, latentDimension, bins } = quantizer;
  for (const [chain, count] of [
    ['rvq_first', 1],
    ['rvq_rest', quantizer.codebooks - 1],
  ] as const) {
    const prefix = `quantizer.${chain}`;
    list.addLinear(`${prefix}.input_proj.weight`, [dimension, latentDimension, 1], 1);
    list.addLinear(`${prefix}.output_proj.weight`, [latentDimension, dimension, 1], 1);
    for (let index = 0; index < count; index += 1) {
      const codebook = `${prefix}.vq.layers.${index}._codebook`;
      list.add(`${codebook}._initialized`, [1], { mean: 1, deviation: 0 });
      list.addSpelled(
        { packed: `${codebook}.cluster_usage`, separate: `${codebook}.cluster_size` },
        [bins],
        // Nowhere near 0: a vector is its sum divided by its usage.
        { mean: 1, deviation: 0.15 },
      );
      list.addSpelled(
        { packed: `${codebook}.embedding_sum`, separate: `${codebook}.embed_avg` },
        [bins, dimension],
        { mean: 0, deviation: CODEBOOK_DEVIATION },
      );
    }
  }
}
