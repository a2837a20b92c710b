/**
 * Collects the nodes, constants, inputs, outputs and states of one ONNX graph, so that layers can be
 * plain functions from values to values.
 *
 * States obey the rule of manifest.ts that a state's output may share its input's buffer: the node
 * that writes the output must run after every other reader of the input. `finish` refuses a graph
 * in which that is not certain.
 */
import assert from 'node:assert/strict';
import type {
  Device,
  StateDescription,
  TensorDescription,
  TensorType,
  WeightDescription,
} from '../manifest.ts';
import type { TensorView } from '../checkpoints/safetensors.ts';
import { DATA_TYPES, elementCount, type DataType } from './data-types.ts';
import { findHostNodes } from './host-nodes.ts';
import {
  encodeModel,
  type Attribute,
  type Attributes,
  type Branch,
  type InitializerDescription,
  type NodeDescription,
} from './model-proto.ts';
import { outputType } from './output-types.ts';
import { weightTraffic } from './weight-traffic.ts';

/** The name of a tensor in the graph; only a builder makes them. */
export type Value = string & { readonly __brand: 'onnx value' };

/** What the finished graph looks like to whoever runs it. */
export type GraphSignature = {
  readonly inputs: TensorDescription[];
  readonly outputs: TensorDescription[];
  readonly states: StateDescription[];
  readonly nodes: number;
  readonly weightBytes: number;
  readonly foldedBytes: number;
  readonly weights: WeightDescription[];
  readonly hostNodes: string[];
};

/** A node as kernels are chosen for it. */
export type Operator = {
  /** With its domain, unless that is ONNX's own. */
  readonly type: string;
  /** Null stands for an optional one that is left out. */
  readonly inputs: readonly ({ readonly type: DataType; readonly isConstant: boolean } | null)[];
  readonly outputs: readonly DataType[];
};

/** The newest opset all of whose operators that we use have kernels there (layers/device-kernels.ts). */
const OPSETS: Readonly<Record<Device, number>> = { cpu: 24, cuda: 20, webgpu: 20 };

export class GraphBuilder {
  /** Rows computed at once: the first size of every input, output and state. */
  readonly batch: number;
  /** What the graph is to run on: layers choose operators that it has. */
  readonly device: Device;
  #nodes: NodeDescription[] = [];
  readonly #initializers = new Map<string, InitializerDescription>();
  readonly #constants = new Map<string, Value>();
  readonly #types = new Map<string, DataType>();
  /** By the value that is cast and the type that it becomes. */
  readonly #casts = new Map<string, Value>();
  /** What float32 values were, of 16 bits, before they were cast. */
  readonly #narrow = new Map<Value, Value>();
  readonly #inputs: TensorDescription[] = [];
  readonly #outputs: { description: TensorDescription; value: Value }[] = [];
  readonly #states = new Map<Value, { description: StateDescription; next: Value | null }>();
  readonly #name: string;
  #scope: string[] = [];
  #counter = 0;
  #isInBranch = false;
  readonly #onHost = new Set<NodeDescription>();

  constructor(name: string, batch: number, device: Device = 'cpu') {
    assert(Number.isInteger(batch) && batch > 0, `batch must be a positive integer, got ${batch}`);
    this.#name = name;
    this.batch = batch;
    this.device = device;
  }

  /** Names made while `compose` runs carry `name`, so that profiles and errors say where they are. */
  scope<T>(name: string, compose: () => T): T {
    const outer = this.#scope;
    this.#scope = [...outer, name];
    try {
      return compose();
    } finally {
      this.#scope = outer;
    }
  }

  /** What `compose` makes belongs on the host: integers, whose results are needed there or go on as ids. */
  onHost<T>(compose: () => T): T {
    const before = this.#nodes.length;
    const result = compose();
    for (const node of this.#nodes.slice(before)) this.#onHost.add(node);
    return result;
  }

  /** An input of shape [batch, ...rowShape]. */
  input(name: string, type: TensorType, rowShape: readonly number[]): Value {
    this.#inputs.push({ name, type, shape: [this.batch, ...rowShape] });
    this.#types.set(name, type);
    return name as Value;
  }

  /** Makes `value` an output of shape [batch, ...rowShape]. */
  output(name: string, value: Value, type: TensorType, rowShape: readonly number[]): void {
    this.#outputs.push({ description: { name, type, shape: [this.batch, ...rowShape] }, value });
  }

  /**
   * A tensor [batch, ...rowShape] that lives between runs and starts from zeros.
   * @param slotsPerStep - Of a ring; see `StateDescription`.
   */
  state(
    name: string,
    type: TensorType,
    rowShape: readonly number[],
    slotsPerStep: number | null = null,
  ): Value {
    const input = [...this.#scope, name].join('.') as Value;
    assert(!this.#states.has(input), `state ${input} exists twice`);
    this.#states.set(input, {
      description: {
        input,
        output: `${input}.next`,
        type,
        rowShape: [...rowShape],
        slotsPerStep,
      },
      next: null,
    });
    this.#types.set(input, type);
    return input;
  }

  /** Says what `state` holds after the run; called once for each state. */
  setState(state: Value, next: Value): void {
    const entry = this.#states.get(state);
    assert(entry?.next === null, `state ${state} is unknown or was set before`);
    entry.next = next;
  }

  /** Adds a node with one output. A null input is an optional one left out. */
  op(type: string, inputs: readonly (Value | null)[], attributes: Attributes = {}): Value {
    const [output] = this.ops(type, inputs, 1, attributes);
    assert(output !== undefined);
    return output;
  }

  /** Adds a node with several outputs. */
  ops(
    type: string,
    inputs: readonly (Value | null)[],
    outputCount: number,
    attributes: Attributes = {},
  ): Value[] {
    return this.#node('', type, inputs, outputCount, attributes);
  }

  /** Adds a node with one output whose operator onnxruntime adds to the standard's (com.microsoft). */
  contributedOp(
    type: string,
    inputs: readonly (Value | null)[],
    attributes: Attributes = {},
  ): Value {
    const [output] = this.#node('com.microsoft', type, inputs, 1, attributes);
    assert(output !== undefined);
    return output;
  }

  #node(
    domain: NodeDescription['domain'],
    type: string,
    inputs: readonly (Value | null)[],
    outputCount: number,
    attributes: Attributes,
  ): Value[] {
    const outputs = Array.from({ length: outputCount }, () => this.#freshName(type));
    const names = inputs.map((input) => input ?? '');
    const branch = attributes['then_branch'];
    const inputTypes =
      branch === undefined
        ? inputs.map((input) => (input === null ? null : this.typeOf(input)))
        : [this.typeOf((branch as Branch).output as Value)];
    for (const [index, output] of outputs.entries()) {
      this.#types.set(output, outputType(type, inputTypes, attributes, index));
    }
    this.#nodes.push({ type, domain, inputs: names, outputs, attributes });
    return outputs;
  }

  typeOf(value: Value): DataType {
    const type = this.#types.get(value);
    assert(type !== undefined, `${value} is no value of this graph`);
    return type;
  }

  /**
   * `value` as another type; itself where it has that already. What was widened from 16 bits only to be
   * narrowed again is narrowed from where it came from: float32 holds every such number.
   */
  cast(value: Value, type: DataType): Value {
    const from = this.typeOf(value);
    if (from === type) return value;
    const narrow = this.#narrow.get(value);
    if (narrow !== undefined) return this.cast(narrow, type);
    const key = `${value} ${type}`;
    const known = this.#casts.get(key);
    if (known !== undefined) return known;
    const result = this.op('Cast', [value], { to: DATA_TYPES[type].code });
    // What a branch computes is not there outside of it.
    if (this.#isInBranch) return result;
    this.#casts.set(key, result);
    if (type === 'float32' && DATA_TYPES[from].bytes === 2) this.#narrow.set(result, value);
    return result;
  }

  /**
   * Runs one of two pieces of graph. They may use every value there is, but add no weights that must
   * be cast, no states and no further choices.
   * @param condition - One bool.
   * @returns what the chosen piece returns; both must agree in type and number of axes.
   */
  choose(condition: Value, whenTrue: () => Value, whenFalse: () => Value): Value {
    assert(!this.#isInBranch, 'choices do not nest');
    const branch = (compose: () => Value): Branch => {
      const outer = this.#nodes;
      this.#nodes = [];
      this.#isInBranch = true;
      try {
        const output = compose();
        assert(
          this.#nodes.some(({ outputs }) => outputs.includes(output)),
          'a branch must compute what it returns',
        );
        return { nodes: this.#nodes, output };
      } finally {
        this.#nodes = outer;
        this.#isInBranch = false;
      }
    };
    return this.op('If', [condition], {
      then_branch: branch(whenTrue),
      else_branch: branch(whenFalse),
    });
  }

  floats(data: readonly number[] | Float32Array, shape: readonly number[] = [data.length]): Value {
    return this.#constant('float32', Float32Array.from(data), shape);
  }

  integers(data: readonly number[], shape: readonly number[] = [data.length]): Value {
    return this.#constant('int64', BigInt64Array.from(data, BigInt), shape);
  }

  /** One number of 8 bits without a sign. */
  byte(value: number): Value {
    return this.#constant('uint8', Uint8Array.of(value), []);
  }

  /**
   * A checkpoint tensor as float32, or as `type`. What is stored otherwise is cast by a node that
   * onnxruntime folds when it loads the graph; the bytes themselves stay in the checkpoint's file.
   * @param shape - Another shape for the same elements, for example without trailing ones.
   */
  weight(
    view: TensorView,
    shape: readonly number[] = view.shape,
    type: DataType = 'float32',
  ): Value {
    assert(!this.#isInBranch || view.type === type, `${view.name} must be cast outside the branch`);
    return this.cast(this.storedWeight(view, shape), type);
  }

  /** A checkpoint tensor in the type it is stored in; `cast` what is computed from it. */
  storedWeight(view: TensorView, shape: readonly number[] = view.shape): Value {
    assert(
      elementCount(shape) === elementCount(view.shape),
      `${view.name} [${view.shape.join(', ')}] does not fit [${shape.join(', ')}]`,
    );
    const name = `${view.file}:${view.offsetBytes}:${view.name}[${shape.join(',')}]` as Value;
    this.#initializers.set(name, {
      name,
      type: view.type,
      shape,
      file: view.file,
      offsetBytes: view.offsetBytes,
      lengthBytes: view.lengthBytes,
    });
    this.#types.set(name, view.type);
    return name;
  }

  /** All nodes so far but those inside branches. */
  operators(): Operator[] {
    const typed = (name: string): DataType => this.typeOf(name as Value);
    return this.#nodes.map(({ type, domain, inputs, outputs }) => ({
      type: domain === '' ? type : `${domain}.${type}`,
      inputs: inputs.map((name) =>
        name === '' ? null : { type: typed(name), isConstant: this.#initializers.has(name) },
      ),
      outputs: outputs.map(typed),
    }));
  }

  /** The ONNX bytes and the signature. Every state must have been set. */
  finish(): { bytes: Uint8Array<ArrayBuffer>; signature: GraphSignature } {
    const states = [...this.#states.values()];
    const outputs = [...this.#outputs];
    const inputs = [...this.#inputs];
    for (const { description, next } of states) {
      assert(next !== null, `state ${description.input} was never set`);
      const shape = [this.batch, ...description.rowShape];
      inputs.push({ name: description.input, type: description.type, shape });
      outputs.push({
        description: { name: description.output, type: description.type, shape },
        value: next,
      });
    }
    this.#checkInPlace();
    const { rename, copies } = this.#outputNames(outputs);
    const named = (name: string): string => rename.get(name) ?? name;
    const hostNodes = this.#findHostNodes(inputs);
    const computed = this.#nodes.map((node, index) => {
      const result = renamed(node, named);
      // Short, because all of them go into one option of a provider, which has a limit.
      return hostNodes.has(node) ? { ...result, name: `h${String(index)}` } : result;
    });
    const nodes = [...computed, ...copies];
    const used = new Set(nodes.flatMap(readNames));
    const initializers = [...this.#initializers.values()].filter(({ name }) => used.has(name));
    const bytes = encodeModel({
      name: this.#name,
      opset: OPSETS[this.device],
      nodes,
      initializers,
      inputs,
      outputs: outputs.map(({ description }) => description),
    });
    const { readBytes, foldedBytes, readAsStored } = weightTraffic(nodes, initializers);
    const signature = {
      inputs: [...this.#inputs],
      outputs: this.#outputs.map(({ description }) => description),
      states: states.map(({ description }) => description),
      nodes: nodes.length,
      weightBytes: readBytes,
      foldedBytes,
      hostNodes: nodes.flatMap(({ name }) => name ?? []),
      weights: initializers.flatMap((one) =>
        'file' in one
          ? [{ ...one, shape: [...one.shape], isReadAsStored: readAsStored.has(one.name) }]
          : [],
      ),
    };
    return { bytes, signature };
  }

  /** For devices whose kernels do not compute with integers of 64 bits as they should. */
  #findHostNodes(inputs: readonly TensorDescription[]): Set<NodeDescription> {
    if (this.device !== 'webgpu') return new Set();
    return findHostNodes({
      nodes: this.#nodes,
      marked: this.#onHost,
      constants: new Set(this.#constants.values()),
      sources: inputs.filter(({ type }) => type !== 'float32').map(({ name }) => name),
    });
  }

  /** Every reader of a state, except the node that writes its successor, must come before that node. */
  #checkInPlace(): void {
    const producers = new Map<string, NodeDescription>();
    const readers = new Map<string, NodeDescription[]>();
    for (const node of this.#nodes) {
      for (const output of node.outputs) producers.set(output, node);
      for (const input of readNames(node))
        readers.set(input, [...(readers.get(input) ?? []), node]);
    }
    for (const [state, { next }] of this.#states) {
      const writer = next === null ? undefined : producers.get(next);
      assert(writer !== undefined, `the successor of state ${state} is not computed`);
      const before = new Set<NodeDescription>([writer]);
      // A set visits what is added while it is walked: this collects all ancestors of the writer.
      for (const node of before) {
        for (const input of readNames(node)) {
          const producer = producers.get(input);
          if (producer !== undefined) before.add(producer);
        }
      }
      for (const reader of readers.get(state) ?? []) {
        assert(
          before.has(reader),
          `state ${state} is read by ${reader.outputs.join()} perhaps after ${String(next)} replaced it`,
        );
      }
    }
  }

  /**
   * Gives the producing node itself the output's name: an Identity in between would be a copy and
   * would undo the in-place update of states. Only inputs, constants and values that are already
   * an output need the copy.
   */
  #outputNames(outputs: readonly { description: TensorDescription; value: Value }[]): {
    rename: Map<string, string>;
    copies: NodeDescription[];
  } {
    const produced = new Set(this.#nodes.flatMap((node) => node.outputs));
    const rename = new Map<string, string>();
    const copies: NodeDescription[] = [];
    for (const { description, value } of outputs) {
      if (produced.has(value) && !rename.has(value)) {
        rename.set(value, description.name);
        continue;
      }
      copies.push({
        type: 'Identity',
        domain: '',
        inputs: [rename.get(value) ?? value],
        outputs: [description.name],
        attributes: {},
      });
    }
    return { rename, copies };
  }

  #constant(
    type: DataType,
    data: Float32Array | BigInt64Array | Uint8Array,
    shape: readonly number[],
  ): Value {
    assert(
      elementCount(shape) === data.length,
      `${data.length} values do not fill [${shape.join(', ')}]`,
    );
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${type}[${shape.join(',')}]${Buffer.from(bytes).toString('base64')}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = `constant:${String(this.#constants.size)}` as Value;
    this.#constants.set(key, name);
    this.#initializers.set(name, { name, type, shape, bytes });
    this.#types.set(name, type);
    return name;
  }

  #freshName(type: string): Value {
    this.#counter += 1;
    return [...this.#scope, `${type}${String(this.#counter)}`].join('/') as Value;
  }
}

function branchesOf({ attributes }: NodeDescription): Branch[] {
  return Object.values(attributes).filter(
    (attribute): attribute is Branch => typeof attribute === 'object' && 'nodes' in attribute,
  );
}

/** All values that a node reads, those read inside its branches included. */
function readNames(node: NodeDescription): string[] {
  const inside = branchesOf(node).flatMap(({ nodes }) => nodes.flatMap(readNames));
  return [...node.inputs, ...inside];
}

function renamed(node: NodeDescription, named: (name: string) => string): NodeDescription {
  const attributes: Record<string, Attribute> = {};
  for (const [name, attribute] of Object.entries(node.attributes)) {
    attributes[name] =
      typeof attribute === 'object' && 'nodes' in attribute
        ? { ...attribute, nodes: attribute.nodes.map((inner) => renamed(inner, named)) }
        : attribute;
  }
  return {
    ...node,
    inputs: node.inputs.map(named),
    outputs: node.outputs.map(named),
    attributes,
  };
}
