/** How far a transcript is from what was said: words to insert, delete or replace. */

const DIGITS = 'zero one two three four five six seven eight nine'.split(' ');

/** Spellings that are the same to whoever listens; as models/demo/train/word_errors.py. */
const SAME: readonly (readonly [string, string])[] = [
  ['favourite', 'favorite'],
  ['colour', 'color'],
  ["i'm", 'i am'],
  ["i'll", 'i will'],
  ["it's", 'it is'],
  ["that's", 'that is'],
  ["you're", 'you are'],
  ['cannot', 'can not'],
  ["can't", 'can not'],
  ["don't", 'do not'],
  ['alright', 'all right'],
  ['good bye', 'goodbye'],
];

export interface TranscriptErrors {
  words: number;
  errors: number;
  /** Errors over words; above 1 where more is written than was said. */
  rate: number;
  /** Transcripts without any. */
  right: number;
  transcripts: number;
}

/** @param pairs - What was said, and what was written of it. */
export function transcriptErrors(
  pairs: readonly { said: string; written: string }[],
): TranscriptErrors {
  let words = 0;
  let errors = 0;
  let right = 0;
  for (const { said, written } of pairs) {
    const expected = spokenWords(said);
    const mistakes = editDistance(expected, spokenWords(written));
    words += expected.length;
    errors += mistakes;
    right += mistakes === 0 ? 1 : 0;
  }
  return { words, errors, rate: errors / words, right, transcripts: pairs.length };
}

/** Lower case, without punctuation; digits and contractions spelt out. */
export function spokenWords(text: string): string[] {
  let plain = text.toLowerCase().replaceAll('’', "'").replaceAll('-', ' ');
  for (const [found, meant] of SAME) {
    plain = plain.replaceAll(new RegExp(`\\b${found}\\b`, 'g'), meant);
  }
  return plain
    .replaceAll(/(?<=\d)(?=\d)/g, ' ')
    .replaceAll(/[^a-z0-9' ]/g, ' ')
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => (/^\d$/.test(word) ? (DIGITS[Number(word)] ?? word) : word));
}

/** Words to insert, delete or replace (Levenshtein). */
export function editDistance(expected: readonly string[], found: readonly string[]): number {
  let row = Array.from({ length: found.length + 1 }, (_, index) => index);
  for (const [place, word] of expected.entries()) {
    const next = [place + 1];
    for (const [index, other] of found.entries()) {
      const replaced = (row[index] ?? 0) + (word === other ? 0 : 1);
      const inserted = (next[index] ?? 0) + 1;
      const deleted = (row[index + 1] ?? 0) + 1;
      next.push(Math.min(replaced, inserted, deleted));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
