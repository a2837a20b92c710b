/** `bench latency`: from mouth to ear and back, with the agent and without it, through one server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { anyFreeTcpPort } from '../../livekit-server/free-port.ts';
import { startEchoEngine } from '../../testing/echo-engine.ts';
import { CHIRP_INTERVAL_MS, LatencyProbe } from '../../testing/latency-probe.ts';
import { hasProgram } from '../../testing/requirements.ts';
import { Stack } from '../../testing/stack.ts';
import { CommandError } from '../command-context.ts';

/** One frame of the model: an echo of it takes as long as the frame lasts. */
const MODEL_FRAME_MS = 80;
const WARM_UP_MS = 4_000;
const CHIRPS = 60;
const STALL_MS = 1_000;
/** Time to get over the stall: both tracks begin anew. */
const RECOVERY_MS = 2_000;
const CHIRPS_AFTER_STALL = 20;
const PERCENTILES = { p50: 0.5, p95: 0.95 } as const;

export type DelayFigures = { p50: number; p95: number; heard: number; sent: number };

export type LatencyReport = {
  processor: string;
  cores: number;
  node: string;
  modelFrameMs: number;
  /** Caller → agent with an echoing engine → caller, ms. */
  roundTripMs: DelayFigures;
  /** One client → another → the first, the sum of both ways, ms. */
  betweenClientsMs: DelayFigures;
  /**
   * The first minus the median of the second minus the model's frame, ms.
   *
   * Can be negative: the floor is two whole hops between clients, jitter buffers of both receivers
   * included, and those buffers may settle at more than the agent's and the caller's do.
   */
  addedMs: { p50: number; p95: number };
  /** Median of the last third of the chirps minus that of the first third, ms. */
  driftMs: number;
  /** The agent's process stood still for a second. */
  afterStallMs: DelayFigures & { addedP50: number; changeOfP50: number };
};

type Probes = { caller: LatencyProbe; there: LatencyProbe; back: LatencyProbe };

/** @throws CommandError if there is no livekit-server, or nothing comes back. */
export async function benchLatency({ json }: { json: boolean }): Promise<LatencyReport> {
  if (!hasProgram('livekit-server', '--version', 'bench latency')) {
    throw new CommandError(
      'bench latency needs livekit-server on the PATH; `doctor` says how to get it',
    );
  }
  const engine = await startEchoEngine();
  const cacheDirectory = mkdtempSync(path.join(tmpdir(), 'moshi-bench-'));
  const stack = new Stack({
    port: await anyFreeTcpPort(),
    workerPort: await anyFreeTcpPort(),
    mediaPort: await anyFreeTcpPort(),
    cacheDirectory,
    engineUrl: engine.url,
  });
  const probes = {
    caller: new LatencyProbe(),
    there: new LatencyProbe(),
    back: new LatencyProbe(),
  };
  try {
    await stack.start();
    await join(stack, probes);
    const report = await measure(stack, probes);
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
    return report;
  } finally {
    await Promise.all(Object.values(probes).map((probe) => probe.leave()));
    await stack.stop();
    await engine.kill();
    rmSync(cacheDirectory, { recursive: true, force: true });
  }
}

async function join(stack: Stack, { caller, there, back }: Probes): Promise<void> {
  const { livekitUrl } = stack;
  await caller.join(livekitUrl, await stack.token('with-agent', 'caller'), true);
  await there.join(livekitUrl, await stack.token('without-agent', 'there', false), false);
  await back.join(livekitUrl, await stack.token('without-agent', 'back', false), false);
  const endMs = performance.now() + 10_000;
  while (![caller, there, back].every((probe) => probe.isHearing)) {
    if (performance.now() > endMs) {
      throw new CommandError(`nothing came back through the room: ${stack.worker?.output ?? ''}`);
    }
    await delay(50);
  }
  await delay(WARM_UP_MS);
}

async function measure(stack: Stack, probes: Probes): Promise<LatencyReport> {
  const { caller, there, back } = probes;
  const [echoedMs, thereMs, backMs] = await Promise.all([
    nextChirps(caller, CHIRPS),
    nextChirps(there, CHIRPS),
    nextChirps(back, CHIRPS),
  ]);
  await stallAgent(stack);
  await delay(RECOVERY_MS);
  const afterStallMs = await nextChirps(caller, CHIRPS_AFTER_STALL);

  // Only now: looking for chirps would hold up those that are still under way.
  const delaysOf = (ear: LatencyProbe, sentMs: number[]): Delay[] =>
    sentMs.map((ms) => ear.delayMs(ms));
  const echoed = delaysOf(caller, echoedMs);
  const roundTripMs = figures(echoed);
  const [thereFigures, backFigures] = [
    figures(delaysOf(back, thereMs)),
    figures(delaysOf(there, backMs)),
  ];
  const betweenClientsMs = {
    p50: thereFigures.p50 + backFigures.p50,
    p95: thereFigures.p95 + backFigures.p95,
    heard: thereFigures.heard + backFigures.heard,
    sent: thereFigures.sent + backFigures.sent,
  };
  const floorMs = betweenClientsMs.p50 + MODEL_FRAME_MS;
  const after = figures(delaysOf(caller, afterStallMs));
  const third = Math.floor(CHIRPS / 3);
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    node: process.version,
    modelFrameMs: MODEL_FRAME_MS,
    roundTripMs,
    betweenClientsMs,
    addedMs: { p50: roundTripMs.p50 - floorMs, p95: roundTripMs.p95 - floorMs },
    driftMs: figures(echoed.slice(-third)).p50 - figures(echoed.slice(0, third)).p50,
    afterStallMs: {
      ...after,
      addedP50: after.p50 - floorMs,
      changeOfP50: after.p50 - roundTripMs.p50,
    },
  };
}

/** Null: the chirp was not heard. */
type Delay = number | null;

/** Waits until so many more chirps were sent and had time to arrive; returns when each was sent. */
async function nextChirps(mouth: LatencyProbe, count: number): Promise<number[]> {
  const first = mouth.sentMs.length;
  while (mouth.sentMs.length <= first + count) {
    await delay(CHIRP_INTERVAL_MS);
  }
  return mouth.sentMs.slice(first, first + count);
}

/** Stops the process of the call, as a host without a free core does. */
async function stallAgent(stack: Stack): Promise<void> {
  const pid = Number(
    /"pid":(\d+)[^\n]*talking to a participant/.exec(stack.worker?.output ?? '')?.[1],
  );
  if (!Number.isInteger(pid)) {
    throw new CommandError('the process of the call was not found in the log of the worker');
  }
  process.kill(pid, 'SIGSTOP');
  await delay(STALL_MS);
  process.kill(pid, 'SIGCONT');
}

function figures(delays: readonly Delay[]): DelayFigures {
  const sorted = delays.filter((value) => value !== null).toSorted((a, b) => a - b);
  const quantile = (probability: number): number =>
    sorted[Math.max(0, Math.ceil(probability * sorted.length) - 1)] ?? Number.NaN;
  return {
    p50: quantile(PERCENTILES.p50),
    p95: quantile(PERCENTILES.p95),
    heard: sorted.length,
    sent: delays.length,
  };
}

function table(report: LatencyReport): string {
  const { roundTripMs, betweenClientsMs, addedMs, afterStallMs } = report;
  const row = (name: string, p50: number, p95: number, note: string): string =>
    `${name.padEnd(34)}${p50.toFixed(1).padStart(8)}${p95.toFixed(1).padStart(8)}  ${note}`;
  const heard = (figures: DelayFigures): string => `${figures.heard} of ${figures.sent} chirps`;
  return [
    `${report.processor}, ${report.cores} cores, Node ${report.node}`,
    `${'ms'.padEnd(34)}${'p50'.padStart(8)}${'p95'.padStart(8)}`,
    row('round trip, echoing engine', roundTripMs.p50, roundTripMs.p95, heard(roundTripMs)),
    row(
      'there and back, two clients',
      betweenClientsMs.p50,
      betweenClientsMs.p95,
      heard(betweenClientsMs),
    ),
    row(
      `added, without the ${MODEL_FRAME_MS} ms frame`,
      addedMs.p50,
      addedMs.p95,
      `drift ${report.driftMs.toFixed(1)} ms`,
    ),
    row('round trip after a stall of 1 s', afterStallMs.p50, afterStallMs.p95, heard(afterStallMs)),
    row(
      'added after the stall',
      afterStallMs.addedP50,
      afterStallMs.addedP50 + afterStallMs.p95 - afterStallMs.p50,
      `change ${afterStallMs.changeOfP50.toFixed(1)} ms`,
    ),
    'Added is the round trip less the median between two clients, there and back, and the frame.',
    'Both ways contain two jitter buffers of receivers, so it is below 0 where the buffers of the',
    'clients happen to be longer than those of the agent.',
    '',
  ].join('\n');
}
