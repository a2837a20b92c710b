/**
 * Everything the environment may say, in one schema. This file is the only reader of
 * `process.env`; every other part receives plain values.
 */
import { createHash } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { config as readDotenvFiles } from 'dotenv';
import { z } from 'zod';
import type { HubSettings } from '../models/hub/hub-client.ts';
import { device, precision } from '../models/manifest.ts';
import {
  listProcessors,
  parseProcessors,
} from '../plugins/moshi/engine/onnxruntime/processor-list.ts';
import { engineUrl, MAX_PROMPT_CHARACTERS } from '../plugins/moshi/protocol/messages.ts';

/** Root of the repository: relative paths of settings mean this folder. */
export const REPOSITORY_DIRECTORY = path.resolve(import.meta.dirname, '..');

/** Longest path of a unix socket that Linux (108 bytes) and macOS (104) both accept, bytes. */
const MAX_SOCKET_PATH_BYTES = 103;

/** In place of a transcriber's name: nobody writes down what callers say. */
const NO_TRANSCRIBER = 'none';

/** livekit-server refuses shorter secrets. */
const MIN_SECRET_LENGTH = 32;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface LiveKitCredentials {
  /** `ws://` or `wss://`. */
  url: string;
  apiKey: string;
  apiSecret: string;
}

export interface Config {
  livekit: {
    /** `ws://` or `wss://`; undefined: `start` runs a LiveKit server of its own. */
    url: string | undefined;
    /** Set together with `apiSecret`, always set when `url` is. */
    apiKey: string | undefined;
    apiSecret: string | undefined;
  };
  model: {
    /** Short name, or folder of a checkpoint as Kyutai publishes it. */
    name: string;
    /** Strength of classifier-free guidance, 1: none; undefined: the checkpoint's own. */
    guidance: number | undefined;
    /** Steps of 80 ms that conversations remember; undefined: as many as the model was trained on. */
    context: number | undefined;
    /** Of these, so many are the conversation's first; undefined: none. */
    attentionSinks: number | undefined;
    /** What they are remembered in. */
    keyValueType: KeyValueWish;
    /** File of low-rank adapters, absolute; undefined: those that the checkpoint names. */
    adapters: string | undefined;
    /** Strength of the adapters; undefined: the checkpoint's own. */
    adapterScaling: number | undefined;
    /** Of the language model's matrices. */
    precision: PrecisionWish;
  };
  /** Who speaks in rooms, for models that can be told; undefined: the engine's defaults. */
  persona: {
    /** Name of a voice beside the model. */
    voice: string | undefined;
    /** Role in words. */
    prompt: string | undefined;
    /** Value by name, for models with conditions. */
    conditions: Readonly<Record<string, string>> | undefined;
  };
  engine: {
    /** `unix:/absolute/path.sock`, `ws://host:port` or `wss://host:port`. */
    url: string;
    /** Whether somebody chose the URL: an engine may run there already. */
    isConfigured: boolean;
    token: string | undefined;
    /** Conversations at once. */
    slots: number;
    /** Threads of ONNX Runtime; undefined: chosen for the machine. */
    threads: number | undefined;
    /** The processor that each of them stays on; undefined: wherever the system puts it. */
    processors: readonly number[] | undefined;
    device: DeviceWish;
  };
  /** Who writes down what callers say; null: nobody. It runs like the engine otherwise. */
  transcriber: {
    /** Short name, or folder of a checkpoint, of a model that transcribes. */
    name: string;
    /** As the engine's. */
    url: string;
    isConfigured: boolean;
  } | null;
  server: {
    host: string;
    port: number;
    /** Where browsers reach the server, without a slash at the end. */
    publicUrl: string;
  };
  worker: {
    /** Port of the worker's health page; 0: any free one. */
    port: number;
  };
  /** Hugging Face, under the variables that all its tools read. */
  hub: HubSettings;
  /** Absolute. */
  cacheDirectory: string;
  logLevel: LogLevel;
}

/** What a model can run on; `auto` is the best that is there. */
const DEVICES = ['auto', ...device.options] as const;
export const deviceWish = z.enum(DEVICES, { error: `must be one of ${DEVICES.join(', ')}` });
export type DeviceWish = z.infer<typeof deviceWish>;

/** Of keys and values that conversations keep; `int8` halves the memory of `f16`, on the CPU. */
const KEY_VALUE_TYPES = ['auto', 'f32', 'f16', 'int8'] as const;
const keyValueWish = z.enum(KEY_VALUE_TYPES, {
  error: `must be one of ${KEY_VALUE_TYPES.join(', ')}`,
});
export type KeyValueWish = z.infer<typeof keyValueWish>;

/** Of a model's matrices; `auto` is what fits the machine. */
const PRECISIONS = ['auto', ...precision.options] as const;
export const precisionWish = z.enum(PRECISIONS, {
  error: `must be one of ${PRECISIONS.join(', ')}`,
});
export type PrecisionWish = z.infer<typeof precisionWish>;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const logLevel = z.enum(LOG_LEVELS, { error: `must be one of ${LOG_LEVELS.join(', ')}` });
export type LogLevel = z.infer<typeof logLevel>;

/** The environment asks for something impossible; `problems` has one line per variable. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the configuration has ${countProblems(problems)}: ${problems.join('; ')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

function countProblems(problems: readonly string[]): string {
  return problems.length === 1 ? 'a problem' : `${problems.length} problems`;
}

/** Variables whose value must never reach a log or a terminal. */
const SECRET_VARIABLES = new Set(['LIVEKIT_API_SECRET', 'MOSHI_ENGINE_TOKEN', 'HF_TOKEN']);

function wholeNumber(minimum: number, maximum: number) {
  return z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${minimum} to ${maximum}`)
    .transform(Number)
    .refine(
      (value) => value >= minimum && value <= maximum,
      `must be a whole number from ${minimum} to ${maximum}`,
    );
}

/** A factor for what the model would do without. */
const strength = z
  .string()
  .regex(/^\d{1,2}(\.\d+)?$/, 'must be a number from 0 to below 100')
  .transform(Number);

const CONDITION = String.raw`[^=,\s]{1,100}=[^=,]{1,100}`;
/** Values by name. */
const conditions = z
  .string()
  .regex(
    new RegExp(`^${CONDITION}(,${CONDITION})*$`),
    'must be name=value, several with commas between',
  )
  .transform((text) =>
    Object.fromEntries(
      text.split(',').map((pair) => pair.split('=') as [name: string, value: string]),
    ),
  );

/** One for each thread; `off` overrules a file. */
const processors = z.string().transform((text, context) => {
  const list = text === 'off' ? [] : parseProcessors(text);
  if (list === null || new Set(list).size < list.length) {
    context.addIssue('must name different processors, such as 0,2-3, or be off');
    return z.NEVER;
  }
  return list.length === 0 ? undefined : list;
});

function webUrl(protocols: readonly string[]) {
  return z.string().refine(
    (value) => {
      const url = URL.parse(value);
      return url !== null && protocols.includes(url.protocol) && url.hostname !== '';
    },
    `must be an address that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
  );
}

/** One entry per variable, in the order the README lists them. */
const environmentSchema = z.object({
  LIVEKIT_URL: webUrl(['ws:', 'wss:', 'http:', 'https:']).optional(),
  LIVEKIT_API_KEY: z.string().optional(),
  LIVEKIT_API_SECRET: z.string().optional(),
  MOSHI_MODEL: z.string().default('demo'),
  MOSHI_GUIDANCE: strength.optional(),
  MOSHI_CONTEXT: z
    .string()
    .regex(/^[1-9]\d{0,6}$/, 'must be a whole number of 80 ms steps')
    .transform(Number)
    .optional(),
  MOSHI_ATTENTION_SINKS: wholeNumber(0, 999_999).optional(),
  MOSHI_KV_TYPE: keyValueWish.default('auto'),
  MOSHI_LORA: z.string().optional(),
  MOSHI_LORA_SCALE: strength.optional(),
  MOSHI_VOICE: z.string().max(100, 'must be the name of a voice').optional(),
  MOSHI_PROMPT: z
    .string()
    .max(MAX_PROMPT_CHARACTERS, `must have ${MAX_PROMPT_CHARACTERS} characters or less`)
    .optional(),
  MOSHI_CONDITION: conditions.optional(),
  MOSHI_TRANSCRIBER: z.string().default(NO_TRANSCRIBER),
  MOSHI_TRANSCRIBER_URL: engineUrl.optional(),
  MOSHI_ENGINE_URL: engineUrl.optional(),
  MOSHI_ENGINE_TOKEN: z
    .string()
    .min(16, 'must have 16 characters or more, make one with: openssl rand -hex 32')
    .optional(),
  MOSHI_ENGINE_SLOTS: wholeNumber(1, 1024).default(4),
  MOSHI_ENGINE_THREADS: wholeNumber(1, 1024).optional(),
  MOSHI_ENGINE_PIN: processors.optional(),
  MOSHI_DEVICE: deviceWish.default('auto'),
  MOSHI_PRECISION: precisionWish.default('auto'),
  MOSHI_HTTP_HOST: z.string().default('127.0.0.1'),
  MOSHI_HTTP_PORT: wholeNumber(1, 65_535).default(3000),
  MOSHI_PUBLIC_URL: webUrl(['http:', 'https:']).optional(),
  MOSHI_WORKER_PORT: wholeNumber(0, 65_535).default(0),
  MOSHI_CACHE_DIRECTORY: z.string().default('.cache'),
  MOSHI_LOG_LEVEL: logLevel.default('info'),
  HF_HOME: z.string().optional(),
  HF_HUB_CACHE: z.string().optional(),
  HF_TOKEN: z
    .string()
    .regex(/^[!-~]+$/, 'must be one word')
    .optional(),
  HF_TOKEN_PATH: z.string().optional(),
  HF_ENDPOINT: webUrl(['http:', 'https:']).default('https://huggingface.co'),
  HF_HUB_OFFLINE: z.string().default(''),
  XDG_CACHE_HOME: z.string().optional(),
});
type Variables = z.infer<typeof environmentSchema>;

/** Names of all variables that `loadConfig` reads. */
export const CONFIG_VARIABLES = Object.keys(environmentSchema.shape);

/**
 * Turns an environment into a configuration. Pure: reads nothing but its argument. Empty strings
 * count as unset.
 *
 * @throws {ConfigError} with every problem at once, naming variable, found value and remedy.
 */
export function loadConfig(environment: Environment): Config {
  const given = Object.fromEntries(
    CONFIG_VARIABLES.map((name) => [name, environment[name]?.trim()] as const).filter(
      ([, value]) => value !== undefined && value !== '',
    ),
  );
  const result = environmentSchema.safeParse(given);
  const problems = [
    ...(result.error?.issues ?? []).map((issue) => describeIssue(issue, given)),
    ...findLiveKitProblems(given),
    ...(result.data === undefined ? [] : findPinProblems(result.data)),
  ];
  if (!result.success || problems.length > 0) {
    throw new ConfigError(problems);
  }
  const config = nest(result.data);
  const addressProblems = findAddressProblems(config);
  if (addressProblems.length > 0) {
    throw new ConfigError(addressProblems);
  }
  return config;
}

/** As the engine that transcribes has it: like the other engine's, but for model and address. Null without one. */
export function transcriberConfig(config: Config): Config | null {
  if (config.transcriber === null) {
    return null;
  }
  const { name, url, isConfigured } = config.transcriber;
  const { precision, keyValueType } = config.model;
  return {
    ...config,
    // What else is said of a model is said of the one that speaks.
    model: {
      name,
      precision,
      keyValueType,
      guidance: undefined,
      context: undefined,
      attentionSinks: undefined,
      adapters: undefined,
      adapterScaling: undefined,
    },
    // Threads of two engines that stay on the same processors would wait for each other.
    engine: { ...config.engine, url, isConfigured, processors: undefined },
    transcriber: null,
  };
}

/** What a process that talks to LiveKit needs, or a ConfigError that names what is missing. */
export function requireLiveKit(config: Config): LiveKitCredentials {
  const { url, apiKey, apiSecret } = config.livekit;
  if (url === undefined || apiKey === undefined || apiSecret === undefined) {
    const missing = [
      ...(url === undefined ? ['LIVEKIT_URL'] : []),
      ...(apiKey === undefined ? ['LIVEKIT_API_KEY'] : []),
      ...(apiSecret === undefined ? ['LIVEKIT_API_SECRET'] : []),
    ];
    throw new ConfigError([
      `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not set: ` +
        'write them into .env.local, or run `npm start`, which brings a LiveKit server of its own',
    ]);
  }
  return { url, apiKey, apiSecret };
}

/** The variables that make another process load this same configuration. */
export function toEnvironment(config: Config): Record<string, string> {
  const variables: Record<string, string | number | undefined> = {
    LIVEKIT_URL: config.livekit.url,
    LIVEKIT_API_KEY: config.livekit.apiKey,
    LIVEKIT_API_SECRET: config.livekit.apiSecret,
    MOSHI_MODEL: config.model.name,
    MOSHI_GUIDANCE: config.model.guidance,
    MOSHI_CONTEXT: config.model.context,
    MOSHI_ATTENTION_SINKS: config.model.attentionSinks,
    MOSHI_KV_TYPE: config.model.keyValueType,
    MOSHI_LORA: config.model.adapters,
    MOSHI_LORA_SCALE: config.model.adapterScaling,
    MOSHI_VOICE: config.persona.voice,
    MOSHI_PROMPT: config.persona.prompt,
    MOSHI_CONDITION:
      config.persona.conditions === undefined
        ? undefined
        : Object.entries(config.persona.conditions)
            .map(([name, value]) => `${name}=${value}`)
            .join(','),
    MOSHI_TRANSCRIBER: config.transcriber?.name ?? NO_TRANSCRIBER,
    MOSHI_TRANSCRIBER_URL: config.transcriber?.url,
    MOSHI_ENGINE_URL: config.engine.url,
    MOSHI_ENGINE_TOKEN: config.engine.token,
    MOSHI_ENGINE_SLOTS: config.engine.slots,
    MOSHI_ENGINE_THREADS: config.engine.threads,
    MOSHI_ENGINE_PIN:
      config.engine.processors === undefined ? undefined : listProcessors(config.engine.processors),
    MOSHI_DEVICE: config.engine.device,
    MOSHI_PRECISION: config.model.precision,
    MOSHI_HTTP_HOST: config.server.host,
    MOSHI_HTTP_PORT: config.server.port,
    MOSHI_PUBLIC_URL: config.server.publicUrl,
    MOSHI_WORKER_PORT: config.worker.port,
    MOSHI_CACHE_DIRECTORY: config.cacheDirectory,
    MOSHI_LOG_LEVEL: config.logLevel,
    HF_HUB_CACHE: config.hub.cacheDirectory,
    HF_TOKEN: config.hub.token,
    HF_TOKEN_PATH: config.hub.tokenFile,
    HF_ENDPOINT: config.hub.endpoint,
    HF_HUB_OFFLINE: config.hub.isOffline ? '1' : '',
  };
  // Unset ones become empty, not absent: a child would else find them in `.env.local` again.
  return Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [name, value === undefined ? '' : `${value}`]),
  );
}

/**
 * The process's environment with `.env.local`, then `.env`, filling in what it leaves out, as
 * LiveKit's starters do. Called by entry points only.
 */
export function readEnvironment(directory: string = REPOSITORY_DIRECTORY): Environment {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined) {
      environment[name] = value;
    }
  }
  readDotenvFiles({
    path: ['.env.local', '.env'].map((file) => path.join(directory, file)),
    processEnv: environment,
    quiet: true,
  });
  return environment;
}

/**
 * Keeps libraries from writing debug lines to stdout, where `--json` belongs: LiveKit's decide by
 * this variable while they load. Called before anything loads them; processes started later
 * inherit it.
 */
export function quietenLibraries(): void {
  process.env['NODE_ENV'] ??= 'production';
}

function describeIssue(issue: z.core.$ZodIssue, given: Record<string, string | undefined>): string {
  const name = String(issue.path[0]);
  const value = given[name] ?? '';
  const found = SECRET_VARIABLES.has(name)
    ? `has ${value.length} characters`
    : `is ${JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}…` : value)}`;
  return `${name} ${found}, ${issue.message}`;
}

/** Rules that span the three LiveKit variables. */
function findLiveKitProblems(given: Record<string, string | undefined>): string[] {
  const key = given['LIVEKIT_API_KEY'];
  const secret = given['LIVEKIT_API_SECRET'];
  const problems: string[] = [];
  const reason =
    given['LIVEKIT_URL'] === undefined
      ? 'key and secret are a pair, set both or neither'
      : 'LIVEKIT_URL is set and that server wants a key and its secret';
  if (key === undefined && (secret !== undefined || given['LIVEKIT_URL'] !== undefined)) {
    problems.push(`LIVEKIT_API_KEY is not set, ${reason}`);
  }
  if (secret === undefined && (key !== undefined || given['LIVEKIT_URL'] !== undefined)) {
    problems.push(`LIVEKIT_API_SECRET is not set, ${reason}`);
  }
  if (
    given['LIVEKIT_URL'] === undefined &&
    secret !== undefined &&
    secret.length < MIN_SECRET_LENGTH
  ) {
    problems.push(
      `LIVEKIT_API_SECRET has ${secret.length} characters, a LiveKit server started here needs ` +
        `${MIN_SECRET_LENGTH}: make one with openssl rand -hex 32, or leave key and secret unset`,
    );
  }
  return problems;
}

/** A thread without a processor of its own would wait for one that has. */
function findPinProblems(variables: Variables): string[] {
  const { MOSHI_ENGINE_PIN: pinned, MOSHI_ENGINE_THREADS: threads } = variables;
  if (pinned === undefined || threads === undefined || pinned.length === threads) {
    return [];
  }
  const found = `${pinned.length} ${pinned.length === 1 ? 'processor' : 'processors'}`;
  return [
    `MOSHI_ENGINE_PIN names ${found} (${listProcessors(pinned)}) and MOSHI_ENGINE_THREADS is ${threads}, ` +
      'name one processor for each thread or leave MOSHI_ENGINE_THREADS unset',
  ];
}

function findAddressProblems({ engine, transcriber }: Config): string[] {
  const addresses = {
    MOSHI_ENGINE_URL: engine.url,
    ...(transcriber !== null && { MOSHI_TRANSCRIBER_URL: transcriber.url }),
  };
  return Object.entries(addresses).flatMap(([variable, url]) => {
    const socketPath = readSocketPath(url);
    const bytes = Buffer.byteLength(socketPath ?? '');
    return bytes <= MAX_SOCKET_PATH_BYTES
      ? []
      : [
          `${variable} names a socket path of ${bytes} bytes (${socketPath ?? ''}); ` +
            `operating systems accept ${MAX_SOCKET_PATH_BYTES}, choose a shorter one`,
        ];
  });
}

function nest(variables: Variables): Config {
  const cacheDirectory = path.resolve(REPOSITORY_DIRECTORY, variables.MOSHI_CACHE_DIRECTORY);
  const publicUrl =
    variables.MOSHI_PUBLIC_URL ??
    `http://${readableHost(variables.MOSHI_HTTP_HOST)}:${variables.MOSHI_HTTP_PORT}`;
  return {
    livekit: {
      url: variables.LIVEKIT_URL?.replace(/^http/, 'ws').replace(/\/+$/, ''),
      apiKey: variables.LIVEKIT_API_KEY,
      apiSecret: variables.LIVEKIT_API_SECRET,
    },
    model: {
      name: variables.MOSHI_MODEL,
      guidance: variables.MOSHI_GUIDANCE,
      context: variables.MOSHI_CONTEXT,
      attentionSinks: variables.MOSHI_ATTENTION_SINKS,
      keyValueType: variables.MOSHI_KV_TYPE,
      adapters:
        variables.MOSHI_LORA === undefined
          ? undefined
          : path.resolve(REPOSITORY_DIRECTORY, variables.MOSHI_LORA),
      adapterScaling: variables.MOSHI_LORA_SCALE,
      precision: variables.MOSHI_PRECISION,
    },
    persona: {
      voice: variables.MOSHI_VOICE,
      prompt: variables.MOSHI_PROMPT,
      conditions: variables.MOSHI_CONDITION,
    },
    engine: {
      url: variables.MOSHI_ENGINE_URL ?? `unix:${defaultSocketPath(cacheDirectory, 'engine')}`,
      isConfigured: variables.MOSHI_ENGINE_URL !== undefined,
      token: variables.MOSHI_ENGINE_TOKEN,
      slots: variables.MOSHI_ENGINE_SLOTS,
      threads: variables.MOSHI_ENGINE_THREADS,
      processors: variables.MOSHI_ENGINE_PIN,
      device: variables.MOSHI_DEVICE,
    },
    transcriber:
      variables.MOSHI_TRANSCRIBER === NO_TRANSCRIBER
        ? null
        : {
            name: variables.MOSHI_TRANSCRIBER,
            url:
              variables.MOSHI_TRANSCRIBER_URL ??
              `unix:${defaultSocketPath(cacheDirectory, 'transcriber')}`,
            isConfigured: variables.MOSHI_TRANSCRIBER_URL !== undefined,
          },
    server: {
      host: variables.MOSHI_HTTP_HOST,
      port: variables.MOSHI_HTTP_PORT,
      publicUrl: publicUrl.replace(/\/+$/, ''),
    },
    worker: { port: variables.MOSHI_WORKER_PORT },
    hub: hubSettings(variables),
    cacheDirectory,
    logLevel: variables.MOSHI_LOG_LEVEL,
  };
}

/**
 * As Hugging Face's own tools read them (huggingface/huggingface_hub,
 * docs/source/en/package_reference/environment_variables.md), so that files are shared with them.
 */
function hubSettings(variables: Variables): HubSettings {
  const home = inHome(
    variables.HF_HOME ?? path.join(variables.XDG_CACHE_HOME ?? '~/.cache', 'huggingface'),
  );
  return {
    cacheDirectory: inHome(variables.HF_HUB_CACHE ?? path.join(home, 'hub')),
    endpoint: variables.HF_ENDPOINT.replace(/\/+$/, ''),
    tokenFile: inHome(variables.HF_TOKEN_PATH ?? path.join(home, 'token')),
    token: variables.HF_TOKEN,
    isOffline: ['1', 'on', 'yes', 'true'].includes(variables.HF_HUB_OFFLINE.toLowerCase()),
  };
}

/** `~` is the user's folder; relative paths mean the repository's, as in other settings. */
function inHome(folder: string): string {
  return path.resolve(REPOSITORY_DIRECTORY, folder.replace(/^~(?=$|\/)/, os.homedir()));
}

/** Host part of a URL that a browser on this machine can open. */
function readableHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') {
    return '127.0.0.1';
  }
  return host.includes(':') ? `[${host}]` : host;
}

/** In the cache, unless that lies too deep for a socket: then a short name of its own in /tmp. */
function defaultSocketPath(cacheDirectory: string, name: 'engine' | 'transcriber'): string {
  const inCache = path.join(cacheDirectory, `${name}.sock`);
  if (Buffer.byteLength(inCache) <= MAX_SOCKET_PATH_BYTES) {
    return inCache;
  }
  const digest = createHash('sha256').update(cacheDirectory).digest('hex').slice(0, 16);
  return path.join(os.tmpdir(), `moshi-${name}-${digest}.sock`);
}

function readSocketPath(url: string): string | undefined {
  return url.startsWith('unix:') ? url.slice('unix:'.length) : undefined;
}
