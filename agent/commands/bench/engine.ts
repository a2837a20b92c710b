/** `bench engine`: a real engine in its own process, and conversations that come and go in real time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EngineConversation } from '../../../plugins/moshi/client/engine-conversation.ts';
import {
  fetchEngineHealth,
  fetchEngineMetrics,
} from '../../../plugins/moshi/client/engine-http.ts';
import { FRAME_MS, WIRE_SAMPLE_RATE } from '../../../plugins/moshi/protocol/messages.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { TestProcess } from '../../testing/child-process.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { requireDevice } from '../machine/choose-device.ts';

export interface BenchEngineOptions {
  conversations: number;
  minutes: number;
  json: boolean;
}

export interface EngineFigures {
  model: string;
  processor: string;
  cores: number;
  device: string;
  minutes: number;
  /** At once. */
  conversations: number;
  /** Begun, over the whole time: the others left, and these came in their place. */
  started: number;
  refused: number;
  frames: number;
  /** Frames of input that were dropped, by the engine or on the way there. */
  missedFrames: number;
  stepMs: { p50: number; p99: number };
  /** From the last sample of a frame sent to its answer received, ms. */
  answerMs: { p50: number; p99: number };
  /** From the first byte to `ready`, ms. */
  attachMs: { p50: number; p99: number };
  /** Of the engine's main thread. */
  eventLoopDelayP99Ms: number;
  /** CPU time of both threads without ONNX Runtime's, for every 80 ms of all conversations together. */
  hostMsPerFrame: number;
  bytesPerConversation: number;
}

/** As the room's audio comes. */
const CHUNK_MS = 20;
const CHUNK_SAMPLES = (WIRE_SAMPLE_RATE * CHUNK_MS) / 1000;
const CHUNKS_PER_FRAME = FRAME_MS / CHUNK_MS;
/** A conversation lasts this long, and then another comes. */
const CONVERSATION_MS = { shortest: 5_000, longest: 25_000 };
const START_TIMEOUT_MS = 600_000;
/** V8 takes half a minute to compile what runs a hundred times a second; before, it interprets it. */
const WARM_UP_MS = 30_000;

/** @throws CommandError if the engine does not start, OnnxRuntimeError without its device. */
export async function benchEngine(
  context: CommandContext,
  { conversations, minutes, json }: BenchEngineOptions,
): Promise<EngineFigures> {
  await requireDevice(context.config.engine.device);
  const folder = mkdtempSync(path.join(tmpdir(), 'moshi-bench-'));
  const url = `unix:${path.join(folder, 'engine.sock')}`;
  const engine = new TestProcess(
    process.execPath,
    ['--import', 'tsx', path.join(REPOSITORY_DIRECTORY, 'agent/cli.ts'), 'engine'],
    {
      MOSHI_MODEL: context.config.model.name,
      MOSHI_DEVICE: context.config.engine.device,
      MOSHI_PRECISION: context.config.model.precision,
      MOSHI_ENGINE_URL: url,
      MOSHI_ENGINE_SLOTS: `${conversations}`,
    },
  );
  try {
    await engine
      .waitFor(() => engine.output.includes('the engine is ready'), START_TIMEOUT_MS)
      .catch((error: unknown) => {
        throw new CommandError('the engine did not start', { cause: error });
      });
    const figures = await measure(url, conversations, minutes);
    process.stdout.write(json ? `${JSON.stringify(figures, null, 2)}\n` : table(figures));
    return figures;
  } finally {
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  url: string,
  conversations: number,
  minutes: number,
): Promise<EngineFigures> {
  const clients = Array.from({ length: conversations }, () => new Caller(url));
  const ticks = setInterval(() => {
    for (const client of clients) {
      client.tick();
    }
  }, CHUNK_MS / 4);
  try {
    await delay(WARM_UP_MS);
    for (const client of clients) {
      client.forgetFigures();
    }
    const before = await counters(url);
    const startMs = performance.now();
    await delay(minutes * 60_000);
    const elapsedMs = performance.now() - startMs;
    const after = await counters(url);
    const health = await fetchEngineHealth(url);
    const spentMs = (name: string): number =>
      ((after.get(name) ?? 0) - (before.get(name) ?? 0)) * 1000;
    const hostMs =
      spentMs('moshi_main_thread_seconds_total') + spentMs('moshi_device_thread_seconds_total');
    const all = (pick: (client: Caller) => number[]): number[] =>
      clients.flatMap(pick).sort((a, b) => a - b);
    const total = (pick: (client: Caller) => number): number =>
      clients.reduce((sum, client) => sum + pick(client), 0);
    return {
      model: health.model.name,
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      device: health.device,
      minutes,
      conversations,
      started: total((client) => client.started),
      refused: total((client) => client.refused),
      frames: total((client) => client.frames),
      missedFrames: total((client) => client.missedFrames),
      stepMs: percentiles(all((client) => client.stepMs)),
      answerMs: percentiles(all((client) => client.answerMs)),
      attachMs: percentiles(all((client) => client.attachMs)),
      eventLoopDelayP99Ms: (after.get('moshi_event_loop_delay_p99_seconds') ?? 0) * 1000,
      hostMsPerFrame: (hostMs / elapsedMs) * FRAME_MS,
      bytesPerConversation: health.bytesPerConversation,
    };
  } finally {
    clearInterval(ticks);
    for (const client of clients) {
      client.leave();
    }
  }
}

/** Somebody who talks in real time, leaves after a while, and is followed by another. */
class Caller {
  readonly #url: string;
  readonly #chunk = Float32Array.from({ length: CHUNK_SAMPLES }, () => 0.02 * Math.random());
  #conversation: EngineConversation | null = null;
  #endsMs = 0;
  #nextChunkMs = 0;
  #chunks = 0;
  /** When the last chunk of each frame went out, by step. */
  #sentMs: number[] = [];
  #dropped = 0;
  started = 0;
  refused = 0;
  frames = 0;
  missedFrames = 0;
  stepMs: number[] = [];
  answerMs: number[] = [];
  attachMs: number[] = [];

  constructor(url: string) {
    this.#url = url;
  }

  forgetFigures(): void {
    Object.assign(this, { started: 0, refused: 0, frames: 0, missedFrames: 0 });
    this.stepMs = [];
    this.answerMs = [];
    this.attachMs = [];
  }

  tick(): void {
    const nowMs = performance.now();
    if (this.#conversation === null) {
      this.#come(nowMs);
    } else if (nowMs >= this.#endsMs) {
      this.leave();
    } else if (this.#conversation.isReady) {
      for (; this.#nextChunkMs <= nowMs; this.#nextChunkMs += CHUNK_MS) {
        this.#conversation.pushSamples(this.#chunk);
        this.#chunks += 1;
        if (this.#chunks % CHUNKS_PER_FRAME === 0) {
          this.#sentMs.push(nowMs);
        }
      }
    }
  }

  leave(): void {
    if (this.#conversation !== null) {
      const samplesPerFrame = CHUNK_SAMPLES * CHUNKS_PER_FRAME;
      this.missedFrames += Math.round(this.#conversation.droppedSamples / samplesPerFrame);
      this.#conversation.close();
      this.#conversation = null;
    }
  }

  #come(nowMs: number): void {
    const conversation = new EngineConversation({ engineUrl: this.#url });
    const { shortest, longest } = CONVERSATION_MS;
    this.#conversation = conversation;
    this.#endsMs = nowMs + shortest + Math.random() * (longest - shortest);
    this.#chunks = 0;
    this.#sentMs = [];
    this.#dropped = 0;
    this.started += 1;
    conversation.on('ready', ({ connectMs }) => {
      this.attachMs.push(connectMs);
      // Whoever comes is at no particular point of anybody else's frame.
      this.#nextChunkMs = performance.now() + Math.random() * FRAME_MS;
    });
    conversation.on('reconnecting', () => (this.refused += 1));
    conversation.on('failed', () => (this.refused += 1));
    conversation.on('frame', ({ step, stepMs, droppedFrames }) => {
      this.frames += 1;
      this.missedFrames += droppedFrames - this.#dropped;
      this.#dropped = droppedFrames;
      this.stepMs.push(stepMs);
      const sentMs = this.#sentMs[step + droppedFrames];
      if (sentMs !== undefined) {
        this.answerMs.push(performance.now() - sentMs);
      }
    });
    conversation.connect();
  }
}

/** Numbers of the metrics without labels, by name. */
async function counters(url: string): Promise<Map<string, number>> {
  const text = await fetchEngineMetrics(url);
  return new Map(
    Array.from(text.matchAll(/^(\w+) ([\d.e+-]+)$/gm), ([, name, value]) => [
      name ?? '',
      Number(value),
    ]),
  );
}

function percentiles(sorted: readonly number[]): { p50: number; p99: number } {
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}

function table(figures: EngineFigures): string {
  const ms = ({ p50, p99 }: { p50: number; p99: number }): string =>
    `p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms`;
  const rows: [string, string][] = [
    ['model', `${figures.model}, on ${figures.device}, ${figures.processor}`],
    ['conversations', `${figures.conversations} at once, ${figures.started} begun`],
    ['refused', `${figures.refused}`],
    ['frames', `${figures.frames}, ${figures.missedFrames} missed`],
    ['step', ms(figures.stepMs)],
    ['answer to a frame', ms(figures.answerMs)],
    ['attach', ms(figures.attachMs)],
    ['event loop delay', `p99 ${figures.eventLoopDelayP99Ms.toFixed(1)} ms`],
    ['host work per frame', `${figures.hostMsPerFrame.toFixed(2)} ms`],
    ['memory', `${(figures.bytesPerConversation / 1e6).toFixed(1)} MB per conversation`],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(24)}${value}`).join('\n')}\n`;
}
