/** Compares what a built model computes with what a reference recorded, one function per kind. */
import path from 'node:path';
import { openCodec, openRunner } from '../../plugins/moshi/engine/runner.ts';
import {
  systemPrompt,
  voiceFrames,
  type PromptModel,
} from '../../plugins/moshi/engine/prompts/system-prompt.ts';
import { FRAME_SAMPLES } from '../../plugins/moshi/protocol/messages.ts';
import { HeardFrames } from '../commands/speech/heard-frames.ts';
import { buildModel } from '../../models/build.ts';
import { readLanguageModelConfig } from '../../models/checkpoints/language-model-config.ts';
import type { FixtureName } from '../../models/fixtures/fixture.ts';
import type { ModelManifest } from '../../models/manifest.ts';
import { GraphSession, greedyFeed, type Feed } from '../../models/test-support/graph-session.ts';
import {
  endLike,
  largestDifference,
  normalizedError,
  readRecordedTensors,
  type RecordedTensor,
} from '../../models/test-support/recorded-tensors.ts';

export type ParityFigures = {
  tokensCompared: number;
  tokensEqual: number;
  /**
   * Of the tokens that differ, those whose logit is behind the best by no more than a part of 1e-3 of
   * the largest: arithmetic noise may decide them (quantised layouts).
   */
  nearTies: number;
  /** Normalised mean square errors; null where nothing was recorded. */
  hiddenError: number | null;
  textLogitsError: number | null;
  audioLogitsError: number | null;
  codesCompared: number;
  codesEqual: number;
  /** Largest differences: of samples as parts of the recorded peak (of full scale below it). */
  decodedDifference: number | null;
  voiceDifference: number | null;
  pausesDifference: number | null;
};

type Built = { directory: string; manifest: ModelManifest };
type Recording = {
  /** Steps by which the streams are late: text, then codebooks. */
  readonly delays: readonly number[];
  readonly tensors: Readonly<Record<string, RecordedTensor>>;
  /** Recorded [rows, columns] as one array per column. */
  readonly columns: (name: string) => number[][];
  /** Recorded samples in frames of 80 ms. */
  readonly frames: (name: string) => Float32Array[];
};

const NEAR_TIE = 1e-3;

const COMPARISONS: Readonly<
  Record<FixtureName, (built: Built, recording: Recording) => Promise<Partial<ParityFigures>>>
> = {
  moshi: compareConversation,
  stt: compareTranscription,
  hibiki: compareTranslation,
  personaplex: comparePersona,
};

/** @param outputDirectory - For the graphs. */
export async function compareCheckpoint(
  kind: FixtureName,
  checkpoint: string,
  outputDirectory: string,
): Promise<ParityFigures> {
  const { delays } = await readLanguageModelConfig(checkpoint);
  const file = path.join(checkpoint, 'expected.safetensors');
  const recording = { delays, ...openRecording(file) };
  const built = await buildModel({
    checkpoint,
    outputDirectory,
    batches: [1],
    kinds: ['frame', 'mimi-encode', ...(kind === 'stt' ? [] : ['mimi-decode' as const])],
    precision: 'f32',
    probes: true,
  });
  return {
    tokensCompared: 0,
    tokensEqual: 0,
    nearTies: 0,
    hiddenError: null,
    textLogitsError: null,
    audioLogitsError: null,
    codesCompared: 0,
    codesEqual: 0,
    decodedDifference: null,
    voiceDifference: null,
    pausesDifference: null,
    ...(await COMPARISONS[kind](built, recording)),
    ...(await compareCodec(built, recording)),
  };
}

function openRecording(file: string): Omit<Recording, 'delays'> {
  const tensors = readRecordedTensors(file);
  const required = (name: string): RecordedTensor => {
    const tensor = tensors[name];
    if (tensor === undefined) {
      throw new Error(`${file} has no tensor ${name}`);
    }
    return tensor;
  };
  return {
    tensors,
    columns: (name) => {
      const { data, shape } = required(name);
      const [rows = 0, columns = 0] = shape;
      return Array.from({ length: columns }, (_, column) =>
        Array.from({ length: rows }, (__, row) => data[row * columns + column] ?? Number.NaN),
      );
    },
    frames: (name) => {
      const samples = Float32Array.from(required(name).data);
      return Array.from({ length: Math.floor(samples.length / FRAME_SAMPLES) }, (_, frame) =>
        samples.slice(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES),
      );
    },
  };
}

/** Outputs of all steps one after the other. */
class Gathered {
  readonly #values = new Map<string, number[]>();

  add(name: string, values: ArrayLike<number | bigint> | undefined): void {
    const all = this.#values.get(name) ?? [];
    for (const value of Array.from(values ?? [])) {
      all.push(Number(value));
    }
    this.#values.set(name, all);
  }

  error(name: string, recorded: RecordedTensor | undefined): number | null {
    return recorded === undefined
      ? null
      : normalizedError(endLike(this.#values.get(name) ?? [], recorded), recorded.data);
  }

  difference(name: string, recorded: RecordedTensor | undefined): number | null {
    if (recorded === undefined) {
      return null;
    }
    const peak = recorded.data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1);
    const actual = endLike(this.#values.get(name) ?? [], recorded);
    return largestDifference(actual, recorded.data) / peak;
  }
}

/**
 * Every step is given the recorded tokens of the steps before, so that each choice is compared alone,
 * whatever became of a near-tie before it.
 */
async function compareConversation(
  { directory, manifest }: Built,
  { delays, tensors, columns, frames }: Recording,
): Promise<Partial<ParityFigures>> {
  const tokens = columns('tokens');
  const gathered = new Gathered();
  let [tokensCompared, tokensEqual, nearTies] = [0, 0, 0];
  const { maxDelay, generatedCodebooks, heardCodebooks, audioCard } = manifest;
  const session = await GraphSession.open({ directory, manifest }, 'frame', 1);
  for (const [frame, pcm] of frames('input_pcm').entries()) {
    const drawn = Array.from(
      { length: 1 + generatedCodebooks },
      (_, stream) => tokens[frame - (delays[stream] ?? 0)]?.[stream] ?? -1,
    );
    const result = await session.step({
      ...greedyFeed(session.graph, frame, pcm),
      forced_text: drawn.slice(0, 1),
      forced_codes: [...drawn.slice(1), ...Array<number>(heardCodebooks).fill(-1)],
    });
    for (const name of ['hidden', 'text_logits', 'audio_logits']) {
      gathered.add(name, result[name]);
    }
    if (frame >= maxDelay) {
      gathered.add('pcm_out', result['pcm_out']);
    }
    const audio = Array.from(result['audio_logits'] ?? [], Number);
    for (const [stream, token] of drawn.entries()) {
      if (token < 0) {
        continue;
      }
      const logits =
        stream === 0
          ? Array.from(result['text_logits'] ?? [], Number)
          : audio.slice((stream - 1) * audioCard, stream * audioCard);
      const best = Math.max(...logits);
      const behind = best - (logits[token] ?? Number.NaN);
      tokensCompared += 1;
      if (behind === 0) {
        tokensEqual += 1;
      } else if (behind <= NEAR_TIE * Math.max(...logits.map(Math.abs))) {
        nearTies += 1;
      }
    }
  }
  await session.close();
  return {
    tokensCompared,
    tokensEqual,
    nearTies,
    hiddenError: gathered.error('hidden', tensors['hidden']),
    textLogitsError: gathered.error('text_logits', tensors['text_logits']),
    audioLogitsError: gathered.error(
      'audio_logits',
      Object.entries(tensors).find(([name]) => name.startsWith('audio_logits'))?.[1],
    ),
    voiceDifference: gathered.difference('pcm_out', tensors['output_pcm']),
  };
}

/** Silence around the speech, the first frame twice: nothing is heard in the first step. */
async function compareTranscription(
  { directory, manifest }: Built,
  { tensors }: Recording,
): Promise<Partial<ParityFigures>> {
  const { transcription, frameSamples } = manifest;
  if (transcription === null) {
    throw new Error('the graphs are not of a model that transcribes');
  }
  const speech = Float32Array.from(tensors['input_pcm']?.data ?? []);
  const heard = new HeardFrames(transcription, frameSamples, speech);
  const session = await GraphSession.open({ directory, manifest }, 'frame', 1);
  const gathered = new Gathered();
  const tokens: number[][] = [];
  for (let step = 0; step < heard.length; step += 1) {
    const result = await session.step(greedyFeed(session.graph, step, heard.frame(step)));
    tokens.push(Array.from(result['text_token'] ?? [], Number));
    for (const name of ['hidden', 'text_logits', 'pauses']) {
      gathered.add(name, result[name]);
    }
  }
  await session.close();
  const { data = new Float64Array() } = tensors['tokens'] ?? {};
  return {
    ...countEqual(
      tokens,
      Array.from(data, (token) => [token]),
    ),
    hiddenError: gathered.error('hidden', tensors['hidden']),
    textLogitsError: gathered.error('text_logits', tensors['text_logits']),
    pausesDifference: gathered.difference('pauses', tensors['vad']),
  };
}

/** Default conditions and guidance; the first frame twice. */
async function compareTranslation(
  { directory, manifest }: Built,
  { tensors, columns, frames }: Recording,
): Promise<Partial<ParityFigures>> {
  const session = await GraphSession.open({ directory, manifest }, 'frame', 1);
  const defaults: Feed = {
    ...(manifest.guidance !== null && { guidance: [manifest.guidance] }),
    ...Object.fromEntries(
      manifest.conditions.map(({ name, default: choice }) => [`condition_${name}`, [choice]]),
    ),
  };
  const gathered = new Gathered();
  const tokens: number[][] = [];
  const speech = frames('input_pcm');
  for (const [step, pcm] of [...speech.slice(0, 1), ...speech].entries()) {
    const result = await session.step({ ...greedyFeed(session.graph, step, pcm), ...defaults });
    if (step >= manifest.maxDelay) {
      tokens.push(Array.from(result['frame_tokens'] ?? [], Number));
      gathered.add('pcm_out', result['pcm_out']);
    }
  }
  await session.close();
  return {
    ...countEqual(tokens, columns('tokens')),
    voiceDifference: gathered.difference('pcm_out', tensors['output_pcm']),
  };
}

/** Voice, text and silence as the model is prompted; the last frame of the speech stays unheard. */
async function comparePersona(
  { directory, manifest }: Built,
  { tensors, columns, frames }: Recording,
): Promise<Partial<ParityFigures>> {
  const runner = await openRunner({ modelDirectory: directory });
  try {
    const model = manifest as PromptModel;
    const prompt = systemPrompt(
      model,
      voiceFrames(model, columns('voice_codes')),
      Array.from(tensors['prompt_ids']?.data ?? []),
    );
    const sampling = { textTemperature: 0, audioTemperature: 0 };
    const first = runner.start(0, { sampling, prompt });
    const tokens = [
      first?.frameTokens ?? [],
      ...frames('input_pcm')
        .slice(0, -1)
        .map((pcm) => runner.step([{ row: 0, pcm }])[0]?.frameTokens ?? []),
    ];
    return countEqual(tokens, columns('tokens'));
  } finally {
    runner.dispose();
  }
}

async function compareCodec(
  { directory }: Built,
  { tensors, columns, frames }: Recording,
): Promise<Partial<ParityFigures>> {
  if (tensors['mimi_codes'] === undefined) {
    return {};
  }
  const recorded = columns('mimi_codes');
  const codec = await openCodec({ modelDirectory: directory });
  try {
    const codes = frames('input_pcm').map((pcm) => codec.encode(pcm));
    const decoded = new Gathered();
    for (const column of recorded) {
      decoded.add('pcm', codec.decode(column));
    }
    const { tokensCompared, tokensEqual } = countEqual(codes, recorded);
    return {
      codesCompared: tokensCompared,
      codesEqual: tokensEqual,
      decodedDifference: decoded.difference('pcm', tensors['mimi_decoded']),
    };
  } finally {
    codec.dispose();
  }
}

function countEqual(
  actual: readonly (readonly number[])[],
  expected: readonly (readonly number[])[],
): Pick<ParityFigures, 'tokensCompared' | 'tokensEqual'> {
  const pairs = expected.flatMap((column, index) =>
    column.map((token, row) => token === actual[index]?.[row]),
  );
  return { tokensCompared: pairs.length, tokensEqual: pairs.filter(Boolean).length };
}
