import type { EngineErrorCode, ModelInfo } from '../protocol/messages.ts';

export type ConnectionProblem =
  | EngineErrorCode
  /** Nobody listens at the address. */
  | 'unreachable'
  /** The engine did not answer in time, or fell silent. */
  | 'timeout'
  /** The connection ended without a reason given. */
  | 'closed'
  /** Somebody answers, but not as an engine of this protocol does. */
  | 'not_an_engine'
  /** The engine's model transcribes and should speak, or the other way round. */
  | 'wrong_model';

/** What went wrong between this side and an engine; `problem` is what a caller can react to. */
export class EngineConnectionError extends Error {
  override readonly name = 'EngineConnectionError';
  readonly problem: ConnectionProblem;

  constructor(problem: ConnectionProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }

  static unreachable(url: string, cause: unknown): EngineConnectionError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new EngineConnectionError(
      'unreachable',
      `No engine answers at ${url} (${reason}). Start it with "npm run moshi -- engine", or set MOSHI_ENGINE_URL (MOSHI_TRANSCRIBER_URL for one that transcribes) to where it listens.`,
      { cause },
    );
  }

  static unauthorized(url: string): EngineConnectionError {
    return new EngineConnectionError(
      'unauthorized',
      `The engine at ${url} refuses the token. Give both sides the same MOSHI_ENGINE_TOKEN.`,
    );
  }

  static timeout(url: string, waitedMs: number): EngineConnectionError {
    return new EngineConnectionError(
      'timeout',
      `The engine at ${url} did not answer within ${Math.round(waitedMs)} ms.`,
    );
  }

  static wrongModel(url: string, { name, transcribes }: ModelInfo): EngineConnectionError {
    return new EngineConnectionError(
      'wrong_model',
      transcribes
        ? `The model ${name} of the engine at ${url} only listens and cannot converse. Run that engine with a model that speaks.`
        : `The model ${name} of the engine at ${url} speaks and does not transcribe. Run that engine with a model that does, such as stt-1b-en_fr.`,
    );
  }

  static notAnEngine(url: string, found: string, cause?: unknown): EngineConnectionError {
    return new EngineConnectionError(
      'not_an_engine',
      `What answers at ${url} does not speak the protocol of this engine: ${found}`,
      { cause },
    );
  }
}

/** True where trying again cannot help: somebody has to change the configuration first. */
export function isFatal(error: EngineConnectionError): boolean {
  return ['unauthorized', 'protocol_version', 'prompt_refused', 'wrong_model'].includes(
    error.problem,
  );
}
