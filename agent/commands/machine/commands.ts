/** `doctor`: what this machine can do. */
import type { Command } from 'commander';
import type { DeviceWish } from '../../config.ts';
import { contextFromFlags } from '../context-from-flags.ts';
import { deviceOption, jsonOption } from '../options.ts';

export function addMachineCommands(program: Command): void {
  program
    .command('doctor')
    .description('check what this machine can do, and say what to fix')
    .addOption(deviceOption())
    .addOption(jsonOption())
    .action(async (flags: { device?: DeviceWish; json?: true }) => {
      const { runDoctor } = await import('./doctor.ts');
      await runDoctor(contextFromFlags(flags), { json: flags.json === true });
    });
  program
    .command('cuda')
    .description('what NVIDIA GPUs need')
    .command('install')
    .description('fetch the libraries that the packages do not bring, once: 0.8 GB')
    .action(async () => {
      const { installCuda } = await import('./cuda-install.ts');
      await installCuda(contextFromFlags());
    });
}
