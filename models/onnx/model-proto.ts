/**
 * Writes an ONNX model as protobuf bytes. Field numbers are those of `onnx.proto` (onnx/onnx,
 * IR version 12); only the messages that our graphs need.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { DATA_TYPES, type DataType } from './data-types.ts';

/** IR version that goes with opset 24; the newest that onnxruntime 1.30 reads is 13. */
const IR_VERSION = 12;
const MICROSOFT_DOMAIN = 'com.microsoft';

const ATTRIBUTE_TYPES = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const;
const EXTERNAL_LOCATION = 1;

/** A number is an integer attribute; floats are marked because JavaScript cannot tell them apart. */
export type Attribute = number | string | readonly number[] | { readonly float: number } | Branch;
export type Attributes = Readonly<Record<string, Attribute>>;

/** Nodes that run only where the node they belong to says so; they see every value outside. */
export type Branch = { readonly nodes: readonly NodeDescription[]; readonly output: string };

export type NodeDescription = {
  /** Unique in its graph; if absent, made of index, type and output. */
  readonly name?: string;
  readonly type: string;
  readonly domain: '' | typeof MICROSOFT_DOMAIN;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
};

export type ValueDescription = {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
};

/** A constant, either with its bytes or pointing into a file beside the model. */
export type InitializerDescription = ValueDescription &
  (
    | { readonly bytes: Uint8Array }
    | { readonly file: string; readonly offsetBytes: number; readonly lengthBytes: number }
  );

export type GraphProtoDescription = {
  readonly name: string;
  /** Version of ONNX's operators. */
  readonly opset: number;
  readonly nodes: readonly NodeDescription[];
  readonly initializers: readonly InitializerDescription[];
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
};

/** The bytes of a `.onnx` file holding this graph. */
export function encodeModel(graph: GraphProtoDescription): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int64(IR_VERSION);
  writer.tag(2, WireType.LengthDelimited).string('moshi-for-rooms');
  message(writer, 7, () => writeGraph(writer, graph));
  for (const [domain, version] of [
    ['', graph.opset],
    [MICROSOFT_DOMAIN, 1],
  ] as const) {
    message(writer, 8, () => {
      writer.tag(1, WireType.LengthDelimited).string(domain);
      writer.tag(2, WireType.Varint).int64(version);
    });
  }
  return writer.finish();
}

function message(writer: BinaryWriter, field: number, write: () => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write();
  writer.join();
}

function writeGraph(writer: BinaryWriter, graph: GraphProtoDescription): void {
  graph.nodes.forEach((node, index) => {
    message(writer, 1, () => writeNode(writer, node, index));
  });
  writer.tag(2, WireType.LengthDelimited).string(graph.name);
  for (const initializer of graph.initializers) {
    message(writer, 5, () => writeInitializer(writer, initializer));
  }
  for (const input of graph.inputs) message(writer, 11, () => writeValue(writer, input));
  for (const output of graph.outputs) message(writer, 12, () => writeValue(writer, output));
}

function writeNode(writer: BinaryWriter, node: NodeDescription, index: number): void {
  for (const input of node.inputs) writer.tag(1, WireType.LengthDelimited).string(input);
  for (const output of node.outputs) writer.tag(2, WireType.LengthDelimited).string(output);
  // Profiles and error messages name nodes: the index keeps names unique, the output tells where.
  writer
    .tag(3, WireType.LengthDelimited)
    .string(node.name ?? `${String(index)}:${node.type}:${node.outputs[0] ?? ''}`);
  writer.tag(4, WireType.LengthDelimited).string(node.type);
  for (const [name, attribute] of Object.entries(node.attributes)) {
    message(writer, 5, () => writeAttribute(writer, name, attribute));
  }
  if (node.domain !== '') writer.tag(7, WireType.LengthDelimited).string(node.domain);
}

function writeAttribute(writer: BinaryWriter, name: string, attribute: Attribute): void {
  writer.tag(1, WireType.LengthDelimited).string(name);
  let type: number;
  if (typeof attribute === 'number') {
    writer.tag(3, WireType.Varint).int64(attribute);
    type = ATTRIBUTE_TYPES.int;
  } else if (typeof attribute === 'string') {
    writer.tag(4, WireType.LengthDelimited).string(attribute);
    type = ATTRIBUTE_TYPES.string;
  } else if ('nodes' in attribute) {
    message(writer, 6, () => writeBranch(writer, attribute));
    type = ATTRIBUTE_TYPES.graph;
  } else if ('float' in attribute) {
    writer.tag(2, WireType.Bit32).float(attribute.float);
    type = ATTRIBUTE_TYPES.float;
  } else {
    for (const item of attribute) writer.tag(8, WireType.Varint).int64(item);
    type = ATTRIBUTE_TYPES.ints;
  }
  writer.tag(20, WireType.Varint).int32(type);
}

/** The output's type and shape are left to ONNX's inference. */
function writeBranch(writer: BinaryWriter, { nodes, output }: Branch): void {
  nodes.forEach((node, index) => {
    message(writer, 1, () => writeNode(writer, node, index));
  });
  writer.tag(2, WireType.LengthDelimited).string(`branch:${output}`);
  message(writer, 12, () => writer.tag(1, WireType.LengthDelimited).string(output));
}

function writeInitializer(writer: BinaryWriter, tensor: InitializerDescription): void {
  for (const size of tensor.shape) writer.tag(1, WireType.Varint).int64(size);
  writer.tag(2, WireType.Varint).int32(DATA_TYPES[tensor.type].code);
  writer.tag(8, WireType.LengthDelimited).string(tensor.name);
  if ('bytes' in tensor) {
    writer.tag(9, WireType.LengthDelimited).bytes(tensor.bytes);
    return;
  }
  const location = {
    location: tensor.file,
    offset: String(tensor.offsetBytes),
    length: String(tensor.lengthBytes),
  };
  for (const [key, value] of Object.entries(location)) {
    message(writer, 13, () => {
      writer.tag(1, WireType.LengthDelimited).string(key);
      writer.tag(2, WireType.LengthDelimited).string(value);
    });
  }
  writer.tag(14, WireType.Varint).int32(EXTERNAL_LOCATION);
}

function writeValue(writer: BinaryWriter, value: ValueDescription): void {
  writer.tag(1, WireType.LengthDelimited).string(value.name);
  message(writer, 2, () => {
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(DATA_TYPES[value.type].code);
      message(writer, 2, () => {
        for (const size of value.shape) {
          message(writer, 1, () => writer.tag(1, WireType.Varint).int64(size));
        }
      });
    });
  });
}
