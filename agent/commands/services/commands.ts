/** `start`, `engine`, `worker`, `serve` and `build`: the parts that answer calls. */
import type { Command } from 'commander';
import { contextFromFlags } from '../context-from-flags.ts';

export function addServiceCommands(program: Command): void {
  program
    .command('start')
    .description('run everything on this machine and print a join link')
    .action(async () => {
      const { runStart } = await import('../../supervisor/start.ts');
      await runStart(contextFromFlags());
    });
  program
    .command('engine')
    .description('run the model for many conversations; one that only listens writes them down')
    .action(async () => {
      const { runEngine } = await import('./engine.ts');
      await runEngine(contextFromFlags());
    });
  program
    .command('worker')
    .description('join rooms as the agent "moshi"')
    .action(async () => {
      const { runWorkerCommand } = await import('./worker.ts');
      await runWorkerCommand(contextFromFlags());
    });
  program
    .command('serve')
    .description('serve tokens, join links and the page')
    .action(async () => {
      const { runServe } = await import('./serve.ts');
      await runServe(contextFromFlags());
    });
  program
    .command('build')
    .description('build the page and the graphs of the model, and of the transcriber')
    .action(async () => {
      const { runBuild } = await import('./build.ts');
      await runBuild(contextFromFlags());
    });
}
