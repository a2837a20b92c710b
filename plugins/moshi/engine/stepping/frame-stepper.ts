/**
 * Steps conversations: the frame graphs with everything that belongs to a row between two steps.
 *
 * Blocks while a graph runs, so it lives in the engine's worker thread, or in a command's process.
 */
import { strict as assert } from 'node:assert';

import type { ModelManifest, SamplingOptions } from '../../../../models/manifest.ts';
import {
  chooseConditions,
  type ConditionChoice,
  type ConditionWishes,
} from '../prompts/condition-choice.ts';
import {
  FREE,
  frameTensors,
  writeEmbedding,
  type FrameBuffers,
  type FrameTensors,
} from './frame-tensors.ts';
import { GraphSet, type GraphSetOptions, type SavedRow } from './graph-set.ts';
import { isMeaningful } from './meaningful-output.ts';
import { isOutOfMemory } from '../onnxruntime/out-of-memory.ts';
import { RandomGenerator } from '../random.ts';
import { RowNoise } from './row-noise.ts';
import { SnapshotCache } from './snapshot-cache.ts';
import type { SystemPrompt } from '../prompts/system-prompt.ts';
import { threadCpuMs } from '../thread-cpu-time.ts';

export type RowOptions = ConditionWishes & {
  /** Values above what the graphs can draw from mean as many as they can. */
  sampling: SamplingOptions;
  seed: number;
};

type Row = {
  readonly sampling: SamplingOptions;
  readonly seed: number;
  readonly wishes: ConditionWishes;
  random: RandomGenerator;
  /** What the row is made to do first, and how much of it is done; null when all is. */
  prompt: { readonly of: SystemPrompt; done: number } | null;
};

export type FrameStepperOptions = Omit<GraphSetOptions, 'kind'> & {
  /** Memory for prompts that conversations may begin with again; none if missing. */
  snapshotBudgetBytes?: number;
};

/** A conversation kept aside, for one of the rows of the stepper that took it. */
export type Snapshot = {
  readonly bytes: number;
  readonly state: SavedRow;
  readonly offset: bigint;
  readonly noise: { readonly seed: number; readonly random: RandomGenerator } | null;
  dispose: () => void;
};

/** Steps that are timed per batch size after the first, which takes memory and warms caches up. */
const MEASURED_STEPS = 3;
/** Who is this slow is so every time. */
const PATIENCE_MS = 1_000;
/** Steps after which every context is full. */
const LONG_CONVERSATION = 1_000_000n;

/** Inputs that are written for one step, by whichever thread asks for it; all others stay with a row. */
const INPUTS_OF_ONE_STEP = new Set(['pcm', 'exec_mask']);

export class FrameStepper {
  readonly batches: number[];
  readonly tensors: FrameTensors;
  readonly graphs: GraphSet;
  readonly #manifest: ModelManifest;
  readonly #rows: (Row | null)[];
  #runCpuMs = 0;
  readonly #snapshots: SnapshotCache<Snapshot>;
  readonly #offset: BigInt64Array;
  /** Rows in whose state may lie what is no number. */
  readonly #spoiled = new Set<number>();
  readonly #noise: RowNoise;

  /** @throws ModelDirectoryError, OnnxRuntimeError as `GraphSet`. */
  constructor({ snapshotBudgetBytes = 0, ...options }: FrameStepperOptions) {
    this.#manifest = options.model.manifest;
    this.#snapshots = new SnapshotCache(snapshotBudgetBytes);
    this.graphs = new GraphSet({ ...options, kind: 'frame' });
    this.batches = this.graphs.batches;
    this.tensors = frameTensors(this.buffers());
    this.#rows = Array.from({ length: this.batches.at(-1) ?? 0 }, () => null);
    this.#offset = this.graphs.input('offset').int64();
    this.#noise = new RowNoise(this.graphs, this.#manifest);
    this.tensors.forcedText.fill(FREE);
    this.tensors.forcedCodes.fill(FREE);
    for (const slot of this.#rows.keys()) {
      this.#setConditions(slot, chooseConditions(this.#manifest));
    }
  }

  get #speaks(): boolean {
    return this.#manifest.generatedCodebooks > 0;
  }

  /** CPU time that all steps so far took of this thread in ONNX Runtime, ms. */
  get runCpuMs(): number {
    return this.#runCpuMs;
  }

  buffers(): FrameBuffers {
    return {
      pcm: this.graphs.input('pcm').buffer,
      execMask: this.graphs.input('exec_mask').buffer,
      forcedText: this.graphs.input('forced_text').buffer,
      forcedCodes: this.graphs.input('forced_codes').buffer,
      pcmOut: this.#speaks ? this.graphs.output('pcm_out').buffer : new SharedArrayBuffer(0),
      textToken: this.graphs.output('text_token').buffer,
      frameTokens: this.graphs.output('frame_tokens').buffer,
      embedding: this.graphs.inputs.get('embedding')?.buffer ?? null,
      hasEmbedding: this.graphs.inputs.get('has_embedding')?.buffer ?? null,
      pauses: this.graphs.outputs.get('pauses')?.buffer ?? null,
    };
  }

  /**
   * Starts a new conversation in a row.
   *
   * @throws RangeError as `chooseConditions`.
   */
  attach(slot: number, { sampling, seed, ...wishes }: RowOptions): void {
    this.#setConditions(slot, chooseConditions(this.#manifest, wishes));
    this.#rows[slot] = {
      sampling: this.#noise.choose(slot, sampling),
      seed,
      wishes,
      random: new RandomGenerator(seed),
      prompt: null,
    };
    this.#forget(slot);
  }

  /**
   * Makes an attached or reset row begin with a prompt, whose steps are forced. If a row has gone
   * through the same prompt lately, this one begins where that one was before the last step: the last
   * leaves the first tokens of the conversation to the model, so it is each conversation's own.
   *
   * @returns Steps that the row takes before it hears anybody.
   */
  prompt(slot: number, prompt: SystemPrompt): number {
    const row = this.#rows[slot];
    assert(row !== null && row !== undefined, `nobody is in row ${slot}`);
    const snapshot = this.#snapshots.get(snapshotKey(row, prompt));
    if (snapshot !== null) {
      this.restore(slot, snapshot);
    }
    row.prompt = { of: prompt, done: snapshot === null ? 0 : prompt.promptSteps - 1 };
    return prompt.promptSteps - row.prompt.done;
  }

  /** Makes the next step of a row read [W] numbers in place of its tokens, or its tokens (null). */
  setEmbedding(slot: number, embedding: Float32Array | null): void {
    writeEmbedding(this.tensors, slot, embedding);
  }

  /** Forgets a row's conversation; it goes on from an empty one, with the same noise as at first. */
  reset(slot: number): void {
    const row = this.#rows[slot];
    if (row !== null && row !== undefined) {
      row.random = new RandomGenerator(row.seed);
      row.prompt = null;
    }
    this.#forget(slot);
  }

  /**
   * Moves a conversation between two steps into another row, where it goes on to the same bit on
   * the same graph. What was in the other row is gone, and the row it leaves is nobody's.
   */
  move(from: number, to: number): void {
    this.#clean(to);
    this.graphs.copyRow(from, to, this.#steps(from));
    for (const [name, tensor] of this.graphs.inputs) {
      if (!INPUTS_OF_ONE_STEP.has(name)) {
        tensor.copyRow(from, tensor, to);
      }
    }
    this.#rows[to] = this.#rows[from] ?? null;
    this.leave(from);
  }

  /** Makes a row nobody's: a long past would cost the others, whose attention goes as far as its. */
  leave(slot: number): void {
    this.#rows[slot] = null;
    this.#offset[slot] = 0n;
  }

  /**
   * Copies a conversation aside between two steps: its state on the device, how far it has come, and
   * its noise. Whoever takes it disposes of it.
   */
  save(slot: number): Snapshot {
    const state = this.graphs.saveRow(slot, this.#steps(slot));
    const row = this.#rows[slot];
    return {
      bytes: this.graphs.rowBytes,
      state,
      offset: this.#offset[slot] ?? 0n,
      noise: row == null ? null : { seed: row.seed, random: row.random.clone() },
      dispose: () => this.graphs.recycle(state),
    };
  }

  /**
   * Puts an attached row where another was when the snapshot was taken. With the same seed it goes on
   * with the noise that the other had; with another it begins its own.
   */
  restore(slot: number, { state, offset, noise }: Snapshot): void {
    this.graphs.restoreRow(state, slot, Number(offset));
    this.#offset[slot] = offset;
    const row = this.#rows[slot];
    if (row !== null && row !== undefined) {
      row.random = noise?.seed === row.seed ? noise.random.clone() : new RandomGenerator(row.seed);
    }
  }

  /**
   * Times steps in which no row takes part: what they compute is thrown away, but they compute it, and
   * for conversations so long that all their memory is full. For a stepper without conversations.
   *
   * @param now - Monotonic, ms.
   * @returns Median per batch size, ms; ascending.
   */
  measureIdleSteps(now: () => number): Map<number, number> {
    this.tensors.execMask.fill(0);
    this.#offset.fill(LONG_CONVERSATION);
    const timed = (batch: number): number => {
      const startMs = now();
      this.graphs.run(batch);
      return now() - startMs;
    };
    const measured = new Map<number, number>();
    for (const batch of this.batches) {
      const firstMs = timed(batch);
      const times =
        firstMs > PATIENCE_MS
          ? [firstMs]
          : Array.from({ length: MEASURED_STEPS }, () => timed(batch)).sort((a, b) => a - b);
      measured.set(batch, times[Math.floor(times.length / 2)] ?? firstMs);
    }
    this.#offset.fill(0n);
    return measured;
  }

  /**
   * Runs one step of the rows that `execMask` names, of the first `batch`.
   *
   * @returns The rows whose output means nothing (not finite, or a token that does not exist); they
   * have been reset.
   * @throws OnnxRuntimeError if the graph fails; the rows of this step are then undefined until they
   * are reset.
   */
  step(batch: number): number[] {
    const { execMask } = this.tensors;
    for (let slot = 0; slot < batch; slot += 1) {
      if (execMask[slot] === 1) {
        this.#force(slot);
        this.#drawNoise(slot);
      }
    }
    const startMs = threadCpuMs();
    this.#run(batch);
    this.#runCpuMs += threadCpuMs() - startMs;
    const failed: number[] = [];
    for (let slot = 0; slot < batch; slot += 1) {
      if (execMask[slot] === 1) {
        this.#offset[slot] = (this.#offset[slot] ?? 0n) + 1n;
        this.tensors.forcedText[slot] = FREE;
        if (!isMeaningful(this.tensors, this.#manifest, slot)) {
          failed.push(slot);
          this.#spoiled.add(slot);
          this.reset(slot);
        }
        this.#keepPrompted(slot);
      }
    }
    return failed;
  }

  #run(batch: number): void {
    try {
      this.graphs.run(batch);
    } catch (error) {
      for (let slot = 0; slot < batch; slot += 1) {
        this.#spoiled.add(slot);
      }
      throw error;
    }
  }

  #setConditions(slot: number, { values, guidance }: ConditionChoice): void {
    for (const [index, { name }] of this.#manifest.conditions.entries()) {
      this.graphs.input(`condition_${name}`).int64()[slot] = BigInt(values[index] ?? 0);
    }
    if (guidance !== null) {
      this.graphs.input('guidance').float32()[slot] = guidance;
    }
  }

  /** That a row's conversation has taken. */
  #steps(slot: number): number {
    return Number(this.#offset[slot] ?? 0n);
  }

  /** Removes what a failure may have left in a row. */
  #clean(slot: number): void {
    if (this.#spoiled.delete(slot)) {
      this.graphs.clearRow(slot);
    }
  }

  #forget(slot: number): void {
    this.#clean(slot);
    this.graphs.resetRow(slot);
    this.#offset[slot] = 0n;
    // Whoever left in the middle of a prompt would force its last step on all who come.
    const { forcedText, forcedCodes } = this.tensors;
    const codebooks = forcedCodes.length / forcedText.length;
    forcedText[slot] = FREE;
    forcedCodes.fill(FREE, slot * codebooks, (slot + 1) * codebooks);
    this.setEmbedding(slot, null);
  }

  /** Writes what the prompt makes of a row's next step; after its last step, that nothing is forced. */
  #force(slot: number): void {
    const row = this.#rows[slot];
    if (row?.prompt == null) {
      return;
    }
    const { of, done } = row.prompt;
    const step = of.steps[done];
    const { forcedText, forcedCodes } = this.tensors;
    const codebooks = this.#manifest.generatedCodebooks + this.#manifest.heardCodebooks;
    // Where the prompt leaves the text free, what its caller wants of it stays.
    if (step !== undefined && BigInt(step.text) !== FREE) {
      forcedText[slot] = BigInt(step.text);
    }
    for (let codebook = 0; codebook < codebooks; codebook += 1) {
      forcedCodes[slot * codebooks + codebook] = BigInt(step?.codes[codebook] ?? FREE);
    }
    this.setEmbedding(slot, step?.embedding ?? null);
    row.prompt = step === undefined ? null : { of, done: done + 1 };
  }

  /** Rows in their prompt draw nothing. */
  #drawNoise(slot: number): void {
    const row = this.#rows[slot];
    if (row != null && (row.prompt === null || row.prompt.done >= row.prompt.of.promptSteps)) {
      this.#noise.draw(slot, row.sampling, row.random);
    }
  }

  /** Keeps a row that has but one step of its prompt left for others with the same one. */
  #keepPrompted(slot: number): void {
    const row = this.#rows[slot];
    if (row?.prompt != null && row.prompt.done === row.prompt.of.promptSteps - 1) {
      const key = snapshotKey(row, row.prompt.of);
      try {
        this.#snapshots.put(key, this.graphs.rowBytes, () => this.save(slot));
      } catch (error) {
        // Without it the next conversation goes through the prompt itself; this one has lost nothing.
        if (!isOutOfMemory(error)) {
          throw error;
        }
      }
    }
  }
}

/** What a prompted row's state depends on. */
function snapshotKey({ wishes }: Row, { key }: SystemPrompt): string {
  return JSON.stringify([key, wishes.conditions, wishes.guidance]);
}
