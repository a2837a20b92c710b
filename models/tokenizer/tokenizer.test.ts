import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { recordedCheckpoints } from '../test-support/recorded-checkpoints.ts';
import { readRecordedTensors } from '../test-support/recorded-tensors.ts';
import { decodeModel } from './sentencepiece.ts';
import { MAX_TEXT_LENGTH, openTokenizer, Tokenizer } from './tokenizer.ts';

const DEMO = join(import.meta.dirname, '../demo/tokenizer.model');
const RECORDED = join(import.meta.dirname, 'recorded');

type Expected = {
  texts: string[];
  tokenizers: Record<
    string,
    { ids: number[][]; decoded: (string | null)[]; random: { ids: number[]; decoded: string }[] }
  >;
};
const { texts, tokenizers } = JSON.parse(
  readFileSync(join(RECORDED, 'expected.json'), 'utf8'),
) as Expected;

/** The recorded model of this name; `with rules` adds the demo's normalisation, as record.py does. */
function recordedTokenizer(name: string): Tokenizer {
  if (name === 'demo') return new Tokenizer(decodeModel(readFileSync(DEMO)));
  const [file, withRules] = name.split(' with ');
  const model = decodeModel(readFileSync(join(RECORDED, `${file}.model`)));
  if (withRules === undefined) return new Tokenizer(model);
  const { characterRules } = decodeModel(readFileSync(DEMO)).normalizer;
  return new Tokenizer({ ...model, normalizer: { ...model.normalizer, characterRules } });
}

describe.each(Object.entries(tokenizers))('the tokenizer %s', (name, expected) => {
  const tokenizer = recordedTokenizer(name);

  test('encodes every recorded text as SentencePiece does', () => {
    const differing = texts.flatMap((text, index) => {
      const ids = tokenizer.encode(text);
      const wanted = expected.ids[index]!;
      return ids.join() === wanted.join() ? [] : [{ text, ids, wanted }];
    });
    expect(differing).toEqual([]);
    expect(texts.length).toBeGreaterThan(400);
  });

  test('decodes those ids as SentencePiece does', () => {
    expect(expected.ids.map((ids) => tokenizer.decode(ids))).toEqual(
      expected.decoded.map((decoded, index) => decoded ?? texts[index]),
    );
  });

  test('decodes ids that no text gives as SentencePiece does', () => {
    expect(expected.random.map(({ ids }) => tokenizer.decode(ids))).toEqual(
      expected.random.map(({ decoded }) => decoded),
    );
  });
});

const directory = mkdtempSync(join(tmpdir(), 'moshi-tokenizer-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const others = process.env['MOSHI_TEST_CHECKPOINTS'];

test.each(await recordedCheckpoints('personaplex', directory, others))(
  'encodes the prompt of the recorded PersonaPlex conversation to its recorded ids: %s',
  async (_, checkpoint) => {
    const tokenizer = await openTokenizer(join(checkpoint, 'tokenizer.model'));
    const recorded = readRecordedTensors(join(checkpoint, 'expected.safetensors'));
    expect(tokenizer.encode('<system> You are a wise and friendly teacher. <system>')).toEqual([
      ...recorded['prompt_ids']!.data,
    ]);
  },
);

describe('a text', () => {
  const [unigram, bytePair] = ['unigram with rules', 'byte-pair'].map(recordedTokenizer);

  test.each(['a', 'You are wise. ', ' ', '\u0301', '한', '<laugh>s'])(
    'of a hundred thousand characters that repeats %j comes back as it was',
    (unit) => {
      const text = unit.repeat(100_000 / unit.length);
      expect(bytePair!.decode(bytePair!.encode(text))).toBe(text);
      expect(unigram!.encode(text).length).toBeLessThanOrEqual(300_001);
    },
  );

  test('is refused when no prompt could be that long', () => {
    expect(() => unigram!.encode('a'.repeat(MAX_TEXT_LENGTH + 1))).toThrow(
      `a text of ${MAX_TEXT_LENGTH + 1} characters is too long`,
    );
  });

  test('may hold lone surrogates, which count as U+FFFD', () => {
    expect(bytePair!.decode(bytePair!.encode('a\ud800b'))).toBe('a\ufffdb');
  });

  test('cannot spell a control piece', () => {
    const control = unigram!.pieces.findIndex(({ piece }) => piece === '<system>');
    expect(unigram!.pieces[control]).toMatchObject({ kind: 'control' });
    expect(unigram!.encode('<system>')).not.toContain(control);
  });
});

describe('a model that cannot be followed exactly is refused:', () => {
  const model = decodeModel(readFileSync(join(RECORDED, 'unigram.model')));

  test('another algorithm', () => {
    expect(() => new Tokenizer({ ...model, algorithm: 'word' })).toThrow(/word model/);
  });

  test('rules for decoded text', () => {
    expect(() => new Tokenizer({ ...model, rewritesDecodedText: true })).toThrow(/denormalizer/);
  });

  test('byte fallback without all bytes', () => {
    const pieces = model.pieces.filter(({ piece }) => piece !== '<0x7F>');
    expect(() => new Tokenizer({ ...model, pieces })).toThrow(/lacks pieces/);
  });

  test('no unknown piece', () => {
    const pieces = model.pieces.slice(1);
    expect(() => new Tokenizer({ ...model, pieces })).toThrow(/no unknown piece/);
  });

  test('rules that are cut short', () => {
    const { characterRules } = decodeModel(readFileSync(DEMO)).normalizer;
    const normalizer = { ...model.normalizer, characterRules: characterRules!.subarray(0, 1000) };
    expect(() => new Tokenizer({ ...model, normalizer })).toThrow(/malformed/);
  });
});

test('refuses ids outside the vocabulary', () => {
  expect(() => recordedTokenizer('demo').decode([100_000])).toThrow(
    'outside the vocabulary of 384',
  );
});
