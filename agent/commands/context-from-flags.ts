/** The context of a command that was started in a terminal. */
import path from 'node:path';
import { pino } from 'pino';
import {
  loadConfig,
  readEnvironment,
  type DeviceWish,
  type Environment,
  type PrecisionWish,
} from '../config.ts';
import type { CommandContext } from './command-context.ts';

/** Flags that stand for settings of the environment. */
export interface SettingFlags {
  model?: string | undefined;
  device?: DeviceWish;
  precision?: PrecisionWish;
  guidance?: string;
  /** A file; relative to the folder that the terminal is in. */
  lora?: string;
  loraScale?: string;
}

/** Flags speak louder than the environment. */
export function contextFromFlags(flags: SettingFlags = {}): CommandContext {
  const environment = { ...readEnvironment(), ...settings(flags) };
  const config = loadConfig(environment);
  return {
    config,
    environment,
    logger: pino(
      { level: config.logLevel, base: null },
      pino.destination({ dest: process.stderr.fd, sync: true }),
    ),
    print: (text) => process.stdout.write(`${text}\n`),
    remark: (text) => process.stderr.write(`${text}\n`),
  };
}

function settings(flags: SettingFlags): Environment {
  return {
    ...(flags.model !== undefined && { MOSHI_MODEL: flags.model }),
    ...(flags.device !== undefined && { MOSHI_DEVICE: flags.device }),
    ...(flags.precision !== undefined && { MOSHI_PRECISION: flags.precision }),
    ...(flags.guidance !== undefined && { MOSHI_GUIDANCE: flags.guidance }),
    ...(flags.lora !== undefined && { MOSHI_LORA: path.resolve(flags.lora) }),
    ...(flags.loraScale !== undefined && { MOSHI_LORA_SCALE: flags.loraScale }),
  };
}
