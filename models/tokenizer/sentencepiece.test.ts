import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readSentencePieceModel } from './sentencepiece.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-tokenizer-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('reads the pieces of the demo in the order of their ids', async () => {
  const { pieces } = await readSentencePieceModel(
    join(import.meta.dirname, '../demo/tokenizer.model'),
  );
  expect(pieces[0]).toEqual({ piece: '<unk>', kind: 'unknown', score: 0 });
  expect(pieces[1]).toMatchObject({ kind: 'control' });
  expect(pieces.some(({ piece, kind }) => kind === 'normal' && piece.startsWith('\u2581'))).toBe(
    true,
  );
  expect(
    pieces
      .filter(({ kind }) => kind === 'byte')
      .every(({ piece }) => /^<0x[0-9A-F]{2}>$/.test(piece)),
  ).toBe(true);
});

test('refuses what is no SentencePiece model', async () => {
  const path = join(directory, 'other.model');
  writeFileSync(path, 'this is a text file, not a protobuf message');
  await expect(readSentencePieceModel(path)).rejects.toThrow(/SentencePiece/);
  writeFileSync(path, '');
  await expect(readSentencePieceModel(path)).rejects.toThrow('holds no SentencePiece pieces');
  await expect(readSentencePieceModel(join(directory, 'missing'))).rejects.toThrow(
    'Cannot read the tokenizer',
  );
});
