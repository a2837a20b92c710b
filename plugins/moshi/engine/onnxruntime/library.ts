/**
 * Finds and opens the native library that the package onnxruntime-node carries.
 *
 * That package's own JavaScript blocks the calling thread and copies every output, states included,
 * into fresh buffers: 165 to 204 ms for one 196 MB cache against 16 µs through the C API. So only
 * its library is used.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';

import { OnnxRuntimeError } from './onnx-runtime-error.ts';

/** The table of functions is append-only: the order known for 29 holds in every later release. */
const API_VERSION = 29;

const LIBRARY_FILES: Partial<Record<NodeJS.Platform, string[]>> = {
  linux: ['libonnxruntime.so.1'],
  darwin: ['libonnxruntime.1.dylib', 'libonnxruntime.1.30.0.dylib'],
  win32: ['onnxruntime.dll'],
};

/** koffi unmaps a library, and with it the functions whose addresses we hold, when it is collected. */
const OPENED: unknown[] = [];

/** @throws OnnxRuntimeError if this platform has no library. */
export function locateLibrary(): string {
  const packageMain = createRequire(import.meta.url).resolve('onnxruntime-node');
  const folder = join(dirname(packageMain), '../bin/napi-v6', process.platform, process.arch);
  const candidates = (LIBRARY_FILES[process.platform] ?? []).map((file) => join(folder, file));
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) {
    throw OnnxRuntimeError.missingLibrary(candidates[0] ?? folder);
  }
  return found;
}

/**
 * Opens the library and asks for its table of functions.
 *
 * @returns The address of `OrtApi` and the library's version.
 * @throws OnnxRuntimeError if the library does not load or is too old.
 */
export function openLibrary(path: string): { table: bigint; version: string } {
  // GPU providers run deep native stacks on our thread: 128 KiB was seen to overflow, 8 MiB is ample.
  // koffi takes these sizes once per process, so a second engine in one process keeps the first's.
  const stack = 8 * 1024 * 1024;
  const configured = koffi.config();
  if (configured.sync_stack_size !== stack) {
    try {
      koffi.config({ sync_stack_size: stack, async_stack_size: stack });
    } catch {
      // Already calling functions with other sizes; the default of 2 MiB carries the CPU provider.
    }
  }
  let base: bigint;
  try {
    const library = koffi.load(path);
    OPENED.push(library);
    base = library.func('OrtGetApiBase', 'void *', [])() as bigint;
  } catch (error) {
    throw OnnxRuntimeError.missingLibrary(path, error);
  }
  const [getApi, getVersion] = koffi.decode(base, koffi.array('void *', 2)) as [bigint, bigint];
  const version = koffi.call(getVersion, koffi.proto('str', [])) as string;
  const table = koffi.call(getApi, koffi.proto('void *', ['uint32_t']), API_VERSION) as
    bigint | null;
  if (table === null) {
    throw OnnxRuntimeError.wrongVersion(version, API_VERSION);
  }
  return { table, version };
}
