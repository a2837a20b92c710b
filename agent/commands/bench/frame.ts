/** `bench frame`: how long one 80 ms frame takes, what of it, and how near that is to the memory's limit. */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { resolveModel } from '../../../models/build.ts';
import type { ArchitectureName } from '../../../models/generate/architectures.ts';
import type { Device, Precision } from '../../../models/manifest.ts';
import { FrameStepper } from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';
import {
  openModelDirectory,
  type ModelDirectory,
} from '../../../plugins/moshi/engine/model/model-directory.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
import { listProcessors } from '../../../plugins/moshi/engine/onnxruntime/processor-list.ts';
import type { OperatorThreads } from '../../../plugins/moshi/engine/onnxruntime/thread-pinning.ts';
import { requireDevice } from '../machine/choose-device.ts';
import { benchModel, buildBenchModel } from './measured-model.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { betweenFramesTable, timeBetweenFrames, type BetweenFrames } from './between-frames.ts';
import { rightAligned } from './columns.ts';
import { countFrame, countsTable, type FrameCounts } from './frame-counts.ts';
import { FRAME_PARTS, readFrameProfile, type FramePart } from './frame-profile.ts';
import { measureReadBandwidth } from '../machine/memory-bandwidth.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { quantile } from './quantile.ts';
import { measurePeer, type PeerFigures } from './peer-frame.ts';

export interface BenchFrameOptions {
  /** Architecture to write random weights of, kept in the cache; null for the configured model. */
  like: ArchitectureName | null;
  batches: number[];
  /** Positions filled before the first timed frame. */
  contexts: number[];
  precisions: Precision[];
  threads: number;
  frames: number;
  /** A Python that has the package `moshi`, to run beside; null: none. */
  peer: string | null;
  json: boolean;
}

export interface FrameFigures {
  precision: Precision;
  batch: number;
  /** Positions filled before the first timed frame. */
  context: number;
  /** Per frame of all rows together. */
  ms: { min: number; p50: number; p99: number };
  /** Processor time of all threads together, per frame: what other programs disturb less. */
  processorMs: { min: number; p50: number };
  /** The fastest frame, divided as the profile says. */
  parts: Record<FramePart, number>;
  /** Conversations that fit into real time by the median. */
  timesRealTime: number;
  /** Operators of the graph as it is written; `counts.kernels` are those that are left to execute. */
  nodes: number;
  counts: FrameCounts;
  betweenFrames: BetweenFrames;
  /** Bytes of weights that a frame reads, and the time this takes at the measured bandwidth. */
  weightBytes: number;
  limitMs: number;
  timesLimit: number;
  loadSeconds: number;
}

export interface FrameReport {
  model: string;
  device: Device;
  processor: string;
  cores: number;
  threads: number;
  /** Where each of them stays; null: wherever the system puts it. */
  processors: readonly number[] | null;
  frames: number;
  bytesPerSecond: number;
  figures: FrameFigures[];
  /** Kyutai's PyTorch code on the same weights; null if not asked for. */
  peer: PeerFigures | null;
}

const FRAME_MS = 80;
/** As Moshi's own sampling. */
const ROW = {
  sampling: { textTemperature: 0.7, audioTemperature: 0.8, textTopK: 25, audioTopK: 250 },
  seed: 0,
};
const WARM_UP_FRAMES = 5;
const PROFILED_FRAMES = 12;

export async function benchFrame(
  context: CommandContext,
  options: BenchFrameOptions,
): Promise<FrameReport> {
  const { batches, contexts, precisions, threads, frames } = options;
  const device = await requireDevice(context.config.engine.device);
  const checkpoint = await benchModel(context, options.like);
  const { processors } = engineThreads({ ...context.config.engine, threads });
  if (processors !== undefined && processors.length !== threads) {
    throw new CommandError(
      `MOSHI_ENGINE_PIN names the processors ${listProcessors(processors)} and --threads is ${threads}: name one for each`,
    );
  }
  const report: FrameReport = {
    model: options.like ?? context.config.model.name,
    device,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    threads,
    processors: processors ?? null,
    frames,
    bytesPerSecond: await measureReadBandwidth(threads),
    figures: [],
    peer: null,
  };
  for (const precision of precisions) {
    for (const batch of batches) {
      context.remark(`${report.model}: ${precision}, ${batch} at once …`);
      const directory = await buildBenchModel(context, {
        checkpoint,
        precision,
        batches: [batch],
        device,
      });
      report.figures.push(
        ...(await measure(
          { directory, device, batch, contexts, threads, processors, frames },
          report.bytesPerSecond,
        )),
      );
    }
  }
  if (options.peer !== null) {
    context.remark(`${report.model}: ${options.peer} …`);
    const hub = context.config.hub.cacheDirectory;
    const { directory } = resolveModel(checkpoint, hub);
    const python = options.peer;
    report.peer = await measurePeer(context, { python, checkpoint: directory, threads, frames });
  }
  context.print(options.json ? JSON.stringify(report, null, 2) : table(report));
  return report;
}

interface Case extends OperatorThreads {
  directory: string;
  device: Device;
  batch: number;
  contexts: number[];
  frames: number;
}

async function measure(given: Case, bytesPerSecond: number): Promise<FrameFigures[]> {
  const { directory, device, batch, contexts, threads, processors, frames } = given;
  const model = await openModelDirectory(directory);
  const { manifest } = model;
  const graph = manifest.graphs.find((one) => one.kind === 'frame' && one.batch === batch);
  if (graph === undefined) {
    throw new CommandError(`${directory} has no graph for ${batch} conversations`);
  }
  const timed: (TimedFrames & { context: number; betweenFrames: BetweenFrames })[] = [];
  const runtime = new OnnxRuntime(device);
  let loadSeconds: number;
  try {
    const startMs = performance.now();
    const stepper = new FrameStepper({ runtime, model, slots: batch, threads, processors });
    loadSeconds = (performance.now() - startMs) / 1_000;
    for (const context of contexts) {
      const found = timeFrames(stepper, { batch, context, frames });
      timed.push({ context, ...found, betweenFrames: timeBetweenFrames(stepper, ROW) });
    }
  } finally {
    runtime.dispose();
  }
  const figures: FrameFigures[] = [];
  for (const { context, times, processorTimes, betweenFrames } of timed) {
    const ms = { min: at(times, 0), p50: at(times, 0.5), p99: at(times, 0.99) };
    const { shares, counts } = await profileFrames(model, given, context);
    const limitMs = (1_000 * graph.weightBytes) / bytesPerSecond;
    const parts = FRAME_PARTS.map((part) => [part, shares[part] * ms.min]);
    figures.push({
      precision: manifest.precision,
      batch,
      context,
      ms,
      processorMs: { min: at(processorTimes, 0), p50: at(processorTimes, 0.5) },
      parts: Object.fromEntries(parts) as FrameFigures['parts'],
      timesRealTime: (batch * FRAME_MS) / ms.p50,
      nodes: graph.nodes,
      counts,
      betweenFrames,
      weightBytes: graph.weightBytes,
      limitMs,
      timesLimit: ms.min / limitMs,
      loadSeconds,
    });
  }
  return figures;
}

/** Timing every operator slows a frame down, so parts and counts come from a run of their own. */
async function profileFrames(
  model: ModelDirectory,
  { device, batch, threads, processors }: Case,
  context: number,
): Promise<{ shares: Record<FramePart, number>; counts: FrameCounts }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-profile-'));
  const runtime = new OnnxRuntime(device);
  try {
    const profile = path.join(folder, 'frame');
    const stepper = new FrameStepper({
      runtime,
      model,
      slots: batch,
      threads,
      processors,
      profile,
    });
    timeFrames(stepper, { batch, context, frames: PROFILED_FRAMES });
    const { shares, kernels } = await readFrameProfile(stepper.graphs.endProfile(batch));
    const frames = WARM_UP_FRAMES + PROFILED_FRAMES;
    return { shares, counts: countFrame(stepper, { batch, frames, kernels }) };
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

function at(values: readonly number[], share: number): number {
  return quantile(values, share) ?? Number.NaN;
}

/** ms, ascending. */
interface TimedFrames {
  times: number[];
  processorTimes: number[];
}

/** Every row speaks. */
function timeFrames(
  stepper: FrameStepper,
  { batch, context, frames }: { batch: number; context: number; frames: number },
): TimedFrames {
  for (let row = 0; row < batch; row += 1) {
    stepper.attach(row, { ...ROW, seed: row });
    stepper.tensors.execMask[row] = 1;
  }
  stepper.graphs.input('offset').int64().fill(BigInt(context));
  const times: number[] = [];
  const processorTimes: number[] = [];
  for (let frame = 0; frame < WARM_UP_FRAMES + frames; frame += 1) {
    const startUsage = process.cpuUsage();
    const startMs = performance.now();
    stepper.step(batch);
    times.push(performance.now() - startMs);
    const { user, system } = process.cpuUsage(startUsage);
    processorTimes.push((user + system) / 1_000);
  }
  const measured = (values: number[]): number[] =>
    values.slice(WARM_UP_FRAMES).sort((a, b) => a - b);
  return { times: measured(times), processorTimes: measured(processorTimes) };
}

function table(report: FrameReport): string {
  const header = [
    'precision',
    'batch',
    'context',
    'min ms',
    'p50',
    'p99',
    'processor ms',
    ...FRAME_PARTS,
    'weights MB',
    'limit ms',
    '× limit',
    '× real time',
  ];
  const rows = report.figures.map((figure) => [
    figure.precision,
    String(figure.batch),
    String(figure.context),
    figure.ms.min.toFixed(1),
    figure.ms.p50.toFixed(1),
    figure.ms.p99.toFixed(1),
    figure.processorMs.p50.toFixed(1),
    ...FRAME_PARTS.map((part) => figure.parts[part].toFixed(1)),
    (figure.weightBytes / 1e6).toFixed(0),
    figure.limitMs.toFixed(1),
    figure.timesLimit.toFixed(2),
    figure.timesRealTime.toFixed(1),
  ]);
  const pinned =
    report.processors === null ? '' : ` on processors ${listProcessors(report.processors)}`;
  return [
    ...rightAligned([header, ...rows]),
    '',
    `${report.model}: ms per frame of all conversations together; parts divide the fastest frame`,
    `limit: the frame's weights at ${(report.bytesPerSecond / 1e9).toFixed(1)} GB/s, measured now by products of a vector with matrices`,
    '',
    ...countsTable(report.figures, report.device),
    '',
    ...betweenFramesTable(report.figures),
    '',
    ...(report.peer === null ? [] : [peerLine(report.peer)]),
    `${report.device}; ${report.processor}, ${report.cores} cores, ${report.threads} threads${pinned}; ${report.frames} frames`,
  ].join('\n');
}

function peerLine(peer: PeerFigures): string {
  const part = (name: string, { min, p50 }: { min: number; p50: number }): string =>
    `${name} ${min.toFixed(1)} (${p50.toFixed(1)})`;
  return (
    `PyTorch, float32, one conversation, min (p50) ms: ${part('frame', peer.frame)}; ` +
    [part('encode', peer.encode), part('model', peer.model), part('decode', peer.decode)].join(', ')
  );
}
