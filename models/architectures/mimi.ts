/**
 * Mimi: 80 ms of speech to one column of codes and back.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/compression.py (MimiModel) and
 * moshi/moshi/modules/resample.py (ConvDownsample1d, ConvTrUpsample1d). Whatever chooses codes is
 * float32: a less exact distance would choose others. Letters: B rows, L latent width, T latents per frame.
 */
import type { Checkpoint } from '../checkpoints/checkpoint.ts';
import type { TensorView } from '../checkpoints/safetensors.ts';
import { findTransformerWeights } from '../checkpoints/transformer-weights.ts';
import type { WeightSource } from '../checkpoints/weight-source.ts';
import { linear } from '../layers/linear.ts';
import { dequantize, findQuantizer, quantize } from '../layers/quantizer.ts';
import {
  streamingConvolution,
  streamingTransposedConvolution,
} from '../layers/streaming-convolution.ts';
import type { StreamRows } from '../layers/stream-rows.ts';
import { streamingTransformer } from '../layers/transformer.ts';
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { concatenate, reshape } from '../onnx/tensor-operations.ts';
import { seanetDecoder, seanetEncoder } from './seanet.ts';

/** pcm [B, 1, samples of a frame] → codes [B, count] int64. */
export function mimiEncoder(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  rows: StreamRows,
  pcm: Value,
  count: number,
): Value {
  const { mimi: config, mimiWeights: file } = checkpoint;
  return graph.scope('mimi-encoder', () => {
    const context = { graph, config: config.seanet, file, rows };
    const signal = reshape(graph, pcm, [graph.batch, config.frameSamples, 1]);
    const latents = seanetEncoder(context, signal, config.frameSamples); // [B, T, L]
    const attended = latentTransformer(graph, checkpoint, file, 'encoder', rows, latents);
    const latent = downsample(graph, checkpoint, rows, attended); // [B, 1, L]
    const column = reshape(graph, latent, [graph.batch, config.seanet.dimension]);
    const codes = graph.scope('quantizer', () =>
      quantize(graph, findQuantizer(file, config.quantizer), column, count),
    );
    return concatenate(graph, codes, 1);
  });
}

/** codes [B, count] int64, all valid → pcm [B, 1, samples of a frame]. */
export function mimiDecoder(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  rows: StreamRows,
  codes: Value,
  count: number,
): Value {
  const { mimi: config, mimiWeights: file, convertedVoice } = checkpoint;
  const voice = convertedVoice?.weights.source ?? file;
  return graph.scope('mimi-decoder', () => {
    const column = graph.scope('dequantizer', () =>
      dequantize(graph, findQuantizer(file, config.quantizer), codes, count),
    );
    const latent = reshape(graph, column, [graph.batch, 1, config.seanet.dimension]);
    const latents = upsample(graph, checkpoint, rows, latent); // [B, T, L]
    const attended = latentTransformer(graph, checkpoint, voice, 'decoder', rows, latents);
    const context = { graph, config: config.seanet, file, rows };
    const signal = seanetDecoder(context, attended, config.latentsPerFrame);
    return reshape(graph, signal, [graph.batch, 1, config.frameSamples]);
  });
}

/** ProjectedTransformer: [B, T, L] → [B, T, L] through a transformer of perhaps another width. */
function latentTransformer(
  graph: GraphBuilder,
  { mimi: config }: Checkpoint,
  file: WeightSource,
  side: 'encoder' | 'decoder',
  rows: StreamRows,
  latents: Value,
): Value {
  const { batch } = graph;
  const length = config.latentsPerFrame;
  const latentWidth = config.seanet.dimension;
  const width = config.transformer.dimension;
  const prefix = `${side}_transformer`;
  const project = (x: Value, name: string, shape: [number, number]): Value =>
    width === latentWidth ? x : linear(graph, x, file.tensor(`${prefix}.${name}.weight`, shape));
  return graph.scope(prefix, () => {
    const flat = reshape(graph, latents, [batch * length, latentWidth]);
    const layers = findTransformerWeights(file, `${prefix}.transformer`, config.transformer, null);
    const attended = streamingTransformer(
      graph,
      config.transformer,
      layers,
      project(flat, 'input_proj', [width, latentWidth]),
      rows.position,
      length,
    );
    const output = project(attended, 'output_projs.0', [latentWidth, width]);
    return reshape(graph, output, [batch, length, latentWidth]);
  });
}

/** [B, T, L] → [B, 1, L], by a convolution that repeats the stream's first column before it. */
function downsample(
  graph: GraphBuilder,
  { mimi: config, mimiWeights: file }: Checkpoint,
  rows: StreamRows,
  latents: Value,
): Value {
  const stride = config.latentsPerFrame;
  if (stride === 1) return latents;
  const { dimension } = config.seanet;
  const weight = file.tensor('downsample.conv.conv.conv.weight', [
    dimension,
    dimension,
    2 * stride,
  ]);
  return graph.scope('downsample', () =>
    streamingConvolution(
      graph,
      rows,
      { weight, bias: null, stride, dilation: 1, padding: 'replicate' },
      latents,
      stride,
    ),
  );
}

/** [B, 1, L] → [B, T, L]; the published codecs do it channel by channel. */
function upsample(
  graph: GraphBuilder,
  { mimi: config, mimiWeights: file }: Checkpoint,
  rows: StreamRows,
  latent: Value,
): Value {
  const stride = config.latentsPerFrame;
  if (stride === 1) return latent;
  const { dimension } = config.seanet;
  const name = 'upsample.convtr.convtr.convtr.weight';
  const byChannel = file.find(name).shape[1] === 1;
  const weight: TensorView = file.tensor(name, [dimension, byChannel ? 1 : dimension, 2 * stride]);
  return graph.scope('upsample', () =>
    streamingTransposedConvolution(
      graph,
      rows,
      { weight, bias: null, stride, groups: byChannel ? dimension : 1 },
      latent,
      1,
    ),
  );
}
