/**
 * Runs one graph of a built model in tests, step by step, carrying its states.
 *
 * The engine has its own runner through the C API; this one is deliberately plain, so that a
 * difference between the two points at one of them.
 */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type {
  GraphDescription,
  ModelManifest,
  TensorDescription,
  TensorType,
} from '../manifest.ts';
import type { GraphBuilder } from '../onnx/graph-builder.ts';
import { elementCount } from '../onnx/data-types.ts';

export type Feed = Readonly<Record<string, Float32Array | readonly number[] | readonly boolean[]>>;

/** What it takes to run a graph. */
type GraphShape = Pick<GraphDescription, 'batch' | 'inputs' | 'outputs' | 'states'>;

/** One thread repeats bits; without the severity every run reports that states are copied here. */
function sessionOptions(weightsDirectory: string): InferenceSession.SessionOptions {
  return {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: { session: { model_external_initializers_file_folder_path: weightsDirectory } },
  };
}

export class GraphSession {
  readonly graph: GraphShape;
  readonly #session: InferenceSession;
  #states: Record<string, Tensor>;

  private constructor(graph: GraphShape, session: InferenceSession) {
    this.graph = graph;
    this.#session = session;
    this.#states = zeroStates(graph);
  }

  /** A graph of a built model. */
  static async open(
    built: { directory: string; manifest: ModelManifest },
    kind: GraphDescription['kind'],
    batch: number,
  ): Promise<GraphSession> {
    const graph = built.manifest.graphs.find((one) => one.kind === kind && one.batch === batch);
    if (graph === undefined) throw new Error(`no graph ${kind} for ${batch} rows was built`);
    const session = await InferenceSession.create(
      join(built.directory, graph.file),
      sessionOptions(built.manifest.weightsDirectory),
    );
    return new GraphSession(graph, session);
  }

  /** A graph that a test composed; weights, if any, lie in `weightsDirectory`. */
  static async compose(builder: GraphBuilder, weightsDirectory: string): Promise<GraphSession> {
    const { bytes, signature } = builder.finish();
    const session = await InferenceSession.create(bytes, sessionOptions(weightsDirectory));
    return new GraphSession({ batch: builder.batch, ...signature }, session);
  }

  /** Starts all rows anew. */
  reset(): void {
    this.#states = zeroStates(this.graph);
  }

  /** Starts one row anew, as the engine does for a new conversation. */
  resetRow(row: number): void {
    for (const { data, dims } of Object.values(this.#states)) {
      const size = data.length / (dims[0] ?? 1);
      if (data instanceof BigInt64Array) data.fill(0n, row * size, (row + 1) * size);
      else (data as Float32Array | Int8Array).fill(0, row * size, (row + 1) * size);
    }
  }

  async step(feed: Feed): Promise<Record<string, Float32Array | BigInt64Array>> {
    const feeds: Record<string, Tensor> = { ...this.#states };
    for (const input of this.graph.inputs) feeds[input.name] = toTensor(input, feed[input.name]);
    const results = await this.#session.run(feeds);
    this.#states = Object.fromEntries(
      this.graph.states.map(({ input, output }) => [input, required(results[output], output)]),
    );
    return Object.fromEntries(
      this.graph.outputs.map(({ name }) => [
        name,
        required(results[name], name).data as Float32Array | BigInt64Array,
      ]),
    );
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

/** Neutral inputs for every row of a frame graph at `offset`: greedy, nothing forced, no guidance. */
export function greedyFeed(graph: GraphShape, offset: number, pcm: Float32Array): Feed {
  const { batch } = graph;
  const shapeOf = (name: string): readonly number[] =>
    graph.inputs.find((input) => input.name === name)?.shape ?? [];
  const filled = (name: string, value: number): number[] =>
    Array.from({ length: elementCount(shapeOf(name)) }, () => value);
  const has = (name: string): boolean[] => filled(name, 0).map(Boolean);
  const conditions = graph.inputs.filter(({ name }) => name.startsWith('condition_'));
  return {
    pcm,
    offset: filled('offset', offset),
    exec_mask: Array.from({ length: batch }, () => true),
    forced_text: filled('forced_text', -1),
    forced_codes: filled('forced_codes', -1),
    text_temperature: filled('text_temperature', 0),
    audio_temperature: filled('audio_temperature', 0),
    text_top_k: filled('text_top_k', 1),
    audio_top_k: filled('audio_top_k', 1),
    text_noise: filled('text_noise', 1),
    audio_noise: filled('audio_noise', 1),
    guidance: filled('guidance', 1),
    embedding: filled('embedding', 0),
    has_embedding: has('has_embedding'),
    ...Object.fromEntries(conditions.map(({ name }) => [name, filled(name, 0)])),
  };
}

function toTensor(description: TensorDescription, data: Feed[string] | undefined): Tensor {
  const { name, type, shape } = description;
  if (data?.length !== elementCount(shape)) {
    throw new Error(`${name} needs [${shape.join(', ')}], got ${String(data?.length)} values`);
  }
  switch (type) {
    case 'float32':
      return new Tensor('float32', Float32Array.from(data as readonly number[]), shape);
    case 'float16':
    case 'uint8':
    case 'int8':
      throw new Error(`${name}: no graph takes inputs of ${type}`);
    case 'int64':
      return new Tensor('int64', BigInt64Array.from(data as readonly number[], BigInt), shape);
    case 'bool':
      return new Tensor('bool', Uint8Array.from(data as readonly boolean[], Number), shape);
  }
}

function zeroStates(graph: GraphShape): Record<string, Tensor> {
  return Object.fromEntries(
    graph.states.map(({ input, type, rowShape }) => {
      const shape = [graph.batch, ...rowShape];
      const count = elementCount(shape);
      return [input, zeros(type, count, shape)];
    }),
  );
}

function zeros(type: TensorType, count: number, shape: readonly number[]): Tensor {
  switch (type) {
    case 'int64':
      return new Tensor(type, new BigInt64Array(count), shape);
    case 'float16':
      return new Tensor(type, new Uint16Array(count), shape);
    case 'float32':
      return new Tensor(type, new Float32Array(count), shape);
    case 'int8':
      return new Tensor(type, new Int8Array(count), shape);
    case 'uint8':
    case 'bool':
      return new Tensor(type, new Uint8Array(count), shape);
  }
}

function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`the graph gave no ${name}`);
  return value;
}
