/**
 * SEANet: the convolutional encoder and decoder of Mimi.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/modules/seanet.py (SEANetEncoder, SEANetDecoder,
 * SEANetResnetBlock). Modules are numbered as in the reference's `nn.Sequential`, where activations
 * count too, because the tensor names carry these numbers. Letters: B rows, C channels, T columns.
 */
import type { SeanetConfig } from '../checkpoints/mimi-config.ts';
import type { SafetensorsFile } from '../checkpoints/safetensors.ts';
import { elu } from '../layers/elu.ts';
import {
  streamingConvolution,
  streamingTransposedConvolution,
} from '../layers/streaming-convolution.ts';
import type { StreamRows } from '../layers/stream-rows.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { add } from '../onnx/tensor-operations.ts';

/** A signal on its way: its value [B, columns, channels]. */
type Signal = { readonly value: Value; readonly channels: number; readonly columns: number };

export type SeanetContext = {
  readonly graph: GraphBuilder;
  readonly config: SeanetConfig;
  readonly file: SafetensorsFile;
  readonly rows: StreamRows;
};

/** pcm [B, samples, 1] → latents [B, samples / product of the ratios, dimension]. */
export function seanetEncoder(context: SeanetContext, pcm: Value, samples: number): Value {
  const { config } = context;
  const name = moduleNames('encoder');
  let signal: Signal = { value: pcm, channels: 1, columns: samples };
  signal = convolve(context, name(), signal, config.n_filters, config.kernel_size);
  for (const ratio of [...config.ratios].reverse()) {
    for (let layer = 0; layer < config.n_residual_layers; layer += 1) {
      signal = residualBlock(context, name(), signal, config.dilation_base ** layer);
    }
    name();
    signal = activate(context, signal);
    signal = convolve(context, name(), signal, signal.channels * 2, ratio * 2, { stride: ratio });
  }
  name();
  signal = activate(context, signal);
  return convolve(context, name(), signal, config.dimension, config.last_kernel_size).value;
}

/** latents [B, columns, dimension] → pcm [B, columns · product of the ratios, 1]. */
export function seanetDecoder(context: SeanetContext, latents: Value, columns: number): Value {
  const { config } = context;
  const name = moduleNames('decoder');
  const widest = config.n_filters * 2 ** config.ratios.length;
  let signal: Signal = { value: latents, channels: config.dimension, columns };
  signal = convolve(context, name(), signal, widest, config.kernel_size);
  for (const ratio of config.ratios) {
    name();
    signal = activate(context, signal);
    signal = convolveTransposed(context, name(), signal, ratio);
    for (let layer = 0; layer < config.n_residual_layers; layer += 1) {
      signal = residualBlock(context, name(), signal, config.dilation_base ** layer);
    }
  }
  name();
  signal = activate(context, signal);
  return convolve(context, name(), signal, 1, config.last_kernel_size).value;
}

/** Each call gives the name of the next module. */
function moduleNames(side: 'encoder' | 'decoder'): () => string {
  let index = -1;
  return () => {
    index += 1;
    return `${side}.model.${index}`;
  };
}

/** x + (1×1 convolution of a dilated one at a fraction of the width). */
function residualBlock(
  context: SeanetContext,
  name: string,
  signal: Signal,
  dilation: number,
): Signal {
  const { config, graph } = context;
  const hidden = signal.channels / config.compress;
  const narrow = convolve(
    context,
    `${name}.block.1`,
    activate(context, signal),
    hidden,
    config.residual_kernel_size,
    { dilation },
  );
  const wide = convolve(context, `${name}.block.3`, activate(context, narrow), signal.channels, 1);
  const shortcut = config.true_skip
    ? signal
    : convolve(context, `${name}.shortcut`, signal, signal.channels, 1);
  return { ...signal, value: add(graph, shortcut.value, wide.value) };
}

function activate({ graph, config }: SeanetContext, signal: Signal): Signal {
  const count = signal.columns * signal.channels;
  const value = elu(graph, signal.value, config.activation_params.alpha, count);
  return { ...signal, value };
}

function convolve(
  { graph, config, file, rows }: SeanetContext,
  name: string,
  signal: Signal,
  channels: number,
  kernel: number,
  { stride = 1, dilation = 1 } = {},
): Signal {
  const convolution = {
    weight: file.tensor(`${name}.conv.conv.weight`, [channels, signal.channels, kernel]),
    bias: file.tensor(`${name}.conv.conv.bias`, [channels]),
    stride,
    dilation,
    padding: config.pad_mode,
  };
  const value = graph.scope(name, () =>
    streamingConvolution(graph, rows, convolution, signal.value, signal.columns),
  );
  return { value, channels, columns: signal.columns / stride };
}

function convolveTransposed(
  { graph, file, rows }: SeanetContext,
  name: string,
  signal: Signal,
  stride: number,
): Signal {
  const channels = signal.channels / 2;
  const convolution = {
    weight: file.tensor(`${name}.convtr.convtr.weight`, [signal.channels, channels, stride * 2]),
    bias: file.tensor(`${name}.convtr.convtr.bias`, [channels]),
    stride,
    groups: 1,
  };
  const value = graph.scope(name, () =>
    streamingTransposedConvolution(graph, rows, convolution, signal.value, signal.columns),
  );
  return { value, channels, columns: signal.columns * stride };
}
