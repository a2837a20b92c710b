import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import type { ModelManifest, VocabularyPiece } from '../../../../models/manifest.ts';
import type { FrameMessage } from '../../protocol/frame-message.ts';
import { FRAME_SAMPLES, type TurnEndMessage, type WordMessage } from '../../protocol/messages.ts';
import { Conversations } from './conversations.ts';
import { DeviceError, type SteppingDevice, type StepOutcome } from '../device/device-thread.ts';
import { EngineMetrics } from '../metrics/engine-metrics.ts';
import { StepTimes } from '../scheduling/step-times.ts';
import type { SystemPrompt } from '../prompts/system-prompt.ts';
import { Vocabulary } from '../text/text-decoder.ts';

const SLOTS = 2;
const ROW = {
  sampling: { textTemperature: 0, audioTemperature: 0, textTopK: 1, audioTopK: 1 },
  seed: 0,
};
const frame = new Float32Array(FRAME_SAMPLES);
const PIECES: VocabularyPiece[] = [
  { piece: '<unk>', kind: 'unknown' },
  { piece: '<pad>', kind: 'normal' },
  { piece: '▁yes', kind: 'normal' },
];
const [EPAD, PAD, YES] = [0, 1, 2] as const;

/** A device whose steps end when and how the test says. */
class ManualDevice implements SteppingDevice {
  readonly batches = [1, 2];
  readonly requests: string[] = [];
  promptSteps = 0;
  readonly tensors = {
    pcm: new Float32Array(SLOTS * FRAME_SAMPLES),
    execMask: new Uint8Array(SLOTS),
    forcedText: new BigInt64Array(SLOTS),
    forcedCodes: new BigInt64Array(SLOTS),
    pcmOut: new Float32Array(SLOTS * FRAME_SAMPLES),
    pauses: null,
    textToken: new BigInt64Array(SLOTS),
    frameTokens: new BigInt64Array(SLOTS),
    embedding: null,
    hasEmbedding: null,
  };
  #end: { resolve: (outcome: StepOutcome) => void; reject: (error: Error) => void } | null = null;

  attach(slot: number): void {
    this.requests.push(`attach ${slot}`);
  }
  reset(slot: number): void {
    this.requests.push(`reset ${slot}`);
  }
  leave(slot: number): void {
    this.requests.push(`leave ${slot}`);
  }
  async prompt(slot: number): Promise<number> {
    this.requests.push(`prompt ${slot}`);
    return Promise.resolve(this.promptSteps);
  }
  move(from: number, to: number): void {
    this.requests.push(`move ${from} ${to}`);
  }
  step(batch: number): Promise<StepOutcome> {
    this.requests.push(`step ${batch}`);
    return new Promise((resolve, reject) => (this.#end = { resolve, reject }));
  }
  close(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async end(
    outcome: StepOutcome | Error = { ok: true, stepMs: 5, hostMs: 1, failedSlots: [] },
  ): Promise<void> {
    if (outcome instanceof Error) this.#end?.reject(outcome);
    else this.#end?.resolve(outcome);
    await vi.advanceTimersByTimeAsync(0);
  }
}

function setUp(model: Partial<ModelManifest> = {}) {
  const device = new ManualDevice();
  const failures: string[] = [];
  const metrics = new EngineMetrics(
    { total: SLOTS, usable: () => SLOTS, used: () => 0 },
    { cpuMs: 0, takeDelayP99Ms: () => 0 },
  );
  const conversations = new Conversations({
    device,
    manifest: { maxDelay: 1, transcription: null, ...model } as ModelManifest,
    vocabulary: new Vocabulary(PIECES, [PAD, EPAD]),
    slots: SLOTS,
    metrics,
    stepTimes: new StepTimes(new Map([1, 2].map((batch) => [batch, 5])), () => 0),
    logger: pino({ level: 'silent' }),
    now: () => 0,
    onFailure: (reason) => failures.push(reason),
  });
  const join = (prompt: SystemPrompt | null = null) => {
    const frames: FrameMessage[] = [];
    const heard: (WordMessage | TurnEndMessage)[] = [];
    const ends: string[] = [];
    const ready = vi.fn();
    const listener = {
      onReady: ready,
      onFrame: (message: FrameMessage) => frames.push(message),
      onHeard: (message: WordMessage | TurnEndMessage) => heard.push(message),
      onFailed: (reason: string) => ends.push(reason),
    };
    const conversation = conversations.attach(ROW, listener, prompt)!;
    return { conversation, frames, heard, ends, ready };
  };
  return { device, conversations, failures, metrics, join };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('steps at once when idle, and what came in meanwhile right after', async () => {
  const { device, join } = setUp();
  const [a, b] = [join(), join()];
  a.conversation.push(frame);
  b.conversation.push(frame);
  a.conversation.push(frame);
  expect(device.requests).toEqual(['attach 0', 'attach 1', 'step 1']);
  await device.end();
  expect(device.requests.at(-1)).toBe('step 2');
  await device.end();
  expect([a.frames.length, b.frames.length]).toEqual([2, 1]);
  expect(a.frames.map(({ step, hasAudio }) => [step, hasAudio])).toEqual([
    [0, false],
    [1, true],
  ]);
});

test('a step that was under way at a reset says nothing about the new conversation', async () => {
  const { device, join } = setUp();
  const a = join();
  a.conversation.push(frame);
  a.conversation.reset();
  await device.end();
  expect(a.frames).toEqual([]);
  a.conversation.push(frame);
  await device.end();
  expect(a.frames.map(({ step }) => step)).toEqual([0]);
  expect(device.requests).toEqual(['attach 0', 'step 1', 'reset 0', 'step 1']);
});

test('a slot given to another while its step was under way starts fresh', async () => {
  const { device, join } = setUp();
  const a = join();
  a.conversation.push(frame);
  a.conversation.leave();
  const b = join();
  expect(b.conversation.slot).toBe(0);
  await device.end();
  expect([a.frames, b.frames]).toEqual([[], []]);
  a.conversation.push(frame);
  expect(device.requests).toEqual(['attach 0', 'step 1', 'leave 0', 'attach 0']);
});

test('a row without a sound ends its conversation and no other', async () => {
  const { device, conversations, metrics, join } = setUp();
  const [a, b] = [join(), join()];
  b.conversation.push(frame);
  await device.end();
  a.conversation.push(frame);
  b.conversation.push(frame);
  await device.end({ ok: true, stepMs: 5, hostMs: 1, failedSlots: [0] });
  await device.end();
  expect(await metrics.registry.metrics()).toContain('moshi_faults_total{fault="row_failed"} 1');
  expect(a.ends).toHaveLength(1);
  expect(b.ends).toEqual([]);
  expect(b.frames).toHaveLength(2);
  expect(conversations.attached).toBe(1);
});

test('when one leaves, the highest takes its slot between two steps and misses nothing', async () => {
  const { device, join } = setUp();
  const [a, b] = [join(), join()];
  b.conversation.push(frame);
  a.conversation.leave();
  b.conversation.push(frame);
  expect(device.requests.slice(-2)).toEqual(['step 2', 'leave 0']);
  await device.end();
  expect(b.conversation.slot).toBe(0);
  expect(device.requests.slice(-2)).toEqual(['move 1 0', 'step 1']);
  await device.end();
  expect(b.frames.map(({ step }) => step)).toEqual([0, 1]);
  b.conversation.leave();
  expect(join().conversation.slot).toBe(0);
});

describe('a prompt', () => {
  const prompt: SystemPrompt = { key: 'persona', promptSteps: 2, steps: [] };

  test('is gone through as fast as the device can, beside others, before anything is heard', async () => {
    const { device, join } = setUp();
    device.promptSteps = 2;
    const [a, b] = [join(), join(prompt)];
    await vi.advanceTimersByTimeAsync(0);
    expect(a.ready).toHaveBeenCalledOnce();
    expect(device.requests.slice(-2)).toEqual(['prompt 1', 'step 2']);
    device.tensors.pcm.fill(0.5);
    a.conversation.push(frame);
    b.conversation.push(frame);
    await device.end();
    expect(device.requests.at(-1)).toBe('step 2');
    expect([...device.tensors.execMask]).toEqual([1, 1]);
    expect(device.tensors.pcm.at(-1)).toBe(0);
    expect([a.frames.length, b.ready.mock.calls.length]).toEqual([0, 0]);
    await device.end();
    expect([a.frames.length, b.frames.length, b.ready.mock.calls.length]).toEqual([1, 0, 1]);
    await device.end();
    expect(b.frames.map(({ step }) => step)).toEqual([0]);
  });

  test('that is remembered lets the conversation hear at once', async () => {
    const { device, join } = setUp();
    const a = join(prompt);
    a.conversation.push(frame);
    expect(device.requests.at(-1)).toBe('prompt 0');
    await vi.advanceTimersByTimeAsync(0);
    expect(a.ready).toHaveBeenCalledOnce();
    await device.end();
    expect(a.frames).toHaveLength(1);
  });

  test('is gone through again after a reset, and its end is told once', async () => {
    const { device, join } = setUp();
    device.promptSteps = 1;
    const a = join(prompt);
    await vi.advanceTimersByTimeAsync(0);
    await device.end();
    a.conversation.reset();
    expect(device.requests.slice(-2)).toEqual(['reset 0', 'prompt 0']);
    await vi.advanceTimersByTimeAsync(0);
    a.conversation.push(frame);
    await device.end();
    await device.end();
    expect(a.frames.map(({ step }) => step)).toEqual([0]);
    expect(a.ready).toHaveBeenCalledOnce();
  });
});

describe('a model that transcribes', () => {
  /** A frame and a quarter of silence before the first sound, words half a frame late, one head. */
  const TRANSCRIBING: Partial<ModelManifest> = {
    sampleRate: 24_000,
    frameSamples: FRAME_SAMPLES,
    maxDelay: 0,
    paddingToken: PAD,
    endOfPaddingToken: EPAD,
    pauses: { heads: 1, horizonsSeconds: [2], classes: 2 },
    transcription: {
      delayFrames: 0,
      leadingSilenceSamples: 1.25 * FRAME_SAMPLES,
      trailingSilenceSamples: 0,
    },
  };

  function listen() {
    const made = setUp(TRANSCRIBING);
    const { tensors } = made.device;
    const pauses = new Float32Array(2 * SLOTS);
    Object.assign(tensors, { pauses });
    /** Ends the step that is under way with this. */
    const step = async (token: number, pause = 0): Promise<void> => {
      tensors.frameTokens.fill(BigInt(token));
      pauses.fill(pause);
      await made.device.end();
    };
    return { ...made, step };
  }

  /** Past the step that hears nothing and the whole frame of silence. */
  async function hears({ join, step }: ReturnType<typeof listen>) {
    const told = join();
    await step(PAD);
    expect(told.ready).not.toHaveBeenCalled();
    await step(PAD);
    expect(told.ready).toHaveBeenCalledOnce();
    return told;
  }

  test('hears the silence that it wants, then words and their times on the clock of what came', async () => {
    const made = listen();
    const a = await hears(made);
    made.device.tensors.pcm.fill(9);
    a.conversation.push(new Float32Array(FRAME_SAMPLES).fill(1));
    // The quarter of a frame that is left of the silence goes before the first sample.
    expect([...made.device.tensors.pcm.subarray(479, 481)]).toEqual([0, 1]);
    await made.step(EPAD);
    a.conversation.push(frame);
    await made.step(YES);
    a.conversation.push(frame);
    await made.step(PAD);
    expect(a.heard).toEqual([{ type: 'word', text: 'yes', startMs: 240 - 100 }]);
    expect(a.frames).toEqual([]);
  });

  test('tells once that the turn is over, and counts time that was dropped', async () => {
    const made = listen();
    const a = await hears(made);
    for (let step = 0; step < 12; step += 1) {
      a.conversation.push(frame);
      await made.step(PAD);
    }
    // Three wait, three are dropped.
    a.conversation.push(new Float32Array(6 * FRAME_SAMPLES));
    await made.step(EPAD);
    await made.step(YES);
    await made.step(PAD);
    a.conversation.push(frame);
    await made.step(PAD, 0.9);
    expect(a.heard).toEqual([
      { type: 'word', text: 'yes', startMs: (15 + 3) * 80 - 100 },
      { type: 'turn_end', atMs: (17 + 3) * 80 - 100 },
    ]);
  });

  test('begins anew after a reset, lead-in included', async () => {
    const made = listen();
    const a = await hears(made);
    a.conversation.push(frame);
    await made.step(EPAD);
    a.conversation.push(frame);
    a.conversation.reset();
    a.conversation.push(frame);
    await made.step(YES);
    await made.step(PAD);
    await made.step(PAD);
    expect(a.heard).toEqual([]);
    await made.step(EPAD);
    a.conversation.push(frame);
    await made.step(YES);
    a.conversation.push(frame);
    await made.step(PAD);
    expect(a.heard).toEqual([{ type: 'word', text: 'yes', startMs: 140 }]);
    expect(a.ready).toHaveBeenCalledOnce();
  });

  test('whose row fails ends that conversation', async () => {
    const made = listen();
    const a = await hears(made);
    a.conversation.push(frame);
    await made.device.end({ ok: true, stepMs: 5, hostMs: 1, failedSlots: [0] });
    expect(a.ends).toHaveLength(1);
  });
});

describe('a device', () => {
  test('that refuses a step ends its conversations; the next ones are served', async () => {
    const { device, conversations, failures, metrics, join } = setUp();
    const a = join();
    a.conversation.push(frame);
    await device.end({ ok: false, fault: 'out_of_memory', message: 'no memory' });
    expect(a.ends).toEqual([expect.stringContaining('no memory')]);
    const b = join();
    b.conversation.push(frame);
    await device.end();
    expect(b.frames).toHaveLength(1);
    expect([conversations.failure, failures]).toEqual([null, []]);
    const counted = await metrics.registry.metrics();
    expect(counted).toContain('moshi_faults_total{fault="out_of_memory"} 1');
    expect(counted).toContain('moshi_faults_total{fault="step_failed"} 0');
  });

  test('that dies ends all conversations and is reported once', async () => {
    const { device, conversations, failures, join } = setUp();
    const [a, b] = [join(), join()];
    a.conversation.push(frame);
    await device.end(new DeviceError('gone'));
    expect([a.ends, b.ends]).toEqual([['gone'], ['gone']]);
    expect(conversations.failure).toBe('gone');
    expect(failures).toEqual(['gone']);
  });

  test('that hangs is reported after five seconds, and its conversations are told', async () => {
    const { conversations, failures, metrics, join } = setUp();
    const a = join();
    a.conversation.push(frame);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(conversations.failure).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(failures).toEqual([expect.stringContaining('not ended within 5.0 s')]);
    expect(a.ends).toHaveLength(1);
    expect(await metrics.registry.metrics()).toContain('moshi_faults_total{fault="step_hung"} 1');
  });

  test('is given five seconds for each step, however long ago the one before began', async () => {
    const { device, conversations, join } = setUp();
    const a = join();
    a.conversation.push(frame);
    await vi.advanceTimersByTimeAsync(3_000);
    await device.end();
    await vi.advanceTimersByTimeAsync(60_000);
    a.conversation.push(frame);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(conversations.failure).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(conversations.failure).toContain('not ended within 5.0 s');
  });

  test('that refuses three steps in a row is given up', async () => {
    const { device, failures, metrics, join } = setUp();
    for (let round = 0; round < 3; round += 1) {
      expect(failures).toEqual([]);
      join().conversation.push(frame);
      await device.end({ ok: false, fault: 'step_failed', message: 'CUDA error 700' });
    }
    expect(failures).toEqual([expect.stringMatching(/3 steps in a row.*CUDA error 700/)]);
    const counted = await metrics.registry.metrics();
    expect(counted).toContain('moshi_faults_total{fault="step_failed"} 3');
    expect(counted).toContain('moshi_faults_total{fault="device_lost"} 1');
  });
});
