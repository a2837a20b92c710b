/**
 * Reads a dictionary of tensors that torch.save wrote: a ZIP archive of one pickle, `data.pkl`, and one
 * plain file of numbers for each storage, `data/N`. Nothing of it is executed, see pickle.ts.
 *
 * Source: pytorch/pytorch torch/serialization.py (`_save`, `persistent_id`) and torch/_utils.py
 * (`_rebuild_tensor_v2`).
 */
import { readFile } from 'node:fs/promises';
import { unzipSync, type UnzipFileInfo } from 'fflate';
import { elementCount } from '../../onnx/data-types.ts';
import { CheckpointError } from '../checkpoint-error.ts';
import {
  PickledCall,
  PickledName,
  PickledReference,
  PickleError,
  readPickle,
  type Pickled,
} from './pickle.ts';

/** Far beyond any voice; what unpacks to more is no voice but a trap. */
const MAX_BYTES = 256 * 1024 * 1024;

const REBUILD = 'torch._utils._rebuild_tensor_v2';
const DICTIONARY = 'collections.OrderedDict';

type StorageKind = {
  readonly bytes: number;
  readonly read: (view: DataView, offset: number) => number;
};

const STORAGES: Readonly<Record<string, StorageKind>> = {
  'torch.FloatStorage': { bytes: 4, read: (view, offset) => view.getFloat32(offset, true) },
  'torch.BFloat16Storage': {
    bytes: 2,
    read: (view, offset) => bfloat16(view.getUint16(offset, true)),
  },
  'torch.HalfStorage': { bytes: 2, read: (view, offset) => float16(view.getUint16(offset, true)) },
  'torch.LongStorage': {
    bytes: 8,
    read: (view, offset) => Number(view.getBigInt64(offset, true)),
  },
};

const ALLOWED = new Set([REBUILD, DICTIONARY, ...Object.keys(STORAGES)]);

export type TorchTensor = {
  readonly shape: readonly number[];
  /** In row-major order, whatever the file's strides. */
  readonly values: Float64Array;
};

/**
 * The tensors of a file by name; other values are left out.
 *
 * @throws CheckpointError naming the file and what is wrong with it.
 */
export async function readTorchArchive(path: string): Promise<ReadonlyMap<string, TorchTensor>> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new CheckpointError(`Cannot read ${path}.`, { cause });
  });
  try {
    return decodeTorchArchive(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CheckpointError(`Cannot use ${path} as a file of torch.save: ${reason}.`, { cause });
  }
}

/** @throws PickleError, or Error of the ZIP reader. */
export function decodeTorchArchive(bytes: Uint8Array): ReadonlyMap<string, TorchTensor> {
  const entries = unzip(bytes);
  const pickle = [...entries].find(([name]) => name === 'data.pkl' || name.endsWith('/data.pkl'));
  if (pickle === undefined) {
    throw new PickleError('the archive holds no data.pkl');
  }
  const [name, program] = pickle;
  const folder = name.slice(0, -'data.pkl'.length);
  const order = entries.get(`${folder}byteorder`);
  if (order !== undefined && new TextDecoder().decode(order) !== 'little') {
    throw new PickleError('its numbers are big-endian, which is not implemented');
  }
  const root = readPickle(program, ALLOWED);
  const dictionary = root instanceof PickledCall && root.callee === DICTIONARY ? root.state : root;
  if (!(dictionary instanceof Map)) {
    throw new PickleError('it holds no dictionary');
  }
  const tensors = new Map<string, TorchTensor>();
  for (const [key, value] of dictionary) {
    if (typeof key === 'string' && value instanceof PickledCall && value.callee === REBUILD) {
      tensors.set(
        key,
        rebuild(key, value.parameters, (storage) => {
          const found = entries.get(`${folder}data/${storage}`);
          if (found === undefined) throw new PickleError(`the archive holds no data/${storage}`);
          return found;
        }),
      );
    }
  }
  return tensors;
}

/** torch.save compresses nothing; other archivers may, and their claims are bounded too. */
function unzip(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  let total = 0;
  const filter = ({ originalSize }: UnzipFileInfo): boolean => {
    total += originalSize;
    if (total > MAX_BYTES) {
      throw new PickleError(`it unpacks to more than ${MAX_BYTES / 2 ** 20} MB`);
    }
    return true;
  };
  try {
    return new Map(Object.entries(unzipSync(bytes, { filter })));
  } catch (cause) {
    if (cause instanceof PickleError) throw cause;
    throw new PickleError('it is no ZIP archive, or a truncated one', { cause });
  }
}

/** (storage, offset, size, stride, …) as `_rebuild_tensor_v2` takes them. */
function rebuild(
  name: string,
  [reference, offset, size, stride]: readonly Pickled[],
  bytesOf: (storage: string) => Uint8Array,
): TorchTensor {
  const { kind, key } = storageOf(name, reference);
  const shape = counts(size);
  const strides = counts(stride);
  if (shape === null || strides?.length !== shape.length || !isCount(offset)) {
    throw new PickleError(`tensor ${name} is malformed`);
  }
  const length = elementCount(shape);
  const bytes = bytesOf(key);
  const last = shape.reduce((sum, count, axis) => sum + (count - 1) * (strides[axis] ?? 0), offset);
  if (length === 0 || length * kind.bytes > MAX_BYTES || (last + 1) * kind.bytes > bytes.length) {
    throw new PickleError(
      `tensor ${name} [${shape.join(', ')}] does not fit its ${bytes.length} bytes`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(length);
  for (let index = 0; index < length; index += 1) {
    let rest = index;
    let element = offset;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      const count = shape[axis] ?? 1;
      element += (rest % count) * (strides[axis] ?? 0);
      rest = Math.floor(rest / count);
    }
    values[index] = kind.read(view, element * kind.bytes);
  }
  return { shape, values };
}

/** ('storage', type, key, device, elements). */
function storageOf(
  name: string,
  reference: Pickled | undefined,
): { kind: StorageKind; key: string } {
  const id = reference instanceof PickledReference ? reference.id : null;
  if (Array.isArray(id) && id[0] === 'storage' && typeof id[2] === 'string') {
    const kind = id[1] instanceof PickledName ? STORAGES[id[1].path] : undefined;
    if (kind !== undefined) return { kind, key: id[2] };
  }
  throw new PickleError(`tensor ${name} has no storage of a known type`);
}

function isCount(value: Pickled | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function counts(value: Pickled | undefined): number[] | null {
  return Array.isArray(value) && value.every(isCount) ? value : null;
}

function bfloat16(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits * 0x10000);
  return view.getFloat32(0);
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
