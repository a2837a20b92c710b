/**
 * The command line. Every command loads its own modules when it runs: `--help` is quick, and a
 * native library that is missing for one command does not break the others.
 */
import path from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { pino } from 'pino';
import type { CommandContext } from './commands/command-context.ts';
import { ARCHITECTURE_NAMES, type ArchitectureName } from '../models/generate/architectures.ts';
import { precision, type Precision } from '../models/manifest.ts';
import {
  device,
  loadConfig,
  precisionWish,
  quietenLibraries,
  readEnvironment,
  type DeviceWish,
  type PrecisionWish,
} from './config.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** NVIDIA/personaplex@60620ab moshi/moshi/models/lm.py (`load_voice_prompt`). */
const REFERENCE_LUFS = -24;
const MAX_SECONDS = 3600;

function createContext(overrides: Record<string, string | undefined> = {}): CommandContext {
  const environment = { ...readEnvironment(), ...overrides };
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

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 0xffffffff) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 4294967295.');
  }
  return Number(text);
}

function positive(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || !(Number(text) > 0)) {
    throw new InvalidArgumentError('It must be a number above 0.');
  }
  return Number(text);
}

function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) > MAX_SECONDS) {
    throw new InvalidArgumentError(`It must be a number of seconds from 0 to ${MAX_SECONDS}.`);
  }
  return Number(text);
}

/** Collects `name=value` of an option that is repeated. */
function addPair(text: string, pairs: Record<string, string>): Record<string, string> {
  const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new InvalidArgumentError('It must be name=value.');
  }
  return { ...pairs, [name]: value };
}

/** LUFS. */
function loudness(text: string): number | 'off' {
  if (text === 'off') {
    return text;
  }
  const lufs = Number(text);
  if (text.trim() === '' || !(lufs >= -70 && lufs <= 0)) {
    throw new InvalidArgumentError('It must be "off", or a loudness from -70 to 0 LUFS.');
  }
  return lufs;
}

interface InferFlags {
  model?: string;
  in: string;
  out: string;
  tokens?: string;
  greedy?: true;
  seed?: number;
  voice?: string;
  voiceLoudness: number | 'off';
  prompt?: string;
  say?: string;
  condition: Record<string, string>;
  guidance?: string;
  lora?: string;
  loraScale?: string;
  tail: number;
  precision?: PrecisionWish;
  device?: DeviceWish;
}

interface TranscribeFlags {
  model?: string;
  in: string;
  json?: string;
  precision?: PrecisionWish;
  device?: DeviceWish;
}

/** Numbers between commas. */
function wholeNumbers(text: string): number[] {
  return text.split(',').map(wholeNumber);
}

/** Precisions between commas. */
function precisions(text: string): Precision[] {
  return text.split(',').map((name) => {
    const parsed = precision.safeParse(name);
    if (!parsed.success) {
      throw new InvalidArgumentError(`They must be among ${precision.options.join(', ')}.`);
    }
    return parsed.data;
  });
}

interface BenchEngineFlags {
  model?: string;
  precision?: PrecisionWish;
  device?: DeviceWish;
  conversations: number;
  minutes: number;
  json?: true;
}

interface BenchDemoFlags {
  model?: string;
  device?: DeviceWish;
  audio?: string;
  conversations: number;
  minutes: number;
  quietMinutes: number;
  rows: number;
  greedy?: true;
  seed: number;
  whisper?: string;
  json?: true;
}

interface BenchSimulateFlags {
  slots: number;
  callers: number;
  minutes: number;
  steps?: string;
  fixedMs: number;
  rowMs: number;
  jitter: number;
  seed: number;
  json?: true;
}

interface BenchFrameFlags {
  model?: string;
  like?: ArchitectureName;
  batch: number[];
  context: number[];
  precision: Precision[];
  threads: number;
  frames: number;
  peer?: string;
  json?: true;
}

interface QuantizeFlags {
  model?: string;
  precision: 'q8' | 'q4';
  out: string;
  wav?: string;
  json?: true;
}

interface CodecFlags {
  model?: string;
  in: string;
  codes?: string;
  out?: string;
  device?: DeviceWish;
}

function createProgram(): Command {
  const program = new Command('moshi')
    .description('Talk with Moshi-family models in LiveKit rooms, and from files.')
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nSettings come from the environment and .env.local; the README lists them.' +
        '\nExit status: 0 done, 1 failed (one line "error: …"), 2 wrong usage.',
    );
  const modelOption = (): Option =>
    new Option(
      '--model <model>',
      'short name, repository owner/name, or folder of a checkpoint (default: MOSHI_MODEL)',
    );
  const deviceOption = (): Option =>
    new Option('--device <device>', 'what runs the model (default: MOSHI_DEVICE)').choices(
      device.options,
    );
  const precisionOption = (): Option =>
    new Option(
      '--precision <precision>',
      'of the matrices, auto: what fits this machine (default: MOSHI_PRECISION)',
    ).choices(precisionWish.options);

  program
    .command('start')
    .description('run everything on this machine and print a join link')
    .action(async () => {
      const { runStart } = await import('./supervisor/start.ts');
      await runStart(createContext());
    });
  program
    .command('engine')
    .description('run the model for many conversations')
    .action(async () => {
      const { runEngine } = await import('./commands/services/engine.ts');
      await runEngine(createContext());
    });
  program
    .command('worker')
    .description('join rooms as the agent "moshi"')
    .action(async () => {
      const { runWorkerCommand } = await import('./commands/services/worker.ts');
      await runWorkerCommand(createContext());
    });
  program
    .command('serve')
    .description('serve tokens, join links and the page')
    .action(async () => {
      const { runServe } = await import('./commands/services/serve.ts');
      await runServe(createContext());
    });
  program
    .command('build')
    .description('build the page and the graphs of the model')
    .action(async () => {
      const { runBuild } = await import('./commands/services/build.ts');
      await runBuild(createContext());
    });
  program
    .command('infer')
    .description('one conversation from a file, no room')
    .addOption(modelOption())
    .requiredOption('--in <wav>', 'what the user says: any WAV, channels are mixed')
    .requiredOption('--out <wav>', 'what the model says, 24 kHz')
    .option('--tokens <json>', 'write text ids, audio codes and the transcript')
    .option('--greedy', 'take the likeliest token instead of sampling')
    .option('--seed <number>', 'make sampling reproducible', wholeNumber)
    .option('--voice <voice>', 'for PersonaPlex: name of a voice, or a WAV or .pt file')
    .option(
      '--voice-loudness <lufs>',
      'make the voice of a WAV this loud; off: leave it',
      loudness,
      REFERENCE_LUFS,
    )
    .option('--prompt <text>', 'for PersonaPlex: its role, in words')
    .option('--say <text>', 'make the model say this, at its own pace')
    .option('--condition <name=value>', 'for models with conditions; can be repeated', addPair, {})
    .option(
      '--guidance <strength>',
      'how much to exaggerate conditions, 1: not (default: MOSHI_GUIDANCE)',
    )
    .option('--lora <safetensors>', 'low-rank adapters to merge (default: MOSHI_LORA)')
    .option('--lora-scale <strength>', 'how much of them (default: MOSHI_LORA_SCALE)')
    .option(
      '--tail <seconds>',
      'longest wait for the end of a translation after the speech',
      seconds,
      30,
    )
    .addOption(precisionOption())
    .addOption(deviceOption())
    .action(async (flags: InferFlags) => {
      const { runInfer } = await import('./commands/speech/infer.ts');
      await runInfer(createContext(overrides(flags)), {
        input: flags.in,
        output: flags.out,
        tokens: flags.tokens,
        greedy: flags.greedy === true,
        seed: flags.seed,
        voice: flags.voice,
        voiceLoudness: flags.voiceLoudness === 'off' ? null : flags.voiceLoudness,
        prompt: flags.prompt,
        say: flags.say,
        conditions: flags.condition,
        tailSeconds: flags.tail,
      });
    });
  program
    .command('transcribe')
    .description('the words of a file, with a speech-to-text model')
    .addOption(modelOption())
    .requiredOption('--in <wav>', 'what is said: any WAV, channels are mixed')
    .option('--json <json>', 'write text ids, pause probabilities, and words with their times')
    .addOption(precisionOption())
    .addOption(deviceOption())
    .action(async (flags: TranscribeFlags) => {
      const { runTranscribe } = await import('./commands/speech/transcribe.ts');
      await runTranscribe(createContext(overrides(flags)), { input: flags.in, json: flags.json });
    });
  program
    .command('codec')
    .description('the codec alone: encode a file, and decode it again')
    .addOption(modelOption())
    .requiredOption('--in <wav>', 'any WAV, channels are mixed')
    .option('--codes <json>', 'write the codes')
    .option('--out <wav>', 'write the decoded codes, 24 kHz')
    .addOption(deviceOption())
    .action(async (flags: CodecFlags, command: Command) => {
      if (flags.codes === undefined && flags.out === undefined) {
        command.error('error: nothing to write: give --codes, --out or both');
      }
      const { runCodec } = await import('./commands/speech/codec.ts');
      await runCodec(createContext(overrides(flags)), {
        input: flags.in,
        codes: flags.codes,
        output: flags.out,
      });
    });

  const models = program.command('models').description('list, pull, build and inspect models');
  models
    .command('list')
    .description('models with a short name')
    .option('--json', 'for programs')
    .action(async (flags: { json?: true }) => {
      const { listModels } = await import('./commands/models.ts');
      await listModels(createContext(), { json: flags.json === true });
    });
  models
    .command('pull')
    .description('fetch the weights of a model from Hugging Face')
    .argument('[model]', 'short name, or repository owner/name (default: MOSHI_MODEL)')
    .option('--revision <revision>', 'branch, tag or commit', 'main')
    .option('--json', 'for programs')
    .action(async (model: string | undefined, flags: { revision: string; json?: true }) => {
      const { pullModelCommand } = await import('./commands/models/pull.ts');
      await pullModelCommand(createContext(overrides({ model })), {
        revision: flags.revision,
        json: flags.json === true,
      });
    });
  models
    .command('build')
    .description('write the graphs of a model into the cache')
    .argument('[model]', 'short name, repository owner/name, or folder (default: MOSHI_MODEL)')
    .addOption(precisionOption())
    .option('--json', 'for programs')
    .action(
      async (model: string | undefined, flags: { precision?: PrecisionWish; json?: true }) => {
        const { buildModelCommand } = await import('./commands/models.ts');
        await buildModelCommand(createContext(overrides({ ...flags, model })), {
          json: flags.json === true,
        });
      },
    );
  models
    .command('inspect')
    .description('what a model consists of')
    .argument('[model]', 'short name, repository owner/name, or folder (default: MOSHI_MODEL)')
    .option('--json', 'for programs')
    .action(async (model: string | undefined, flags: { json?: true }) => {
      const { inspectModel } = await import('./commands/models.ts');
      await inspectModel(createContext(overrides({ model })), { json: flags.json === true });
    });
  models
    .command('quantize')
    .description('write a checkpoint again with matrices of 8 or 4 bits')
    .addOption(modelOption())
    .addOption(
      new Option('--precision <precision>', 'q8 keeps nearly all, q4 takes half of its memory')
        .choices(['q8', 'q4'])
        .makeOptionMandatory(),
    )
    .requiredOption('--out <folder>', 'folder to make')
    .option('--wav <wav>', 'count the tokens that stay the same on this speech')
    .option('--json', 'for programs')
    .action(async (flags: QuantizeFlags) => {
      const { runQuantize } = await import('./commands/models/quantize.ts');
      await runQuantize(createContext(overrides(flags)), {
        precision: flags.precision,
        output: flags.out,
        wav: flags.wav,
        json: flags.json === true,
      });
    });
  models
    .command('generate')
    .description(
      'write random weights of a true architecture and size, to measure and to test with',
    )
    .addOption(
      new Option('--like <architecture>', 'whose names, shapes and sizes')
        .choices(ARCHITECTURE_NAMES)
        .makeOptionMandatory(),
    )
    .option('--seed <number>', 'the same number gives the same weights', wholeNumber, 0)
    .requiredOption('--out <folder>', 'folder to make')
    .option('--json', 'for programs')
    .action(async (flags: { like: ArchitectureName; seed: number; out: string; json?: true }) => {
      const { generateModel } = await import('./commands/models/generate.ts');
      await generateModel(createContext(), {
        like: flags.like,
        seed: flags.seed,
        output: flags.out,
        json: flags.json === true,
      });
    });

  program
    .command('doctor')
    .description('check what this machine can do, and say what to fix')
    .option('--json', 'for programs')
    .action(async (flags: { json?: true }) => {
      const { runDoctor } = await import('./commands/machine/doctor.ts');
      await runDoctor(createContext(), { json: flags.json === true });
    });

  const bench = program.command('bench').description('reproducible measurements');
  bench
    .command('resampler')
    .description('speed and quality of the resampler beside SoX’s')
    .option('--json', 'for programs')
    .action(async (flags: { json?: true }) => {
      const { benchResampler } = await import('./commands/bench/resampler.ts');
      await benchResampler({ json: flags.json === true });
    });
  bench
    .command('frame')
    .description('one 80 ms frame: ms by part, and how near to the limit of the memory')
    .addOption(modelOption())
    .addOption(
      new Option('--like <architecture>', 'random weights instead of a model').choices(
        ARCHITECTURE_NAMES,
      ),
    )
    .option('--batch <numbers>', 'conversations at once', wholeNumbers, [1])
    .option('--context <numbers>', 'positions filled before', wholeNumbers, [0])
    .option('--precision <names>', 'f32, q8, q4', precisions, ['f32'])
    .option('--threads <number>', 'threads within an operator', wholeNumber, 2)
    .option('--frames <number>', 'frames to time', wholeNumber, 60)
    .option('--peer <python>', 'run PyTorch beside it: a Python that has the package moshi')
    .option('--json', 'for programs')
    .action(async (flags: BenchFrameFlags) => {
      const { benchFrame } = await import('./commands/bench/frame.ts');
      await benchFrame(createContext(overrides({ model: flags.model })), {
        like: flags.like ?? null,
        batches: flags.batch,
        contexts: flags.context,
        precisions: flags.precision,
        threads: flags.threads,
        frames: flags.frames,
        peer: flags.peer ?? null,
        json: flags.json === true,
      });
    });
  bench
    .command('engine')
    .description('conversations that come and go in real time at a real engine')
    .addOption(modelOption())
    .addOption(precisionOption())
    .addOption(deviceOption())
    .option('--conversations <number>', 'at once', wholeNumber, 4)
    .option('--minutes <number>', 'how long', positive, 10)
    .option('--json', 'for programs')
    .action(async (flags: BenchEngineFlags) => {
      const { benchEngine } = await import('./commands/bench/engine.ts');
      await benchEngine(createContext(overrides(flags)), {
        conversations: flags.conversations,
        minutes: flags.minutes,
        json: flags.json === true,
      });
    });
  bench
    .command('endless')
    .description('one conversation of many frames with a tiny model: does anything grow?')
    .option('--frames <number>', 'how many', wholeNumber, 1_000_000)
    .option('--json', 'for programs')
    .action(async (flags: { frames: number; json?: true }) => {
      const { benchEndless } = await import('./commands/bench/endless.ts');
      await benchEndless({ frames: flags.frames, json: flags.json === true });
    });
  bench
    .command('simulate')
    .description('the scheduler alone, under a virtual clock')
    .option('--slots <number>', 'conversations the engine has room for', wholeNumber, 64)
    .option('--callers <number>', 'who wants to talk all the time', wholeNumber, 64)
    .option('--minutes <number>', 'of virtual time', positive, 10)
    .option('--steps <json>', 'step times by batch: what bench frame --json printed')
    .option('--fixed-ms <number>', 'without --steps: a step takes this long …', positive, 10)
    .option('--row-ms <number>', '… and this for every row of its graph', positive, 0.5)
    .option('--jitter <number>', 'p99 of a step over its median', positive, 1.3)
    .option('--seed <number>', 'the same number gives the same callers', wholeNumber, 0)
    .option('--json', 'for programs')
    .action(async (flags: BenchSimulateFlags) => {
      const { benchSimulate } = await import('./commands/bench/simulate.ts');
      await benchSimulate({
        ...flags,
        stepsFile: flags.steps ?? null,
        json: flags.json === true,
      });
    });
  bench
    .command('memory')
    .description('what a model takes of memory')
    .addOption(modelOption())
    .addOption(
      new Option('--like <architecture>', 'random weights instead of a model').choices(
        ARCHITECTURE_NAMES,
      ),
    )
    .option('--batch <numbers>', 'batch sizes, ascending', wholeNumbers, [1, 2, 4, 8])
    .option('--precision <names>', 'f32, q8, q4', precisions, ['f32', 'q8', 'q4'])
    .option('--threads <number>', 'threads within an operator', wholeNumber, 1)
    .option('--json', 'for programs')
    .action(async (flags: Omit<BenchFrameFlags, 'context' | 'frames'>) => {
      const { benchMemory } = await import('./commands/bench/memory.ts');
      await benchMemory(createContext(overrides({ model: flags.model })), {
        like: flags.like ?? null,
        batches: flags.batch,
        precisions: flags.precision,
        threads: flags.threads,
        json: flags.json === true,
      });
    });
  bench
    .command('parity')
    .description('tokens and numbers beside those that PyTorch recorded')
    .option(
      '--checkpoints <folder>',
      'more recorded checkpoints (default: MOSHI_TEST_CHECKPOINTS, or ../shared/checkpoints)',
    )
    .option('--json', 'for programs')
    .action(async (flags: { checkpoints?: string; json?: true }) => {
      const { benchParity } = await import('./commands/bench/parity.ts');
      await benchParity(createContext(), {
        checkpoints: flags.checkpoints,
        json: flags.json === true,
      });
    });
  bench
    .command('demo')
    .description('what the demo model understands, and its manners: talks with it in a closed loop')
    .addOption(modelOption())
    .addOption(deviceOption())
    .option('--audio <folder>', 'questions that evaluation_audio.py spoke (default: a few)')
    .option('--conversations <number>', 'of each kind', wholeNumber, 48)
    .option('--minutes <number>', 'of the long conversation', positive, 30)
    .option('--quiet-minutes <number>', 'of noise, and of distant talk', positive, 10)
    .option('--rows <number>', 'conversations at once', wholeNumber, 16)
    .option('--greedy', 'take the likeliest token instead of sampling')
    .option('--seed <number>', 'the same number gives the same conversations', wholeNumber, 0)
    .option('--whisper <python>', 'count word errors of its voice; a Python with faster-whisper')
    .option('--json', 'for programs')
    .action(async (flags: BenchDemoFlags) => {
      const { benchDemo } = await import('./commands/bench/demo.ts');
      await benchDemo(createContext(overrides(flags)), {
        audio: flags.audio ?? null,
        conversations: flags.conversations,
        longMinutes: flags.minutes,
        quietMinutes: flags.quietMinutes,
        rows: flags.rows,
        greedy: flags.greedy === true,
        seed: flags.seed,
        whisper: flags.whisper ?? null,
        json: flags.json === true,
      });
    });
  bench
    .command('latency')
    .description('mouth to ear through a real room')
    .option('--json', 'for programs')
    .action(async (flags: { json?: true }) => {
      const { benchLatency } = await import('./commands/bench/latency.ts');
      await benchLatency({ json: flags.json === true });
    });
  return program;
}

/** Flags speak louder than the environment. */
function overrides(flags: {
  model?: string | undefined;
  device?: DeviceWish;
  guidance?: string;
  lora?: string;
  loraScale?: string;
  precision?: PrecisionWish;
}): Record<string, string> {
  return {
    ...(flags.model !== undefined && { MOSHI_MODEL: flags.model }),
    ...(flags.device !== undefined && { MOSHI_DEVICE: flags.device }),
    ...(flags.guidance !== undefined && { MOSHI_GUIDANCE: flags.guidance }),
    ...(flags.lora !== undefined && { MOSHI_LORA: path.resolve(flags.lora) }),
    ...(flags.loraScale !== undefined && { MOSHI_LORA_SCALE: flags.loraScale }),
    ...(flags.precision !== undefined && { MOSHI_PRECISION: flags.precision }),
  };
}

/** One line for the person at the terminal; the stack follows only where it was asked for. */
function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) {
    return `error: ${String(error)}`;
  }
  const line = `error: ${error.message.replace(/\s*\n\s*/g, ' ')}`;
  return isDebugging() && error.stack !== undefined ? `${line}\n${error.stack}` : line;
}

function isDebugging(): boolean {
  return ['debug', 'trace'].includes(readEnvironment()['MOSHI_LOG_LEVEL'] ?? '');
}

async function main(): Promise<void> {
  try {
    await createProgram().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed its line already; help that was asked for is no failure.
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
      return;
    }
    process.stderr.write(`${describeFailure(error)}\n`);
    process.exitCode = EXIT_FAILED;
  }
}

quietenLibraries();
await main();
// Native libraries keep threads and handles; everything a command started is closed by now.
process.exit();
