/**
 * A model in this process, one step per call: for commands that read files and for parity tests.
 * The same graphs, states and sampling as in the engine's worker thread. Calls block.
 */
import { strict as assert } from 'node:assert';

import type { ModelManifest, SamplingOptions } from '../../../models/manifest.ts';
import type { ConditionWishes } from './prompts/condition-choice.ts';
import { FrameStepper, type Snapshot } from './stepping/frame-stepper.ts';
import { GraphSet } from './stepping/graph-set.ts';
import { pausesOf } from './stepping/pauses.ts';
import { openModelDirectory, readVocabulary } from './model/model-directory.ts';
import type { Device } from './onnxruntime/execution-provider.ts';
import { OnnxRuntime } from './onnxruntime/onnx-runtime.ts';
import type { OperatorThreads } from './onnxruntime/thread-pinning.ts';
import type { ScriptedSpeech } from './prompts/scripted-speech.ts';
import { FREE, type SystemPrompt } from './prompts/system-prompt.ts';
import { StreamingTextDecoder } from './text/text-decoder.ts';

/** One thread if nothing is said of threads. */
export type RunnerOptions = Partial<OperatorThreads> & {
  /** Folder that `models/build.ts` wrote. */
  modelDirectory: string;
  /** Conversations at once; 1 if missing. */
  slots?: number;
  device?: Device;
  /** Memory for prompts that conversations may begin with again; none if missing. */
  snapshotBudgetBytes?: number;
};

export type RowInput = {
  row: number;
  /** [1920] at 24 kHz. */
  pcm: Float32Array;
  /** Replaces the sampled text token. */
  forcedText?: number;
  /** [N], codes in place of the sampled and heard ones; -1 leaves one as it is. */
  forcedCodes?: readonly number[];
  /** [W] read in place of the tokens, by models that can. */
  embedding?: Float32Array | null;
};

/** What one row's step gave; everything is a copy. */
export type FrameResult = {
  /** [1920] at 24 kHz; zeros in the first `maxDelay` steps; empty from a model that only listens. */
  pcm: Float32Array;
  textToken: number;
  /** Text completed by `textToken`. */
  text: string;
  /** [1+D], all -2 in the first `maxDelay` steps. */
  frameTokens: number[];
  /** [heads] probabilities that the speaker has paused; null from models without such heads. */
  pauses: number[] | null;
  /** Row of each probe, in models built with probes. */
  probes: ReadonlyMap<string, Float32Array | number[]>;
};

export type ConversationOptions = ConditionWishes & {
  /** Missing fields take the model's defaults. */
  sampling?: Partial<SamplingOptions>;
  seed?: number;
  /** What the model goes through before the conversation; its manifest must have a prompt. */
  prompt?: SystemPrompt;
  /** What the model is made to say, from its first own frame on. */
  script?: ScriptedSpeech;
};

const OUTPUTS = new Set(['pcm_out', 'text_token', 'frame_tokens', 'pauses']);

export class Runner {
  readonly manifest: ModelManifest;
  readonly #runtime: OnnxRuntime;
  readonly #stepper: FrameStepper;
  readonly #decoders: StreamingTextDecoder[];
  /** By row. */
  readonly #scripts = new Map<number, ScriptedSpeech>();

  /** Use `openRunner`. */
  constructor(
    manifest: ModelManifest,
    runtime: OnnxRuntime,
    stepper: FrameStepper,
    decoders: StreamingTextDecoder[],
  ) {
    this.manifest = manifest;
    this.#runtime = runtime;
    this.#stepper = stepper;
    this.#decoders = decoders;
  }

  /**
   * Starts a new conversation in a row; steps of a row that was never started are greedy.
   *
   * @returns What the last step of the prompt gave: the frame before the first one that the model
   * makes itself, which the reference returns as its first. Null without a prompt.
   * @throws RangeError naming a condition that the model does not have.
   */
  start(
    row: number,
    { sampling, seed = 0, prompt, script, ...wishes }: ConversationOptions = {},
  ): FrameResult | null {
    this.#stepper.attach(row, {
      sampling: { ...this.manifest.sampling, ...sampling },
      seed,
      ...wishes,
    });
    this.#decoders[row]?.reset();
    this.#scripts.delete(row);
    const promptSteps = prompt === undefined ? 0 : this.#stepper.prompt(row, prompt);
    const silence = new Float32Array(this.manifest.frameSamples);
    let last: FrameResult | null = null;
    for (let step = 0; step < promptSteps; step += 1) {
      // The model is made to write the prompt's text; it is none of the transcript.
      this.#decoders[row]?.reset();
      // The last step is the first whose text is the model's own.
      if (step === promptSteps - 1 && script !== undefined) {
        this.#scripts.set(row, script);
      }
      last = this.step([{ row, pcm: silence }])[0] ?? null;
    }
    if (script !== undefined) {
      this.#scripts.set(row, script);
    }
    return last;
  }

  /**
   * One 80 ms step of the rows given; the others stay where they are.
   *
   * @param batch - Batch size of the graph to run; the smallest that covers the rows if missing.
   * @returns Results in the order of `inputs`.
   * @throws OnnxRuntimeError if the graph fails, Error if a row's output means nothing.
   */
  step(inputs: readonly RowInput[], batch?: number): FrameResult[] {
    const { tensors, batches } = this.#stepper;
    const { frameSamples, generatedCodebooks, heardCodebooks } = this.manifest;
    const codebooks = generatedCodebooks + heardCodebooks;
    tensors.execMask.fill(0);
    for (const { row, pcm, forcedText, forcedCodes, embedding } of inputs) {
      this.#stepper.setEmbedding(row, embedding ?? null);
      assert(pcm.length === frameSamples, `a frame has ${frameSamples} samples, got ${pcm.length}`);
      tensors.pcm.set(pcm, row * frameSamples);
      tensors.execMask[row] = 1;
      tensors.forcedText[row] = BigInt(forcedText ?? this.#scripts.get(row)?.next() ?? FREE);
      for (let codebook = 0; codebook < codebooks; codebook += 1) {
        tensors.forcedCodes[row * codebooks + codebook] = BigInt(forcedCodes?.[codebook] ?? -1);
      }
    }
    const highest = Math.max(...inputs.map(({ row }) => row));
    const size = batch ?? batches.find((candidate) => candidate > highest);
    assert(size !== undefined && size > highest, `no graph covers row ${highest}`);
    const failed = this.#stepper.step(size);
    if (failed.length > 0) {
      throw new Error(`The model's output in row ${failed.join(', ')} is not finite.`);
    }
    for (const { row } of inputs) {
      this.#scripts.get(row)?.took(Number(tensors.textToken[row]));
    }
    return inputs.map(({ row }) => this.#result(row));
  }

  /** Moves a conversation between two steps into another row, where it goes on. */
  move(from: number, to: number): void {
    this.#stepper.move(from, to);
    const decoder = this.#decoders[from];
    assert(decoder !== undefined && to < this.#decoders.length, `there is no row ${from} or ${to}`);
    this.#decoders[from] = this.#decoders[to] as StreamingTextDecoder;
    this.#decoders[to] = decoder;
    const script = this.#scripts.get(from);
    this.#scripts.delete(from);
    this.#scripts.delete(to);
    if (script !== undefined) {
      this.#scripts.set(to, script);
    }
  }

  /** Copies a conversation aside between two steps. */
  save(row: number): Snapshot {
    return this.#stepper.save(row);
  }

  /** Puts a row that was started where another was; its text begins anew. */
  restore(row: number, snapshot: Snapshot): void {
    this.#stepper.restore(row, snapshot);
  }

  dispose(): void {
    this.#runtime.dispose();
  }

  #result(row: number): FrameResult {
    const { tensors, graphs } = this.#stepper;
    const { frameSamples, generatedCodebooks } = this.manifest;
    const textToken = Number(tensors.textToken[row]);
    const columns = 1 + generatedCodebooks;
    const probes = [...graphs.outputs]
      .filter(([name]) => !OUTPUTS.has(name))
      .map(([name, tensor]) => {
        const all = tensor.layout.type === 'float32' ? tensor.float32() : tensor.int64();
        const length = all.length / tensor.rows;
        const values = all.slice(row * length, (row + 1) * length);
        return [
          name,
          values instanceof Float32Array ? values : Array.from(values, Number),
        ] as const;
      });
    return {
      pcm: tensors.pcmOut.slice(row * frameSamples, (row + 1) * frameSamples),
      textToken,
      text: this.#decoders[row]?.push(textToken) ?? '',
      frameTokens: Array.from(
        tensors.frameTokens.subarray(row * columns, (row + 1) * columns),
        Number,
      ),
      pauses: pausesOf(tensors, this.manifest, row),
      probes: new Map(probes),
    };
  }
}

/** @throws ModelDirectoryError, OnnxRuntimeError if the model or the device cannot be used. */
export async function openRunner({
  modelDirectory,
  slots = 1,
  device = 'cpu',
  threads = 1,
  processors,
  snapshotBudgetBytes = 0,
}: RunnerOptions): Promise<Runner> {
  const model = await openModelDirectory(modelDirectory);
  const vocabulary = await readVocabulary(model);
  const runtime = new OnnxRuntime(device);
  const stepper = new FrameStepper({
    runtime,
    model,
    slots,
    threads,
    processors,
    snapshotBudgetBytes,
  });
  const decoders = Array.from({ length: slots }, () => new StreamingTextDecoder(vocabulary));
  return new Runner(model.manifest, runtime, stepper, decoders);
}

/** Mimi alone, one stream. */
export class CodecRunner {
  readonly manifest: ModelManifest;
  readonly #runtime: OnnxRuntime;
  readonly #encoder: GraphSet | null;
  readonly #decoder: GraphSet | null;

  /** Use `openCodec`. */
  constructor(
    manifest: ModelManifest,
    runtime: OnnxRuntime,
    encoder: GraphSet | null,
    decoder: GraphSet | null,
  ) {
    this.manifest = manifest;
    this.#runtime = runtime;
    this.#encoder = encoder;
    this.#decoder = decoder;
  }

  /** The next [1920] samples to [K] codes. */
  encode(pcm: Float32Array): number[] {
    assert(this.#encoder !== null, 'the codec was opened to decode only');
    const input = this.#encoder.input('pcm').float32();
    const { frameSamples } = this.manifest;
    assert(pcm.length === frameSamples, `a frame has ${frameSamples} samples, got ${pcm.length}`);
    input.set(pcm);
    advance(this.#encoder);
    const codes = this.#encoder.output('codes');
    return Array.from(codes.int64().subarray(0, codes.int64().length / codes.rows), Number);
  }

  /** The next [K] codes to [1920] samples. */
  decode(codes: readonly number[]): Float32Array {
    assert(this.#decoder !== null, 'the codec was opened to encode only');
    const input = this.#decoder.input('codes');
    const expected = input.int64().length / input.rows;
    assert(codes.length === expected, `a frame has ${expected} codes, got ${codes.length}`);
    input.int64().set(codes.map(BigInt));
    advance(this.#decoder);
    return this.#decoder.output('pcm_out').float32().slice(0, this.manifest.frameSamples);
  }

  /** Forgets both streams. */
  reset(): void {
    for (const graphs of [this.#encoder, this.#decoder]) {
      if (graphs === null) {
        continue;
      }
      graphs.resetRow(0);
      graphs.input('offset').int64()[0] = 0n;
    }
  }

  dispose(): void {
    this.#runtime.dispose();
  }
}

/** One step of row 0. */
function advance(graphs: GraphSet): void {
  const [batch] = graphs.batches;
  assert(batch !== undefined, 'a set of graphs is never empty');
  graphs.input('exec_mask').bool()[0] = 1;
  graphs.run(batch);
  const offset = graphs.input('offset').int64();
  offset[0] = (offset[0] ?? 0n) + 1n;
}

export type CodecDirection = 'encode' | 'decode';

/**
 * @param options - `directions`: both if missing; a model folder may have been built for one.
 * @throws ModelDirectoryError, OnnxRuntimeError if the model or the device cannot be used.
 */
export async function openCodec({
  modelDirectory,
  device = 'cpu',
  threads = 1,
  processors,
  directions = ['encode', 'decode'],
}: Omit<RunnerOptions, 'slots'> & {
  directions?: readonly CodecDirection[];
}): Promise<CodecRunner> {
  const model = await openModelDirectory(modelDirectory);
  const runtime = new OnnxRuntime(device);
  const open = (direction: CodecDirection): GraphSet | null =>
    directions.includes(direction)
      ? new GraphSet({ runtime, model, kind: `mimi-${direction}`, slots: 1, threads, processors })
      : null;
  return new CodecRunner(model.manifest, runtime, open('encode'), open('decode'));
}
