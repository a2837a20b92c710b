/**
 * What CUDA needs beside onnxruntime-node's own library, and where it is: one folder with the provider
 * of the same release (wheel onnxruntime-gpu) and NVIDIA's CUDA 13 libraries, or NVIDIA's where the
 * system has them.
 *
 * ONNX Runtime looks for its provider beside itself, so the folder also holds a link to
 * onnxruntime-node's library, which is opened by that name.
 */
import { existsSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import koffi from 'koffi';

import { CudaRuntime } from './cuda-runtime.ts';
import { OnnxRuntimeError } from './onnx-runtime-error.ts';

/** Where `moshi cuda install` puts them. */
export const CUDA_DIRECTORY = join(homedir(), '.cache', 'moshi-cuda');

/** Of the wheel onnxruntime-gpu. */
export const PROVIDER_FILES = [
  'libonnxruntime_providers_shared.so',
  'libonnxruntime_providers_cuda.so',
];

const RUNTIME_LIBRARY = 'libcudart.so.13';

/** What the provider is linked with, each after those it needs itself. */
const LINKED_LIBRARIES = [
  RUNTIME_LIBRARY,
  'libcublasLt.so.13',
  'libcublas.so.13',
  'libcurand.so.10',
];

/** The driver's; nothing but the driver's installation brings it. */
const DRIVER_LIBRARY = 'libcuda.so.1';

/** cuDNN and NVRTC are many libraries that open each other by name: what is open already is found. */
const LAZY_LIBRARIES = /^lib(nvrtc|cudnn)[\w-]*\.so\.\d+$/;

/** Holds what was opened: koffi closes libraries that are collected. */
const OPENED: unknown[] = [];

/**
 * Opens NVIDIA's libraries for all that follow, so that the provider finds them whatever the loader's
 * path is.
 *
 * @param nodeLibrary - onnxruntime-node's library.
 * @returns the path by which ONNX Runtime finds its provider, and NVIDIA's runtime.
 * @throws OnnxRuntimeError naming what is missing and how to get it.
 */
export function openCudaLibraries(
  nodeLibrary: string,
  directory: string = CUDA_DIRECTORY,
): { library: string; cuda: CudaRuntime } {
  for (const file of PROVIDER_FILES) {
    if (!existsSync(join(directory, file))) {
      throw OnnxRuntimeError.missingCuda(`${file} is not in ${directory}`, 'files');
    }
  }
  open(DRIVER_LIBRARY, null);
  for (const file of LINKED_LIBRARIES) {
    open(file, directory);
  }
  openLazyLibraries(directory);
  return { library: linkBeside(nodeLibrary, directory), cuda: openRuntime(directory) };
}

/** Prefers the folder's, else what the system's loader finds. */
function open(file: string, directory: string | null): void {
  const own = directory === null ? null : join(directory, file);
  try {
    OPENED.push(koffi.load(own !== null && existsSync(own) ? own : file, { global: true }));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw OnnxRuntimeError.missingCuda(
      `${file} does not load: ${reason}`,
      file === DRIVER_LIBRARY ? 'driver' : 'files',
    );
  }
}

/** In as many rounds as they need each other; what does not load is missed when it is called for. */
function openLazyLibraries(directory: string): void {
  let waiting = readdirSync(directory).filter((file) => LAZY_LIBRARIES.test(file));
  for (let count = -1; count !== waiting.length;) {
    count = waiting.length;
    waiting = waiting.filter((file) => {
      try {
        OPENED.push(koffi.load(join(directory, file), { global: true }));
        return false;
      } catch {
        return true;
      }
    });
  }
}

function linkBeside(nodeLibrary: string, directory: string): string {
  const link = join(directory, basename(nodeLibrary));
  const target = ((): string | null => {
    try {
      return readlinkSync(link);
    } catch {
      return null;
    }
  })();
  if (target !== nodeLibrary) {
    try {
      rmSync(link, { force: true });
      symlinkSync(nodeLibrary, link);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw OnnxRuntimeError.missingCuda(`${link} cannot be made: ${reason}`, 'files');
    }
  }
  return link;
}

function openRuntime(directory: string): CudaRuntime {
  const own = join(directory, RUNTIME_LIBRARY);
  const library = koffi.load(existsSync(own) ? own : RUNTIME_LIBRARY);
  OPENED.push(library);
  return new CudaRuntime(library);
}
