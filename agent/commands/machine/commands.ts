/** `doctor`: what this machine can do. */
import type { Command } from 'commander';
import { contextFromFlags } from '../context-from-flags.ts';
import { jsonOption } from '../options.ts';

export function addMachineCommands(program: Command): void {
  program
    .command('doctor')
    .description('check what this machine can do, and say what to fix')
    .addOption(jsonOption())
    .action(async (flags: { json?: true }) => {
      const { runDoctor } = await import('./doctor.ts');
      await runDoctor(contextFromFlags(), { json: flags.json === true });
    });
}
