/**
 * Reads a pickle without running anything of it.
 *
 * A pickle is a program for a stack machine, and Python's own reader calls whatever function it names.
 * This machine has no functions: a name becomes an inert value, a call becomes a record of name and
 * arguments, and only names that the reader of the result allows are accepted at all. Opcodes are those
 * of protocol 2, which torch.save writes, and the framing of later ones.
 *
 * Source: the Python standard library, Lib/pickletools.py (opcode table).
 */

/** Something that the file names, `module.name`. */
export class PickledName {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** A call that was not made. */
export class PickledCall {
  readonly callee: string;
  readonly parameters: readonly Pickled[];
  /** What the result would have been told to become. */
  state: Pickled = null;

  constructor(callee: string, parameters: readonly Pickled[]) {
    this.callee = callee;
    this.parameters = parameters;
  }
}

/** An object that lies outside of the pickle, as torch keeps the numbers of tensors. */
export class PickledReference {
  readonly id: Pickled;

  constructor(id: Pickled) {
    this.id = id;
  }
}

export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Pickled[]
  | Map<Pickled, Pickled>
  | PickledName
  | PickledCall
  | PickledReference;

/** The bytes are no pickle, or one that wants more than it may. */
export class PickleError extends Error {
  override readonly name = 'PickleError';
}

const MARK = Symbol('mark');
type Item = Pickled | typeof MARK;

/** Depth and number of objects are bounded by the bytes; this bounds what one integer may need. */
const MAX_INTEGER_BYTES = 8;

/**
 * @param allowed - Paths that the file may name; any other is refused before anything else is read.
 * @throws PickleError saying at which byte.
 */
export function readPickle(bytes: Uint8Array, allowed: ReadonlySet<string>): Pickled {
  return new Machine(bytes, allowed).run();
}

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #allowed: ReadonlySet<string>;
  readonly #stack: Item[] = [];
  readonly #memo = new Map<number, Pickled>();
  #position = 0;

  constructor(bytes: Uint8Array, allowed: ReadonlySet<string>) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#allowed = allowed;
  }

  run(): Pickled {
    for (;;) {
      const at = this.#position;
      const opcode = this.#byte();
      if (opcode === 0x2e) {
        // STOP
        return this.#pop();
      }
      this.#execute(opcode, at);
    }
  }

  #execute(opcode: number, at: number): void {
    const stack = this.#stack;
    switch (opcode) {
      case 0x80: // PROTO
        this.#skip(1);
        return;
      case 0x95: // FRAME
        this.#skip(8);
        return;
      case 0x28: // MARK
        stack.push(MARK);
        return;
      case 0x30: // POP
        this.#drop();
        return;
      case 0x31: // POP_MARK
        this.#popToMark();
        return;
      case 0x4e: // NONE
        stack.push(null);
        return;
      case 0x88: // NEWTRUE
        stack.push(true);
        return;
      case 0x89: // NEWFALSE
        stack.push(false);
        return;
      case 0x4b: // BININT1
        stack.push(this.#byte());
        return;
      case 0x4d: // BININT2
        stack.push(this.#view.getUint16(this.#skip(2), true));
        return;
      case 0x4a: // BININT
        stack.push(this.#view.getInt32(this.#skip(4), true));
        return;
      case 0x8a: // LONG1
        stack.push(this.#integer(this.#byte()));
        return;
      case 0x47: // BINFLOAT
        stack.push(this.#view.getFloat64(this.#skip(8)));
        return;
      case 0x58: // BINUNICODE
        stack.push(this.#text(this.#view.getUint32(this.#skip(4), true)));
        return;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(this.#text(this.#byte()));
        return;
      case 0x55: // SHORT_BINSTRING
        stack.push(this.#text(this.#byte()));
        return;
      case 0x43: // SHORT_BINBYTES
        stack.push(this.#take(this.#byte()).slice());
        return;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        stack.push([]);
        return;
      case 0x7d: // EMPTY_DICT
        stack.push(new Map());
        return;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: {
        // TUPLE3
        const items = Array.from({ length: opcode - 0x84 }, () => this.#pop());
        stack.push(items.reverse());
        return;
      }
      case 0x74: // TUPLE
      case 0x6c: // LIST
        stack.push(this.#popToMark());
        return;
      case 0x64: // DICT
        stack.push(pairs(this.#popToMark(), new Map(), at));
        return;
      case 0x61: // APPEND
        this.#extend([this.#pop()], at);
        return;
      case 0x65: // APPENDS
        this.#extend(this.#popToMark(), at);
        return;
      case 0x73: {
        // SETITEM
        const value = this.#pop();
        const key = this.#pop();
        pairs([key, value], this.#topMap(at), at);
        return;
      }
      case 0x75: {
        // SETITEMS
        const items = this.#popToMark();
        pairs(items, this.#topMap(at), at);
        return;
      }
      case 0x71: // BINPUT
        this.#memo.set(this.#byte(), this.#top());
        return;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#view.getUint32(this.#skip(4), true), this.#top());
        return;
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 0x68: // BINGET
        stack.push(this.#recall(this.#byte(), at));
        return;
      case 0x6a: // LONG_BINGET
        stack.push(this.#recall(this.#view.getUint32(this.#skip(4), true), at));
        return;
      case 0x63: // GLOBAL
        stack.push(this.#name(this.#line(), this.#line(), at));
        return;
      case 0x93: {
        // STACK_GLOBAL
        const name = this.#pop();
        const module = this.#pop();
        if (typeof name !== 'string' || typeof module !== 'string') {
          throw new PickleError(`a name at byte ${at} is no text`);
        }
        stack.push(this.#name(module, name, at));
        return;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const parameters = this.#pop();
        const callee = this.#pop();
        if (!(callee instanceof PickledName) || !Array.isArray(parameters)) {
          throw new PickleError(`a call at byte ${at} is malformed`);
        }
        stack.push(new PickledCall(callee.path, parameters));
        return;
      }
      case 0x62: {
        // BUILD
        const state = this.#pop();
        const target = this.#top();
        if (!(target instanceof PickledCall)) {
          throw new PickleError(`byte ${at} sets the state of something that was not made`);
        }
        target.state = state;
        return;
      }
      case 0x51: // BINPERSID
        stack.push(new PickledReference(this.#pop()));
        return;
      default:
        throw new PickleError(
          `opcode 0x${opcode.toString(16).padStart(2, '0')} at byte ${at} is not one that torch.save writes`,
        );
    }
  }

  #name(module: string, name: string, at: number): PickledName {
    const path = `${module}.${name}`;
    if (!this.#allowed.has(path)) {
      throw new PickleError(
        `it asks to execute ${JSON.stringify(path)} (byte ${at}), which no recorded voice needs; ` +
          `nothing was executed`,
      );
    }
    return new PickledName(path);
  }

  #extend(items: Pickled[], at: number): void {
    const list = this.#top();
    if (!Array.isArray(list))
      throw new PickleError(`byte ${at} appends to something that is no list`);
    for (const item of items) list.push(item);
  }

  /** A dictionary, or the call that would have made one. */
  #topMap(at: number): Map<Pickled, Pickled> {
    const top = this.#top();
    if (top instanceof Map) return top;
    if (top instanceof PickledCall) {
      top.state ??= new Map<Pickled, Pickled>();
      if (top.state instanceof Map) return top.state;
    }
    throw new PickleError(`byte ${at} adds a key to something that is no dictionary`);
  }

  #recall(index: number, at: number): Pickled {
    const value = this.#memo.get(index);
    if (value === undefined) throw new PickleError(`byte ${at} recalls what was not memorised`);
    return value;
  }

  #integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) {
      throw new PickleError(`an integer of ${length} bytes is longer than any torch.save writes`);
    }
    let value = 0n;
    for (const [index, byte] of this.#take(length).entries())
      value |= BigInt(byte) << BigInt(8 * index);
    const signed = length === 0 ? 0n : BigInt.asIntN(8 * length, value);
    const number = Number(signed);
    return Number.isSafeInteger(number) ? number : signed;
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end === -1) throw new PickleError('it ends within a name');
    const line = this.#text(end - this.#position);
    this.#position += 1;
    return line;
  }

  #text(length: number): string {
    return new TextDecoder().decode(this.#take(length));
  }

  #byte(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  #take(length: number): Uint8Array {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Passes `count` bytes and returns where they began. */
  #skip(count: number): number {
    const start = this.#position;
    if (start + count > this.#bytes.length) {
      throw new PickleError(`it is truncated: it ends at byte ${this.#bytes.length}`);
    }
    this.#position = start + count;
    return start;
  }

  #drop(): Item {
    const item = this.#stack.pop();
    if (item === undefined) throw new PickleError('it takes more from its stack than there is');
    return item;
  }

  #pop(): Pickled {
    const item = this.#drop();
    if (item === MARK) throw new PickleError('it takes a mark for a value');
    return item;
  }

  #top(): Pickled {
    const item = this.#pop();
    this.#stack.push(item);
    return item;
  }

  #popToMark(): Pickled[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark === -1) throw new PickleError('it closes a list that was not opened');
    const items = this.#stack.splice(mark) as [typeof MARK, ...Pickled[]];
    return items.slice(1) as Pickled[];
  }
}

function pairs(
  items: readonly Pickled[],
  map: Map<Pickled, Pickled>,
  at: number,
): Map<Pickled, Pickled> {
  if (items.length % 2 !== 0) throw new PickleError(`byte ${at} has a key without a value`);
  for (let index = 0; index < items.length; index += 2) {
    map.set(items[index] ?? null, items[index + 1] ?? null);
  }
  return map;
}
