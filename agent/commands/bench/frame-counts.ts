/** What a frame asks of the device, counted: no machine disturbs these figures. */
import type { FrameStepper } from '../../../plugins/moshi/engine/stepping/frame-stepper.ts';
import type { RunTraffic } from '../../../plugins/moshi/engine/onnxruntime/run-traffic.ts';
import { rowBytes } from '../../../plugins/moshi/engine/onnxruntime/tensor.ts';
import type { HostTensor } from '../../../plugins/moshi/engine/onnxruntime/tensor.ts';
import { rightAligned } from './columns.ts';
import { FRAME_PARTS, type KernelCounts } from './frame-profile.ts';

/** Per frame of all conversations together. */
export interface FrameCounts {
  /** Calls of ONNX Runtime. */
  runs: number;
  kernels: KernelCounts;
  /** What those calls copy between host and device, and how often the host waits for the device. */
  traffic: RunTraffic;
  /** Samples, tokens, masks, noise: what the host writes before a frame and reads after it. */
  inputBytes: number;
  outputBytes: number;
  /** Of the conversations' states, which stay where the device computes. */
  stateBytes: number;
}

/** @param frames - Steps that the stepper has taken, all of `batch` rows. */
export function countFrame(
  { graphs }: FrameStepper,
  { batch, frames, kernels }: { batch: number; frames: number; kernels: KernelCounts },
): FrameCounts {
  return {
    runs: graphs.runs / frames,
    kernels,
    traffic: graphs.traffic(batch),
    inputBytes: batch * bytesOfRow(graphs.inputs),
    outputBytes: batch * bytesOfRow(graphs.outputs),
    stateBytes: batch * graphs.rowBytes,
  };
}

function bytesOfRow(tensors: ReadonlyMap<string, HostTensor>): number {
  return [...tensors.values()].reduce((sum, { layout }) => sum + rowBytes(layout), 0);
}

/** Lines for people: one for each build that was measured. */
export function countsTable(
  figures: readonly { precision: string; batch: number; context: number; counts: FrameCounts }[],
  device: string,
): string[] {
  const header = [
    'precision',
    'batch',
    'context',
    'kernels',
    ...FRAME_PARTS,
    'runs',
    'waits',
    'copies in',
    'kB',
    'copies out',
    'kB',
    'states MB',
  ];
  const rows = figures.map(({ precision, batch, context, counts }) => {
    const { kernels, traffic } = counts;
    return [
      precision,
      String(batch),
      String(context),
      String(kernels.total),
      ...FRAME_PARTS.map((part) => String(kernels.parts[part])),
      counts.runs.toFixed(0),
      String(traffic.hostWaits),
      String(traffic.toDevice.copies),
      kilobytes(traffic.toDevice.bytes),
      String(traffic.toHost.copies),
      kilobytes(traffic.toHost.bytes),
      (counts.stateBytes / 1e6).toFixed(1),
    ];
  });
  const [first] = figures;
  const providers = Object.entries(first?.counts.kernels.providers ?? {});
  return [
    ...rightAligned([header, ...rows]),
    '',
    'counted per frame: operators that ONNX Runtime executes, by its own profile of one run; its calls; ' +
      'how often the host waits for the device; copies to the device and back; states that stay there',
    `${providers.map(([name, count]) => `${count} by the ${name}`).join(', ')}, ` +
      `${first?.counts.kernels.copies ?? 0} copies between them; ` +
      (device === 'cpu'
        ? `the CPU reads ${kilobytes(first?.counts.inputBytes ?? 0)} kB of inputs and writes ` +
          `${kilobytes(first?.counts.outputBytes ?? 0)} kB of outputs where they lie, in the thread that asks, so nothing is copied and nobody waits`
        : `inputs are ${kilobytes(first?.counts.inputBytes ?? 0)} kB, outputs ${kilobytes(first?.counts.outputBytes ?? 0)} kB`) +
      ` (batch ${first?.batch ?? 0})`,
  ];
}

function kilobytes(bytes: number): string {
  return (bytes / 1e3).toFixed(1);
}
