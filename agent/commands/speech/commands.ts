/** `infer`, `transcribe` and `codec`: from files, without a room. */
import type { Command } from 'commander';
import { contextFromFlags, type SettingFlags } from '../context-from-flags.ts';
import {
  addPair,
  deviceOption,
  loudness,
  modelOption,
  precisionOption,
  seconds,
  seedOption,
} from '../options.ts';

/** NVIDIA/personaplex@60620ab moshi/moshi/models/lm.py (`load_voice_prompt`). */
const REFERENCE_LUFS = -24;
const ANY_WAV = 'any WAV, channels are mixed';

interface InferFlags extends SettingFlags {
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
  tail: number;
}

interface TranscribeFlags extends SettingFlags {
  in: string;
  json?: string;
}

interface CodecFlags extends SettingFlags {
  in: string;
  codes?: string;
  out?: string;
}

export function addSpeechCommands(program: Command): void {
  program
    .command('infer')
    .description('one conversation from a file, no room')
    .addOption(modelOption())
    .requiredOption('--in <wav>', `what the user says: ${ANY_WAV}`)
    .requiredOption('--out <wav>', 'what the model says, 24 kHz')
    .option('--tokens <json>', 'write text ids, audio codes and the transcript')
    .option('--greedy', 'take the likeliest token instead of sampling')
    .addOption(seedOption('samples (default: another each time)'))
    .option('--voice <voice>', 'for PersonaPlex: name of a voice, or a WAV or .pt file')
    .option(
      '--voice-loudness <lufs>',
      'make the voice of a WAV this loud, in LUFS; off: leave it',
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
      const { runInfer } = await import('./infer.ts');
      await runInfer(contextFromFlags(flags), {
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
    .requiredOption('--in <wav>', `what is said: ${ANY_WAV}`)
    .option('--json <json>', 'write text ids, pause probabilities, and words with their times')
    .addOption(precisionOption())
    .addOption(deviceOption())
    .action(async (flags: TranscribeFlags) => {
      const { runTranscribe } = await import('./transcribe.ts');
      await runTranscribe(contextFromFlags(flags), { input: flags.in, json: flags.json });
    });
  program
    .command('codec')
    .description('the codec alone: encode a file, and decode it again')
    .addOption(modelOption())
    .requiredOption('--in <wav>', ANY_WAV)
    .option('--codes <json>', 'write the codes')
    .option('--out <wav>', 'write the decoded codes, 24 kHz')
    .addOption(deviceOption())
    .action(async (flags: CodecFlags, command: Command) => {
      if (flags.codes === undefined && flags.out === undefined) {
        command.error('error: nothing to write: give --codes, --out or both');
      }
      const { runCodec } = await import('./codec.ts');
      await runCodec(contextFromFlags(flags), {
        input: flags.in,
        codes: flags.codes,
        output: flags.out,
      });
    });
}
