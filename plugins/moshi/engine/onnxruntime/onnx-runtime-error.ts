/** ONNX Runtime is missing, too different from what this engine knows, or refused a call. */
export class OnnxRuntimeError extends Error {
  override readonly name = 'OnnxRuntimeError';
  readonly problem: 'library' | 'provider' | 'call';

  private constructor(problem: OnnxRuntimeError['problem'], message: string, cause?: unknown) {
    super(message, { cause });
    this.problem = problem;
  }

  static missingLibrary(path: string, cause?: unknown): OnnxRuntimeError {
    return new OnnxRuntimeError(
      'library',
      `Cannot load ONNX Runtime from ${path} (${process.platform}-${process.arch}). Run "npm install" with onnxruntime-node ^1.30.0 on a platform that it supports.`,
      cause,
    );
  }

  static wrongVersion(version: string, apiVersion: number): OnnxRuntimeError {
    return new OnnxRuntimeError(
      'library',
      `ONNX Runtime ${version} does not offer version ${apiVersion} of its C API. Install onnxruntime-node ^1.30.0.`,
    );
  }

  static missingProvider(device: string, found: string[], cause?: unknown): OnnxRuntimeError {
    const advice =
      device === 'webgpu'
        ? 'It needs a GPU with a Vulkan, Metal or Direct3D 12 driver. Choose cpu.'
        : 'Choose cpu.';
    const reason = cause instanceof Error ? ` ${cause.message}` : '';
    return new OnnxRuntimeError(
      'provider',
      `The execution provider "${device}" cannot be used.${reason} This ONNX Runtime names ${found.join(', ')}. ${advice}`,
      cause,
    );
  }

  /** @param lacks - The driver, which the system's administrator installs, or files that we fetch. */
  static missingCuda(what: string, lacks: 'driver' | 'files'): OnnxRuntimeError {
    const advice =
      lacks === 'driver'
        ? 'Install NVIDIA’s driver, version 580 or newer'
        : 'Run "npm run moshi -- cuda install"';
    return new OnnxRuntimeError(
      'provider',
      `The execution provider "cuda" cannot be used: ${what}. ${advice}, or choose cpu.`,
    );
  }

  static cannotPin(processors: string, reason: string): OnnxRuntimeError {
    return new OnnxRuntimeError(
      'call',
      `Threads cannot be pinned to processors ${processors}: ${reason}. Change MOSHI_ENGINE_PIN, or leave it unset.`,
    );
  }

  static noRoomForStates(rows: number, bytesPerRow: number, cause: unknown): OnnxRuntimeError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    return new OnnxRuntimeError(
      'call',
      `The device has no ${megabytes(rows * bytesPerRow)} for the states of ${rows} conversations, ${megabytes(bytesPerRow)} each: lower MOSHI_ENGINE_SLOTS or choose a smaller model. ${reason}`,
      cause,
    );
  }

  static failed(name: string, code: number, message: string): OnnxRuntimeError {
    return new OnnxRuntimeError('call', `ONNX Runtime ${name} failed (code ${code}): ${message}`);
  }
}
