/**
 * Reads the pieces of a SentencePiece model file.
 *
 * Field numbers: google/sentencepiece, src/sentencepiece_model.proto (ModelProto.pieces = 1;
 * SentencePiece.piece = 1, type = 3). Scores and training options are skipped: turning ids into
 * text needs neither.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { readFile } from 'node:fs/promises';
import { CheckpointError } from '../checkpoints/checkpoint-error.ts';
import type { VocabularyPiece } from '../manifest.ts';

const KINDS: Readonly<Record<number, VocabularyPiece['kind']>> = {
  1: 'normal',
  2: 'unknown',
  3: 'control',
  4: 'user',
  5: 'unused',
  6: 'byte',
};

/** @throws CheckpointError when the file is missing or no SentencePiece model. */
export async function readPieces(path: string): Promise<VocabularyPiece[]> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new CheckpointError(
      `Cannot read the tokenizer ${path}: copy it from where the checkpoint came from, or name it ` +
        `in config.json as tokenizer_name.`,
      { cause },
    );
  });
  let pieces: VocabularyPiece[];
  try {
    pieces = decodePieces(bytes);
  } catch (cause) {
    throw new CheckpointError(`${path} is not a SentencePiece model.`, { cause });
  }
  if (pieces.length === 0) throw new CheckpointError(`${path} holds no SentencePiece pieces.`);
  return pieces;
}

function decodePieces(bytes: Uint8Array): VocabularyPiece[] {
  const reader = new BinaryReader(bytes);
  const pieces: VocabularyPiece[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === WireType.LengthDelimited) {
      pieces.push(decodePiece(reader.bytes()));
    } else {
      reader.skip(wireType, field);
    }
  }
  return pieces;
}

function decodePiece(bytes: Uint8Array): VocabularyPiece {
  const reader = new BinaryReader(bytes);
  let piece = '';
  let type = 1;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === WireType.LengthDelimited) piece = reader.string();
    else if (field === 3 && wireType === WireType.Varint) type = reader.int32();
    else reader.skip(wireType, field);
  }
  const kind = KINDS[type];
  if (kind === undefined) throw new Error(`piece ${JSON.stringify(piece)} has type ${type}`);
  return { piece, kind };
}
