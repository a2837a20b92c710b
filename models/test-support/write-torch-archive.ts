/** Writes what torch.save writes of a dictionary of tensors, as far as voices need it. */
import { zipSync } from 'fflate';

export type WrittenTorchTensor = {
  readonly shape: readonly number[];
  readonly storage: 'FloatStorage' | 'BFloat16Storage' | 'LongStorage';
  readonly values: readonly number[];
};

const PROTOCOL_2 = [0x80, 2];
const EMPTY_DICT = 0x7d;
const MARK = 0x28;
const TUPLE = 0x74;
const REDUCE = 0x52;
const BINPERSID = 0x51;
const NEWFALSE = 0x89;
const EMPTY_TUPLE = 0x29;
const SETITEMS = 0x75;
const STOP = 0x2e;

export function torchArchive(tensors: Readonly<Record<string, WrittenTorchTensor>>): Uint8Array {
  const entries = Object.entries(tensors);
  return zipArchive(
    [
      ...PROTOCOL_2,
      EMPTY_DICT,
      MARK,
      ...entries.flatMap(([name, tensor], key) => [...text(name), ...rebuild(tensor, `${key}`)]),
      SETITEMS,
      STOP,
    ],
    entries.map(([, tensor]) => bytesOf(tensor)),
  );
}

/** An archive of a pickle and its storages, whatever they hold. */
export function zipArchive(
  pickle: readonly number[],
  storages: readonly Uint8Array[] = [],
): Uint8Array {
  const files: Record<string, Uint8Array> = { 'voice/data.pkl': Uint8Array.from(pickle) };
  for (const [key, bytes] of storages.entries()) files[`voice/data/${key}`] = bytes;
  return zipSync(files, { level: 0 });
}

/** `module.name` called with a text: what a file does that is up to no good. */
export function pickledCall(module: string, name: string, parameter: string): number[] {
  return [...PROTOCOL_2, ...global(module, name), MARK, ...text(parameter), TUPLE, REDUCE, STOP];
}

function rebuild({ shape, storage, values }: WrittenTorchTensor, key: string): number[] {
  const strides = shape.map((_, axis) =>
    shape.slice(axis + 1).reduce((product, count) => product * count, 1),
  );
  return [
    ...global('torch._utils', '_rebuild_tensor_v2'),
    MARK,
    ...[MARK, ...text('storage'), ...global('torch', storage), ...text(key), ...text('cuda:0')],
    ...[...integer(values.length), TUPLE, BINPERSID],
    ...integer(0),
    ...[MARK, ...shape.flatMap(integer), TUPLE],
    ...[MARK, ...strides.flatMap(integer), TUPLE],
    NEWFALSE,
    ...[...global('collections', 'OrderedDict'), EMPTY_TUPLE, REDUCE],
    TUPLE,
    REDUCE,
  ];
}

function global(module: string, name: string): number[] {
  return [...Buffer.from(`c${module}\n${name}\n`)];
}

function text(value: string): number[] {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [0x58, ...length, ...bytes];
}

function integer(value: number): number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return [0x4a, ...bytes];
}

function bytesOf({ storage, values }: WrittenTorchTensor): Uint8Array {
  if (storage === 'LongStorage') {
    return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  }
  const floats = Float32Array.from(values);
  if (storage === 'FloatStorage') return new Uint8Array(floats.buffer);
  const bits = new Uint32Array(floats.buffer);
  // Round to the nearest, ties to even.
  const halves = Uint16Array.from(bits, (all) => (all + 0x7fff + ((all >>> 16) & 1)) >>> 16);
  return new Uint8Array(halves.buffer);
}
