/** Voices for models that can be given one: recordings, and what NVIDIA publishes, by file or by name. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { extract } from 'tar';
import { readRecordedVoice } from '../../../models/checkpoints/torch/recorded-voice.ts';
import { VOICES_ARCHIVE, VOICES_FOLDER } from '../../../models/hub/checkpoint-files.ts';
import { integratedLoudness, loudnessGain } from '../../../plugins/moshi/audio/loudness.ts';
import { openCodec } from '../../../plugins/moshi/engine/runner.ts';
import {
  recordedVoiceFrames,
  voiceFrames,
  type PromptFrame,
  type PromptModel,
} from '../../../plugins/moshi/engine/prompts/system-prompt.ts';
import { inCache } from '../cache-folder.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { engineThreads } from '../machine/engine-threads.ts';
import { buildGraphs } from '../model-for-command.ts';
import { cutFrames, readSpeech } from '../wav/speech-file.ts';

/** LUFS, or null: as loud as it was recorded. */
export type VoiceLoudness = number | null;

/** NVIDIA/personaplex@60620ab moshi/moshi/models/lm.py (`load_voice_prompt`). */
export const REFERENCE_LOUDNESS: VoiceLoudness = -24;

/** Longest recording: a prompt fills the model's memory, which is four minutes long. */
const MAX_VOICE_SECONDS = 60;
const SAMPLE_RATE = 24_000;
const RECORDING = '.wav';
const PUBLISHED = '.pt';

/** What voices need to know of the model beside its prompt. */
export type VoiceModel = PromptModel & {
  embeddingWidth: number | null;
  generatedCodebooks: number;
  heardCodebooks: number;
};

/** Files by name: those in `voices` beside the checkpoint, or in the published archive `voices.tgz`. */
export async function findVoices(
  context: CommandContext,
  checkpoint: string,
): Promise<ReadonlyMap<string, string>> {
  const folder = path.join(checkpoint, VOICES_FOLDER);
  const beside = await listVoices(folder);
  if (beside.size > 0) {
    return beside;
  }
  const archive = path.join(checkpoint, VOICES_ARCHIVE);
  const found = await stat(archive).catch(() => null);
  return found === null
    ? beside
    : listVoices(await unpackVoices(context, archive, `${found.size} ${found.mtimeMs}`));
}

/**
 * A voice by its name, or by the path of a file. Names come from a list, so that they reach no file but
 * those beside the model.
 *
 * @throws CommandError naming the voices that there are.
 */
export async function resolveVoice(
  context: CommandContext,
  checkpoint: string,
  wish: string,
): Promise<string> {
  if (wish.includes(path.sep) || [RECORDING, PUBLISHED].includes(path.extname(wish))) {
    return wish;
  }
  return namedVoice(await findVoices(context, checkpoint), wish);
}

/** @throws CommandError naming the voices that there are. */
export function namedVoice(voices: ReadonlyMap<string, string>, name: string): string {
  const file = voices.get(name);
  if (file === undefined) {
    const known = [...voices.keys()].join(', ');
    throw new CommandError(
      `there is no voice ${JSON.stringify(name)}: ` +
        (known === ''
          ? `this model has none, put recordings (.wav, .pt) into a folder "${VOICES_FOLDER}" beside it`
          : `this model has ${known}`),
    );
  }
  return file;
}

/**
 * @param file - A WAV of somebody speaking, or a `.pt` that NVIDIA's code saved for this model.
 * @throws CommandError, WavError or CheckpointError saying what is wrong with the file.
 */
export async function readVoice(
  context: CommandContext,
  model: VoiceModel,
  file: string,
  loudness: VoiceLoudness,
): Promise<PromptFrame[]> {
  if (path.extname(file) === PUBLISHED) {
    const { embeddings, ring } = await readRecordedVoice(file, {
      width: model.embeddingWidth ?? 0,
      streams: 1 + model.generatedCodebooks + model.heardCodebooks,
    });
    return recordedVoiceFrames(model, embeddings, ring);
  }
  const samples = normalizeVoice(await readSpeech(file), file, loudness);
  const { directory, device } = await buildGraphs(context, ['mimi-encode'], [1]);
  const codec = await openCodec({
    modelDirectory: directory,
    device,
    ...engineThreads(context.config.engine),
    directions: ['encode'],
  });
  try {
    const codes = cutFrames(samples, 'pad').map((frame) =>
      codec.encode(frame).slice(0, model.generatedCodebooks),
    );
    return voiceFrames(model, codes);
  } finally {
    codec.dispose();
  }
}

/** Samples at 24 kHz, as loud as the model's voices were when it was trained. */
function normalizeVoice(samples: Float32Array, file: string, wish: VoiceLoudness): Float32Array {
  const seconds = samples.length / SAMPLE_RATE;
  if (seconds > MAX_VOICE_SECONDS) {
    throw new CommandError(
      `the voice ${file} lasts ${seconds.toFixed(1)} s; about ten seconds are enough, ` +
        `${MAX_VOICE_SECONDS} the most`,
    );
  }
  if (wish === null) {
    return samples;
  }
  const loudness = integratedLoudness(samples, SAMPLE_RATE);
  if (loudness === null || loudness === Number.NEGATIVE_INFINITY) {
    throw new CommandError(
      `the loudness of the voice ${file} cannot be measured: ` +
        (loudness === null ? 'it is shorter than 400 ms' : 'it is silent'),
    );
  }
  const gain = loudnessGain(loudness, wish);
  return samples.map((sample) => sample * gain);
}

async function listVoices(folder: string): Promise<Map<string, string>> {
  const files = await readdir(folder).catch(() => []);
  return new Map(
    files
      .filter((file) => [RECORDING, PUBLISHED].includes(path.extname(file)))
      .sort()
      .map((file) => [path.parse(file).name, path.join(folder, file)]),
  );
}

/** Once per archive, into the cache: a checkpoint's folder may be read-only. */
async function unpackVoices(
  context: CommandContext,
  archive: string,
  version: string,
): Promise<string> {
  const digest = createHash('sha256')
    .update(`${path.resolve(archive)} ${version}`)
    .digest('hex');
  const parent = path.join(context.config.cacheDirectory, VOICES_FOLDER);
  const target = path.join(parent, digest.slice(0, 16));
  return inCache(parent, async () => {
    if ((await listVoices(target)).size > 0) {
      return target;
    }
    const draft = await mkdtemp(path.join(parent, '.draft-'));
    try {
      await mkdir(draft, { recursive: true });
      await extract({
        file: archive,
        cwd: draft,
        strip: 1,
        // Nothing but plain voices: no links, no folders.
        filter: (name, entry) =>
          'type' in entry && entry.type === 'File' && path.extname(name) === PUBLISHED,
      }).catch((cause: unknown) => {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new CommandError(`cannot unpack ${archive}: ${reason}`, { cause });
      });
      await rename(draft, target).catch(async (error: unknown) => {
        // Another process may have been faster.
        if ((await listVoices(target)).size === 0) throw error;
      });
      return target;
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  });
}
