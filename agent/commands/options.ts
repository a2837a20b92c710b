/** Options that several commands have, and how their values are read. */
import { InvalidArgumentError, Option } from 'commander';
import { ARCHITECTURE_NAMES } from '../../models/generate/architectures.ts';
import { precision, type Precision } from '../../models/manifest.ts';
import { deviceWish, precisionWish } from '../config.ts';

/** What `[model]` of a command means. */
export const MODEL_ARGUMENT =
  'short name, repository owner/name, or folder of a checkpoint (default: MOSHI_MODEL)';

/** An hour: no sentence takes longer to translate. */
const MAX_SECONDS = 3600;

export function modelOption(): Option {
  return new Option('--model <model>', MODEL_ARGUMENT);
}

export function deviceOption(): Option {
  return new Option('--device <device>', 'what runs the model (default: MOSHI_DEVICE)').choices(
    deviceWish.options,
  );
}

export function precisionOption(): Option {
  return new Option(
    '--precision <precision>',
    'of the matrices; auto: what fits this machine (default: MOSHI_PRECISION)',
  ).choices(precisionWish.options);
}

/** Random weights to measure, where there is no model. */
export function likeOption(): Option {
  return new Option(
    '--like <architecture>',
    'measure random weights of this architecture, not a model',
  ).choices(ARCHITECTURE_NAMES);
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON, for programs');
}

export function seedOption(what: string): Option {
  return new Option('--seed <number>', `the same number gives the same ${what}`).argParser(
    wholeNumber,
  );
}

/** Whole numbers between commas. */
export function numbersOption(flags: string, what: string, standard: number[]): Option {
  return new Option(`${flags} <numbers>`, what)
    .argParser((text) => text.split(',').map(wholeNumber))
    .default(standard, standard.join());
}

/** Precisions between commas. */
export function precisionsOption(standard: Precision[]): Option {
  return new Option('--precision <names>', `of the matrices: ${precision.options.join(', ')}`)
    .argParser((text) => text.split(',').map(precisionOf))
    .default(standard, standard.join());
}

/** 32 bits. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 0xffffffff) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 4294967295.');
  }
  return Number(text);
}

export function positive(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || !(Number(text) > 0)) {
    throw new InvalidArgumentError('It must be a number above 0.');
  }
  return Number(text);
}

export function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) > MAX_SECONDS) {
    throw new InvalidArgumentError(`It must be a number of seconds from 0 to ${MAX_SECONDS}.`);
  }
  return Number(text);
}

/** LUFS. */
export function loudness(text: string): number | 'off' {
  if (text === 'off') {
    return text;
  }
  const lufs = Number(text);
  if (text.trim() === '' || !(lufs >= -70 && lufs <= 0)) {
    throw new InvalidArgumentError('It must be "off", or a loudness from -70 to 0 LUFS.');
  }
  return lufs;
}

function precisionOf(text: string): Precision {
  const { success, data } = precision.safeParse(text);
  if (!success) {
    throw new InvalidArgumentError(`It must be among ${precision.options.join(', ')}.`);
  }
  return data;
}

/** Collects `name=value` of an option that is repeated. */
export function addPair(text: string, pairs: Record<string, string>): Record<string, string> {
  const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new InvalidArgumentError('It must be name=value.');
  }
  return { ...pairs, [name]: value };
}
