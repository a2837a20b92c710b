/**
 * The graphs of one kind over one memory: inputs, outputs and states are allocated once for all
 * rows, and a graph for batch b works on the first b of them. So a conversation may step on another
 * batch size every frame and its state stays where it is.
 */
import { strict as assert } from 'node:assert';
import { join } from 'node:path';

import type { GraphDescription, TensorDescription } from '../../../../models/manifest.ts';
import { deviceMemoryNeeds, refuseTooLittleMemory } from '../model/memory-needs.ts';
import { graphsFor, ModelDirectoryError, type ModelDirectory } from '../model/model-directory.ts';
import type { GraphSession } from '../onnxruntime/graph-session.ts';
import type { OnnxRuntime } from '../onnxruntime/onnx-runtime.ts';
import { OnnxRuntimeError } from '../onnxruntime/onnx-runtime-error.ts';
import type { RunTraffic } from '../onnxruntime/run-traffic.ts';
import type { StateTensor } from '../onnxruntime/state-tensor.ts';
import { HostTensor, rowBytes, type RowLayout } from '../onnxruntime/tensor.ts';
import type { OperatorThreads } from '../onnxruntime/thread-pinning.ts';

export type GraphSetOptions = OperatorThreads & {
  runtime: OnnxRuntime;
  model: ModelDirectory;
  kind: GraphDescription['kind'];
  /** Rows that are used. */
  slots: number;
  /** As in `OnnxRuntime.openSession`. */
  profile?: string;
};

/** The state of one row, kept aside: every state's [1, ...rowShape]. */
export type SavedRow = readonly StateTensor[];

export class GraphSet {
  /** Batch sizes, ascending. */
  readonly batches: number[];
  readonly inputs: ReadonlyMap<string, HostTensor>;
  readonly outputs: ReadonlyMap<string, HostTensor>;
  readonly #sessions: ReadonlyMap<number, GraphSession>;
  readonly #states: StateTensor[];
  readonly #createState: (layout: RowLayout, rows: number) => StateTensor;
  /** Memory of saved rows that nobody needs any more. */
  readonly #spareRows: SavedRow[] = [];
  /** A row for which there was no memory to the end; the next one begins with what there is of it. */
  #unfinishedRow: StateTensor[] = [];

  /**
   * Loads the graphs; takes from milliseconds to minutes.
   *
   * @throws ModelDirectoryError if the graphs do not fit together, MemoryError if the device has no
   * room for them, OnnxRuntimeError if one does not load.
   */
  constructor({ runtime, model, kind, slots, threads, processors, profile }: GraphSetOptions) {
    if (model.manifest.device !== runtime.device) {
      throw ModelDirectoryError.madeFor(model, runtime.device);
    }
    const graphs = graphsFor(model, kind, slots);
    const largest = graphs.at(-1);
    assert(largest !== undefined, 'graphsFor returns at least one graph');
    for (const graph of graphs) {
      refuseDifferences(model, graph, largest);
    }
    const freeBytes = runtime.freeDeviceBytes();
    if (freeBytes !== null) {
      refuseTooLittleMemory(deviceMemoryNeeds(model, kind, slots), freeBytes);
    }
    this.batches = graphs.map((graph) => graph.batch);
    this.inputs = allocate(largest.inputs, largest.batch);
    this.outputs = allocate(largest.outputs, largest.batch);
    const sessions = new Map(
      graphs.map((graph) => [
        graph.batch,
        runtime.openSession({
          path: join(model.path, graph.file),
          weightsDirectory: model.manifest.weightsDirectory,
          weights: graph.weights,
          hostNodes: graph.hostNodes,
          threads,
          processors,
          profile,
        }),
      ]),
    );
    this.#sessions = sessions;
    const [anySession] = sessions.values();
    assert(anySession !== undefined, 'at least one graph is loaded');
    this.#createState = (layout, rows) => runtime.createState(layout, rows, anySession);
    try {
      this.#states = largest.states.map((state) => this.#createState(state, largest.batch));
    } catch (error) {
      const bytesPerRow = largest.states.reduce((total, state) => total + rowBytes(state), 0);
      throw OnnxRuntimeError.noRoomForStates(largest.batch, bytesPerRow, error);
    }
    for (const [batch, session] of sessions) {
      for (const [name, tensor] of this.inputs) {
        session.bindInput(name, tensor, batch);
      }
      for (const [name, tensor] of this.outputs) {
        session.bindOutput(name, tensor, batch);
      }
      for (const [index, state] of largest.states.entries()) {
        session.bindState(state, this.#states[index] as StateTensor, batch);
      }
      if (session.prepare()) {
        this.#states.forEach((state) => state.zero());
      }
    }
  }

  /** @throws ModelDirectoryError if the graphs have no such input. */
  input(name: string): HostTensor {
    const tensor = this.inputs.get(name);
    assert(tensor !== undefined, `the graphs have no input ${name}`);
    return tensor;
  }

  output(name: string): HostTensor {
    const tensor = this.outputs.get(name);
    assert(tensor !== undefined, `the graphs have no output ${name}`);
    return tensor;
  }

  /** Runs the first `batch` rows; blocks until the outputs are written. */
  run(batch: number): void {
    this.#session(batch).run();
  }

  /** Runs of all graphs so far. */
  get runs(): number {
    return [...this.#sessions.values()].reduce((total, session) => total + session.runs, 0);
  }

  /** What a run of the first `batch` rows moves between host and device; states stay where they are. */
  traffic(batch: number): RunTraffic {
    return this.#session(batch).traffic;
  }

  /** As `GraphSession.endProfile`, of the graph for `batch` rows. */
  endProfile(batch: number): string {
    return this.#session(batch).endProfile();
  }

  #session(batch: number): GraphSession {
    const session = this.#sessions.get(batch);
    assert(session !== undefined, `no graph has batch size ${batch}`);
    return session;
  }

  /**
   * Makes a row's state as good as new. Rings stay as they are, and take no memory that nobody has filled:
   * no step reads of them what no step of the same conversation has written.
   */
  resetRow(row: number): void {
    for (const state of this.#states) {
      if (!state.isRing) {
        state.zeroRow(row);
      }
    }
  }

  /** The same with rings, after a failure: what is no number remains none when it is multiplied by 0. */
  clearRow(row: number): void {
    for (const state of this.#states) {
      state.zeroRow(row);
    }
  }

  /** Memory of one row's state. */
  get rowBytes(): number {
    return this.#states.reduce((total, { layout }) => total + rowBytes(layout), 0);
  }

  /**
   * Copies a row's state aside, on the device; give it back with `recycle`.
   * @param steps - That the row's conversation has taken, here and below: all that there is to copy.
   * @throws Error for which `isOutOfMemory` holds, where there is no room for it.
   */
  saveRow(row: number, steps: number): SavedRow {
    const saved = this.#spareRows.pop() ?? this.#createRow();
    for (const [index, state] of this.#states.entries()) {
      state.copyRow(row, saved[index] as StateTensor, 0, steps);
    }
    return saved;
  }

  #createRow(): SavedRow {
    for (const { layout } of this.#states.slice(this.#unfinishedRow.length)) {
      this.#unfinishedRow.push(this.#createState(layout, 1));
    }
    const row = this.#unfinishedRow;
    this.#unfinishedRow = [];
    return row;
  }

  restoreRow(saved: SavedRow, row: number, steps: number): void {
    for (const [index, state] of this.#states.entries()) {
      (saved[index] as StateTensor).copyRow(0, state, row, steps);
    }
  }

  /** Keeps the memory of a saved row for the next one. */
  recycle(saved: SavedRow): void {
    this.#spareRows.push(saved);
  }

  /** Copies a row's state over that of another row, on the device. */
  copyRow(from: number, to: number, steps: number): void {
    for (const state of this.#states) {
      state.copyRow(from, state, to, steps);
    }
  }
}

function allocate(descriptions: TensorDescription[], rows: number): Map<string, HostTensor> {
  return new Map(
    descriptions.map(({ name, type, shape }) => [
      name,
      new HostTensor({ type, rowShape: shape.slice(1) }, rows),
    ]),
  );
}

/** Graphs share memory, so all but the batch size must agree. */
function refuseDifferences(
  model: ModelDirectory,
  graph: GraphDescription,
  reference: GraphDescription,
): void {
  const rowsOf = ({ inputs, outputs, states, batch }: GraphDescription): string => {
    const row = ({ name, type, shape }: TensorDescription): unknown[] => {
      if (shape[0] !== batch) {
        throw ModelDirectoryError.lacks(
          model.path,
          `leading batch of ${batch} in tensor "${name}" of "${graph.file}" (shape ${shape.join('×')})`,
        );
      }
      return [name, type, shape.slice(1)];
    };
    return JSON.stringify([inputs.map(row), outputs.map(row), states]);
  };
  if (rowsOf(graph) !== rowsOf(reference)) {
    throw ModelDirectoryError.lacks(
      model.path,
      `consistent set of graphs: "${graph.file}" and "${reference.file}" differ in more than their batch`,
    );
  }
}
