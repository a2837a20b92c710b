/** What an evaluation of the demo model asks it: recordings, and the closed set of lines it may say. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CommandError } from '../../command-context.ts';
import { readSpeech } from '../../wav/speech-file.ts';

const clipFields = {
  file: z.string().min(1),
  /** Of the recording's end: nothing is heard any more. */
  tailMs: z.number().nonnegative(),
  text: z.string(),
  voice: z.string(),
};

const indexSchema = z.object({
  lines: z.record(z.string(), z.string().min(1)),
  greeting: z.string(),
  fallback: z.string(),
  /** Lines that may be said without a question. */
  unprompted: z.array(z.string()),
  /** The line that a long turn of the caller gets while it lasts. */
  backchannel: z.string(),
  clips: z.array(
    z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('question'),
        ...clipFields,
        /** The line that answers it. */
        line: z.string(),
        seenVoice: z.boolean(),
        seenWording: z.boolean(),
      }),
      z.object({ kind: z.literal('distant'), ...clipFields }),
      /** A person's own voice, who says nothing that the model could answer. */
      z.object({ kind: z.literal('human'), ...clipFields }),
    ]),
  ),
});

type Index = z.infer<typeof indexSchema>;
type Recorded<T> = T & {
  /** 24 kHz, peak 1. */
  samples: Float32Array;
  /** Where the speech ends. */
  speechSamples: number;
};
export type QuestionClip = Recorded<Extract<Index['clips'][number], { kind: 'question' }>>;
export type DistantClip = Recorded<Extract<Index['clips'][number], { kind: 'distant' }>>;

export interface EvaluationAudio extends Omit<Index, 'clips'> {
  questions: QuestionClip[];
  /** Recordings of people, whose right answer is the fallback. */
  human: QuestionClip[];
  distant: DistantClip[];
}

const SAMPLES_PER_MS = 24;

/**
 * Reads a folder that `models/demo/train/evaluation_audio.py` wrote.
 *
 * @throws CommandError if its index cannot be used, WavError if a recording cannot.
 */
export async function readEvaluationAudio(directory: string): Promise<EvaluationAudio> {
  const file = path.join(directory, 'index.json');
  const parsed = indexSchema.safeParse(
    await readFile(file, 'utf8')
      .then((text): unknown => JSON.parse(text))
      .catch((error: unknown) => {
        throw new CommandError(
          `cannot read ${file}: make the folder with models/demo/train/evaluation_audio.py`,
          { cause: error },
        );
      }),
  );
  if (!parsed.success) {
    throw new CommandError(`${file}: ${z.prettifyError(parsed.error)}`);
  }
  const { clips, ...index } = parsed.data;
  const unknown = [
    index.greeting,
    index.fallback,
    ...index.unprompted,
    index.backchannel,
    ...clips.flatMap((clip) => (clip.kind === 'question' ? [clip.line] : [])),
  ].find((line) => !(line in index.lines));
  if (unknown !== undefined) {
    throw new CommandError(`${file} names a line "${unknown}" that is not among its lines`);
  }
  const recorded = await Promise.all(
    clips.map(async (clip) => {
      const samples = await readSpeech(path.join(directory, clip.file));
      const speechSamples = Math.max(1, samples.length - Math.round(clip.tailMs * SAMPLES_PER_MS));
      return { ...clip, samples, speechSamples };
    }),
  );
  const questions = recorded.filter((clip): clip is QuestionClip => clip.kind === 'question');
  const human = recorded
    .filter((clip) => clip.kind === 'human')
    .map((clip): QuestionClip => {
      const unknown = { line: index.fallback, seenVoice: false, seenWording: false };
      return { ...clip, kind: 'question', ...unknown };
    });
  const distant = recorded.filter((clip): clip is DistantClip => clip.kind === 'distant');
  if (questions.length === 0 || distant.length === 0) {
    throw new CommandError(`${file} needs clips of both kinds, "question" and "distant"`);
  }
  return { ...index, questions, human, distant };
}
