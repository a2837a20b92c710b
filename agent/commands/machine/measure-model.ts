/** How fast the configured model runs on this machine. */
import type { Device, Precision } from '../../../models/manifest.ts';
import { openRunner } from '../../../plugins/moshi/engine/runner.ts';
import type { CommandContext } from '../command-context.ts';
import { engineThreads } from './engine-threads.ts';
import { buildGraphs } from '../model-for-command.ts';

/** The first steps allocate and warm caches up. */
const WARM_UP_STEPS = 10;
const MEASURED_STEPS = 100;
/** A model far from real time is not worth the wait for all steps, milliseconds. */
const PATIENCE_MS = 20_000;

export interface ModelSpeed {
  name: string;
  isDemo: boolean;
  device: Device;
  precision: Precision;
  /** Milliseconds per step of one conversation. */
  p50: number;
  p99: number;
}

export async function measureModel(context: CommandContext): Promise<ModelSpeed> {
  const { config } = context;
  const { directory, device, manifest } = await buildGraphs(context, ['frame'], [1]);
  const runner = await openRunner({
    modelDirectory: directory,
    device,
    ...engineThreads(config.engine),
  });
  try {
    runner.start(0, { seed: 0 });
    const pcm = new Float32Array(manifest.frameSamples);
    const durationsMs: number[] = [];
    const startMs = performance.now();
    for (let step = 0; step < WARM_UP_STEPS + MEASURED_STEPS; step++) {
      const stepStartMs = performance.now();
      runner.step([{ row: 0, pcm }]);
      durationsMs.push(performance.now() - stepStartMs);
      if (performance.now() - startMs > PATIENCE_MS) {
        break;
      }
    }
    const sorted = durationsMs.slice(Math.min(WARM_UP_STEPS, durationsMs.length - 1));
    sorted.sort((a, b) => a - b);
    const quantile = (share: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
    return {
      name: manifest.name,
      isDemo: manifest.isDemo,
      device: manifest.device,
      precision: manifest.precision,
      p50: quantile(0.5),
      p99: quantile(0.99),
    };
  } finally {
    runner.dispose();
  }
}
