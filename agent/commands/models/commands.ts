/** `models list | pull | build | inspect | quantize | generate`. */
import { Option, type Command } from 'commander';
import {
  BLOCK_PRECISIONS,
  type BlockPrecision,
} from '../../../models/checkpoints/linear-weight.ts';
import {
  ARCHITECTURE_NAMES,
  type ArchitectureName,
} from '../../../models/generate/architectures.ts';
import { contextFromFlags, type SettingFlags } from '../context-from-flags.ts';
import {
  jsonOption,
  MODEL_ARGUMENT,
  modelOption,
  precisionOption,
  seedOption,
} from '../options.ts';

interface QuantizeFlags {
  model?: string;
  precision: BlockPrecision;
  out: string;
  wav?: string;
  json?: true;
}

interface GenerateFlags {
  like: ArchitectureName;
  seed: number;
  out: string;
  json?: true;
}

export function addModelCommands(program: Command): void {
  const models = program.command('models').description('list, pull, build and inspect models');
  models
    .command('list')
    .description('models with a short name')
    .addOption(jsonOption())
    .action(async (flags: { json?: true }) => {
      const { listModels } = await import('./list.ts');
      await listModels(contextFromFlags(), { json: flags.json === true });
    });
  models
    .command('pull')
    .description('fetch the weights of a model from Hugging Face')
    .argument('[model]', 'short name, or repository owner/name (default: MOSHI_MODEL)')
    .option('--revision <revision>', 'branch, tag or commit', 'main')
    .addOption(jsonOption())
    .action(async (model: string | undefined, flags: { revision: string; json?: true }) => {
      const { pullModelCommand } = await import('./pull.ts');
      await pullModelCommand(contextFromFlags({ model }), {
        revision: flags.revision,
        json: flags.json === true,
      });
    });
  models
    .command('build')
    .description('write the graphs of a model into the cache')
    .argument('[model]', MODEL_ARGUMENT)
    .addOption(precisionOption())
    .addOption(jsonOption())
    .action(async (model: string | undefined, flags: SettingFlags & { json?: true }) => {
      const { buildModelCommand } = await import('./build.ts');
      await buildModelCommand(contextFromFlags({ ...flags, model }), { json: flags.json === true });
    });
  models
    .command('inspect')
    .description('what a model consists of')
    .argument('[model]', MODEL_ARGUMENT)
    .addOption(jsonOption())
    .action(async (model: string | undefined, flags: { json?: true }) => {
      const { inspectModel } = await import('./inspect.ts');
      await inspectModel(contextFromFlags({ model }), { json: flags.json === true });
    });
  models
    .command('quantize')
    .description('write a checkpoint again with matrices of 8 or 4 bits')
    .addOption(modelOption())
    .addOption(
      new Option(
        '--precision <precision>',
        'q8 keeps nearly all, q4 takes half of its memory, q4-128 a sixth less and loses more',
      )
        .choices(BLOCK_PRECISIONS)
        .makeOptionMandatory(),
    )
    .requiredOption('--out <folder>', 'folder to make')
    .option('--wav <wav>', 'count the tokens that stay the same on this speech')
    .addOption(jsonOption())
    .action(async (flags: QuantizeFlags) => {
      const { runQuantize } = await import('./quantize.ts');
      await runQuantize(contextFromFlags(flags), {
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
    .addOption(seedOption('weights').default(0))
    .requiredOption('--out <folder>', 'folder to make')
    .addOption(jsonOption())
    .action(async (flags: GenerateFlags) => {
      const { generateModel } = await import('./generate.ts');
      await generateModel(contextFromFlags(), {
        like: flags.like,
        seed: flags.seed,
        output: flags.out,
        json: flags.json === true,
      });
    });
}
