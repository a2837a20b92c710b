/** What every command receives from the command line. */
import type { Logger } from 'pino';
import type { Config, Environment } from '../config.ts';

export interface CommandContext {
  config: Config;
  /** The whole environment, for programs that the command starts. */
  environment: Environment;
  /** Writes to standard error. */
  logger: Logger;
  /** Results: what a program or a person asked for. */
  print: (text: string) => void;
  /** Progress and remarks, on standard error. */
  remark: (text: string) => void;
}

/** A failure that the person at the terminal can do something about; shown without a stack. */
export class CommandError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CommandError';
  }
}
