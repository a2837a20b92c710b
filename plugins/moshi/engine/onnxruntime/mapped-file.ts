/**
 * Files as memory: what is read of them takes room in the system's file cache, which it gives back
 * when other programs need it, and none of this process's own.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import koffi from 'koffi';

const LIBRARIES: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libc.so.6',
  darwin: '/usr/lib/libSystem.B.dylib',
};
const READ = 1;
const PRIVATE = 2;
/** MADV_DONTNEED. */
const NOT_NEEDED = 4;
/** What mmap returns when it fails: minus one. */
const FAILED = 2n ** 64n - 1n;

type Calls = {
  map: (...parameters: unknown[]) => unknown;
  unmap: (address: bigint, length: number) => unknown;
  advise: (address: bigint, length: number, advice: number) => unknown;
};

let calls: Calls | null | undefined;

/** Null where the system's library has another name or other functions. */
function systemCalls(): Calls | null {
  if (calls !== undefined) {
    return calls;
  }
  const name = LIBRARIES[process.platform];
  try {
    const library = koffi.load(name ?? '');
    calls = {
      map: library.func('mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64']),
      unmap: library.func('munmap', 'int', ['void *', 'size_t']),
      advise: library.func('madvise', 'int', ['void *', 'size_t', 'int']),
    };
  } catch {
    calls = null;
  }
  return calls;
}

export class MappedFile {
  readonly address: bigint;
  readonly lengthBytes: number;

  private constructor(address: bigint, lengthBytes: number) {
    this.address = address;
    this.lengthBytes = lengthBytes;
  }

  /**
   * Null where files cannot be mapped.
   *
   * @throws the file system's error when the file cannot be opened.
   */
  static open(path: string): MappedFile | null {
    const system = systemCalls();
    if (system === null) {
      return null;
    }
    const file = openSync(path, 'r');
    try {
      const { size } = fstatSync(file);
      const address = system.map(null, size, READ, PRIVATE, file, 0);
      if (typeof address !== 'bigint' || address === FAILED || address === 0n) {
        return null;
      }
      return new MappedFile(address, size);
    } finally {
      closeSync(file);
    }
  }

  /** Lets go of what has been read; whoever reads it again finds it in the file. */
  forget(): void {
    systemCalls()?.advise(this.address, this.lengthBytes, NOT_NEEDED);
  }

  /** Nothing may read the memory afterwards. */
  close(): void {
    systemCalls()?.unmap(this.address, this.lengthBytes);
  }
}
