/** How well speech recognition understands a model's voice: Whisper, by a Python that has it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { REPOSITORY_DIRECTORY } from '../../../config.ts';
import { CommandError } from '../../command-context.ts';
import { writeWav } from '../../wav/wav.ts';

export interface WordErrors {
  files: number;
  words: number;
  /** Insertions, deletions and replacements over words. */
  rate: number;
}

export interface SpokenText {
  said: string;
  /** Frames at 24 kHz. */
  voice: readonly Float32Array[];
}

const SCRIPT = path.join(REPOSITORY_DIRECTORY, 'models/demo/train/word_errors.py');
const MOST_FILES = 120;
const TIMEOUT_MS = 600_000;
const result = z.object({ files: z.number(), words: z.number(), rate: z.number() });

/**
 * @param python - With faster-whisper and the model of models/demo/train/requirements.txt.
 * @throws CommandError if it cannot transcribe.
 */
export async function countWordErrors(
  python: string,
  spoken: readonly SpokenText[],
): Promise<WordErrors> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-words-'));
  try {
    const stride = Math.max(1, Math.ceil(spoken.length / MOST_FILES));
    const chosen = spoken.filter((_, index) => index % stride === 0);
    for (const [index, { voice }] of chosen.entries()) {
      const samples = Float32Array.from(voice.flatMap((frame) => [...frame]));
      await writeWav(path.join(folder, `${index}.wav`), { sampleRate: 24_000, samples });
    }
    const said = chosen.map((one) => one.said);
    await writeFile(path.join(folder, 'said.json'), JSON.stringify(said));
    const { stdout } = await promisify(execFile)(python, [SCRIPT, folder], {
      timeout: TIMEOUT_MS,
    }).catch((error: unknown) => {
      throw new CommandError(`${python} cannot transcribe with models/demo/train/word_errors.py`, {
        cause: error,
      });
    });
    return result.parse(JSON.parse(stdout));
  } finally {
    await rm(folder, { recursive: true });
  }
}
