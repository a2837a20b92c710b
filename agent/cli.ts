/**
 * The command line. Every command loads its own modules when it runs: `--help` is quick, and a
 * native library that is missing for one command does not break the others.
 */
import { Command, CommanderError } from 'commander';
import { addBenchCommands } from './commands/bench/commands.ts';
import { addMachineCommands } from './commands/machine/commands.ts';
import { addModelCommands } from './commands/models/commands.ts';
import { addServiceCommands } from './commands/services/commands.ts';
import { addSpeechCommands } from './commands/speech/commands.ts';
import { quietenLibraries, readEnvironment } from './config.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

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
  addServiceCommands(program);
  addSpeechCommands(program);
  addModelCommands(program);
  addMachineCommands(program);
  addBenchCommands(program);
  return program;
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
