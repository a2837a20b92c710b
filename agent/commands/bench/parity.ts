/** `bench parity`: what our graphs compute beside what Kyutai's and NVIDIA's PyTorch code recorded. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { FIXTURE_NAMES, type FixtureName } from '../../../models/fixtures/fixture.ts';
import { recordedCheckpoints } from '../../../models/test-support/recorded-checkpoints.ts';
import { readRecordedTensors } from '../../../models/test-support/recorded-tensors.ts';
import { compareCheckpoint, type ParityFigures } from '../../testing/parity.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { writeWav } from '../wav/wav.ts';

export type ParityResult = ParityFigures & {
  name: string;
  kind: FixtureName;
  folder: string;
  /** Computes the tokens again from the same sound. */
  command: string;
};

export interface BenchParityOptions {
  /** Folder of recorded checkpoints beside the repository's own fixtures. */
  checkpoints: string | undefined;
  json: boolean;
}

const SAMPLE_RATE = 24_000;
const PROMPT = 'You are a wise and friendly teacher.';

/** Compares and prints; fails when a token differs that no near-tie explains. */
export async function benchParity(
  context: CommandContext,
  { checkpoints, json }: BenchParityOptions,
): Promise<ParityResult[]> {
  // Made anew each time; stays, so that the printed commands find the sound.
  const work = path.join(context.config.cacheDirectory, 'parity');
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  const others = checkpoints ?? context.environment['MOSHI_TEST_CHECKPOINTS'];
  const results: ParityResult[] = [];
  for (const kind of FIXTURE_NAMES) {
    for (const [name, folder] of await recordedCheckpoints(kind, work, others)) {
      const title = name === 'fixture' ? `fixture ${kind}` : name;
      const sound = path.join(work, 'sound', title.replaceAll(' ', '-'));
      const command = await reproduce(kind, folder, sound);
      const figures = await compareCheckpoint(kind, folder, path.join(work, 'built'));
      results.push({ name: title, kind, folder, command, ...figures });
    }
  }
  context.print(json ? JSON.stringify(results, null, 2) : table(results));
  const failed = results.filter(
    ({ tokensCompared, tokensEqual, nearTies, codesCompared, codesEqual }) =>
      tokensEqual + nearTies < tokensCompared || codesEqual < codesCompared,
  );
  if (failed.length > 0) {
    throw new CommandError(
      `tokens differ from the recorded ones: ${failed.map(({ name }) => name).join(', ')}`,
    );
  }
  return results;
}

/** Writes what was said and gives the command that hears it. */
async function reproduce(kind: FixtureName, folder: string, sound: string): Promise<string> {
  const tensors = readRecordedTensors(path.join(folder, 'expected.safetensors'));
  await mkdir(sound, { recursive: true });
  const file = async (name: string): Promise<string> => {
    const samples = Float32Array.from(tensors[name]?.data ?? []);
    const target = path.join(sound, `${name}.wav`);
    await writeWav(target, { sampleRate: SAMPLE_RATE, samples }, 'float32');
    return quote(target);
  };
  const input = await file('input_pcm');
  const model = quote(folder);
  const tokens = quote(path.join(sound, 'tokens.json'));
  const moshi = 'npm run --silent moshi --';
  if (kind === 'stt') {
    return `${moshi} transcribe --model ${model} --in ${input} --json ${tokens}`;
  }
  const infer =
    `${moshi} infer --model ${model} --in ${input} --greedy ` +
    `--out ${quote(path.join(sound, 'out.wav'))} --tokens ${tokens}`;
  if (kind === 'hibiki') {
    return `${infer} --tail 0`;
  }
  return kind === 'personaplex'
    ? `${infer} --voice ${await file('voice_pcm')} --voice-loudness off --prompt ${quote(PROMPT)}`
    : infer;
}

function quote(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function table(results: readonly ParityResult[]): string {
  const header = [
    '',
    'tokens',
    'near ties',
    'hidden',
    'text',
    'audio',
    'codes',
    'decoded',
    'voice',
  ];
  const small = (value: number | null): string => (value === null ? '' : value.toExponential(1));
  const rows = results.map((result) => [
    result.name,
    `${result.tokensEqual} of ${result.tokensCompared}`,
    String(result.nearTies),
    small(result.hiddenError),
    small(result.textLogitsError),
    small(result.audioLogitsError),
    result.codesCompared === 0 ? '' : `${result.codesEqual} of ${result.codesCompared}`,
    small(result.decodedDifference),
    small(result.voiceDifference),
  ]);
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => (row[column] ?? '').length)),
  );
  const lines = [header, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [
    ...lines,
    '',
    'hidden, text, audio: normalised mean square errors of the hidden state and the logits · decoded,',
    'voice: largest difference of a sample from the recorded one, as a part of the recorded peak',
    '',
    ...results.map(({ name, command }) => `${name}: ${command}`),
  ].join('\n');
}
