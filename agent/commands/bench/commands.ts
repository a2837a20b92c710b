/** `bench …`: measurements that anybody can repeat. */
import type { Command } from 'commander';
import type { ArchitectureName } from '../../../models/generate/architectures.ts';
import type { Precision } from '../../../models/manifest.ts';
import type { DeviceWish } from '../../config.ts';
import { contextFromFlags, type SettingFlags } from '../context-from-flags.ts';
import {
  deviceOption,
  jsonOption,
  likeOption,
  modelOption,
  numbersOption,
  positive,
  precisionOption,
  precisionsOption,
  seedOption,
  wholeNumber,
} from '../options.ts';

interface MemoryFlags {
  model?: string;
  like?: ArchitectureName;
  batch: number[];
  precision: Precision[];
  threads: number;
  json?: true;
}

interface FrameFlags extends MemoryFlags {
  device?: DeviceWish;
  context: number[];
  frames: number;
  peer?: string;
}

interface EngineFlags extends SettingFlags {
  conversations: number;
  minutes: number;
  json?: true;
}

interface DemoFlags extends SettingFlags {
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

interface TranscriberFlags extends SettingFlags {
  audio?: string;
  conversations: number;
  quietMinutes: number;
  rows: number;
  seed: number;
  json?: true;
}

interface SimulateFlags {
  slots: number;
  callers: number;
  minutes: number;
  steps?: string;
  fixedMs: number;
  rowMs: number;
  jitter: number;
  slowdown: number;
  seed: number;
  json?: true;
}

export function addBenchCommands(program: Command): void {
  const bench = program.command('bench').description('reproducible measurements');
  bench
    .command('frame')
    .description('one 80 ms frame: ms by part, and how near to the limit of the memory')
    .addOption(modelOption())
    .addOption(likeOption())
    .addOption(numbersOption('--batch', 'conversations at once', [1]))
    .addOption(numbersOption('--context', 'steps that the conversations are old', [0]))
    .addOption(precisionsOption(['f32']))
    .option('--threads <number>', 'threads within an operator', wholeNumber, 2)
    .option('--frames <number>', 'frames to time', wholeNumber, 60)
    .addOption(deviceOption())
    .option('--peer <python>', 'run PyTorch beside it: a Python that has the package moshi')
    .addOption(jsonOption())
    .action(async (flags: FrameFlags) => {
      const { benchFrame } = await import('./frame.ts');
      await benchFrame(
        contextFromFlags({
          model: flags.model,
          ...(flags.device !== undefined && { device: flags.device }),
        }),
        {
          like: flags.like ?? null,
          batches: flags.batch,
          contexts: flags.context,
          precisions: flags.precision,
          threads: flags.threads,
          frames: flags.frames,
          peer: flags.peer ?? null,
          json: flags.json === true,
        },
      );
    });
  bench
    .command('memory')
    .description('what a model takes of memory')
    .addOption(modelOption())
    .addOption(likeOption())
    .addOption(numbersOption('--batch', 'conversations at once, ascending', [1, 2, 4, 8]))
    .addOption(precisionsOption(['f32', 'q8', 'q4']))
    .option('--threads <number>', 'threads within an operator', wholeNumber, 1)
    .addOption(jsonOption())
    .action(async (flags: MemoryFlags) => {
      const { benchMemory } = await import('./memory.ts');
      await benchMemory(contextFromFlags({ model: flags.model }), {
        like: flags.like ?? null,
        batches: flags.batch,
        precisions: flags.precision,
        threads: flags.threads,
        json: flags.json === true,
      });
    });
  bench
    .command('engine')
    .description('conversations that come and go in real time at a real engine')
    .addOption(modelOption())
    .addOption(precisionOption())
    .addOption(deviceOption())
    .option('--conversations <number>', 'conversations at once', wholeNumber, 4)
    .option('--minutes <number>', 'how long', positive, 10)
    .addOption(jsonOption())
    .action(async (flags: EngineFlags) => {
      const { benchEngine } = await import('./engine.ts');
      await benchEngine(contextFromFlags(flags), {
        conversations: flags.conversations,
        minutes: flags.minutes,
        json: flags.json === true,
      });
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
    .option(
      '--slowdown <number>',
      'steps take so many times as long once callers talk',
      positive,
      1,
    )
    .addOption(seedOption('callers').default(0))
    .addOption(jsonOption())
    .action(async (flags: SimulateFlags) => {
      const { benchSimulate } = await import('./simulate.ts');
      await benchSimulate({
        ...flags,
        stepsFile: flags.steps ?? null,
        json: flags.json === true,
      });
    });
  bench
    .command('endless')
    .description('one conversation of many frames with a tiny model: does anything grow?')
    .option('--frames <number>', 'how many', wholeNumber, 1_000_000)
    .addOption(jsonOption())
    .action(async (flags: { frames: number; json?: true }) => {
      const { benchEndless } = await import('./endless.ts');
      await benchEndless({ frames: flags.frames, json: flags.json === true });
    });
  bench
    .command('parity')
    .description('tokens and numbers beside those that PyTorch recorded')
    .option(
      '--checkpoints <folder>',
      'more recorded checkpoints (default: MOSHI_TEST_CHECKPOINTS, or ../shared/checkpoints)',
    )
    .addOption(jsonOption())
    .action(async (flags: { checkpoints?: string; json?: true }) => {
      const { benchParity } = await import('./parity.ts');
      await benchParity(contextFromFlags(), {
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
    .addOption(seedOption('conversations').default(0))
    .option('--whisper <python>', 'count word errors of its voice: a Python with faster-whisper')
    .addOption(jsonOption())
    .action(async (flags: DemoFlags) => {
      const { benchDemo } = await import('./demo.ts');
      await benchDemo(contextFromFlags(flags), {
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
    .command('transcriber')
    .description(
      'word errors and ends of turns of a model that only listens, on the demo’s questions',
    )
    .addOption(modelOption().default('demo-transcriber'))
    .addOption(deviceOption())
    .option('--audio <folder>', 'questions that evaluation_audio.py spoke (default: a few)')
    .option('--conversations <number>', 'of each kind', wholeNumber, 48)
    .option('--quiet-minutes <number>', 'of noise, and of distant talk', positive, 10)
    .option('--rows <number>', 'conversations at once', wholeNumber, 16)
    .addOption(seedOption('callers').default(0))
    .addOption(jsonOption())
    .action(async (flags: TranscriberFlags) => {
      const { benchTranscriber } = await import('./transcriber.ts');
      await benchTranscriber(contextFromFlags(flags), {
        ...flags,
        audio: flags.audio ?? null,
        json: flags.json === true,
      });
    });
  bench
    .command('resampler')
    .description('speed and quality of the resampler beside SoX’s')
    .addOption(jsonOption())
    .action(async (flags: { json?: true }) => {
      const { benchResampler } = await import('./resampler.ts');
      await benchResampler({ json: flags.json === true });
    });
  bench
    .command('latency')
    .description('mouth to ear through a real room')
    .addOption(jsonOption())
    .action(async (flags: { json?: true }) => {
      const { benchLatency } = await import('./latency.ts');
      await benchLatency({ json: flags.json === true });
    });
}
