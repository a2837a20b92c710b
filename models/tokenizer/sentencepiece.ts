/**
 * Reads SentencePiece model files.
 *
 * Field numbers and defaults: google/sentencepiece, src/sentencepiece_model.proto. Settings that only
 * training reads are skipped.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { readFile } from 'node:fs/promises';
import { CheckpointError } from '../checkpoints/checkpoint-error.ts';
import type { VocabularyPiece } from '../manifest.ts';
import { decodeUtf8 } from './utf8.ts';

const { Varint, LengthDelimited, Bit32 } = WireType;

const KINDS: Readonly<Record<number, VocabularyPiece['kind']>> = {
  1: 'normal',
  2: 'unknown',
  3: 'control',
  4: 'user',
  5: 'unused',
  6: 'byte',
};

const ALGORITHMS: Readonly<Record<number, SentencePieceModel['algorithm']>> = {
  1: 'unigram',
  2: 'byte-pair',
  3: 'word',
  4: 'character',
};

export type ScoredPiece = VocabularyPiece & {
  /** Log probability of unigram models; minus the rank of the merge in byte-pair models. */
  readonly score: number;
};

export type NormalizerSettings = {
  /** Rules that replace characters, or null for text taken as it is; see `CharacterRules`. */
  characterRules: Uint8Array | null;
  /** Whether text begins with a space, so that its first word is spelled like the others. */
  addDummyPrefix: boolean;
  /** Whether runs of spaces become one, and those at both ends vanish. */
  removeExtraSpaces: boolean;
  /** Whether spaces become U+2581. */
  escapeSpaces: boolean;
};

export type SentencePieceModel = {
  /** Indexed by token id. */
  readonly pieces: readonly ScoredPiece[];
  readonly algorithm: 'unigram' | 'byte-pair' | 'word' | 'character';
  /** Whether characters outside the vocabulary become one piece per UTF-8 byte. */
  readonly byteFallback: boolean;
  /** Whether the space of a word stands after it. */
  readonly spaceAsSuffix: boolean;
  /** What decoding makes of the unknown piece. */
  readonly unknownText: string;
  readonly normalizer: Readonly<NormalizerSettings>;
  /** Whether the model rewrites text after decoding, too. */
  readonly rewritesDecodedText: boolean;
};

/** @throws CheckpointError when the file is missing or no SentencePiece model. */
export async function readSentencePieceModel(path: string): Promise<SentencePieceModel> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new CheckpointError(
      `Cannot read the tokenizer ${path}: copy it from where the checkpoint came from, or name it ` +
        `in config.json as tokenizer_name.`,
      { cause },
    );
  });
  let model: SentencePieceModel;
  try {
    model = decodeModel(bytes);
  } catch (cause) {
    throw new CheckpointError(`${path} is not a SentencePiece model.`, { cause });
  }
  if (model.pieces.length === 0)
    throw new CheckpointError(`${path} holds no SentencePiece pieces.`);
  return model;
}

/** @throws when the bytes are no model; parts of a message that lie apart are merged, as protobuf says. */
export function decodeModel(bytes: Uint8Array): SentencePieceModel {
  const pieces: ScoredPiece[] = [];
  const trainer = {
    algorithm: 'unigram' as SentencePieceModel['algorithm'],
    byteFallback: false,
    spaceAsSuffix: false,
    unknownText: ' \u2047 ',
  };
  const trainerFields: Fields = {
    3: [Varint, (reader) => (trainer.algorithm = named(ALGORITHMS, reader.int32(), 'model_type'))],
    24: [Varint, (reader) => (trainer.spaceAsSuffix = reader.bool())],
    35: [Varint, (reader) => (trainer.byteFallback = reader.bool())],
    44: [LengthDelimited, (reader) => (trainer.unknownText = decodeUtf8(reader.bytes()))],
  };
  const normalizer = { ...DEFAULT_NORMALIZER };
  const denormalizer = { ...DEFAULT_NORMALIZER };
  readFields(bytes, {
    1: [LengthDelimited, (reader) => pieces.push(decodePiece(reader.bytes()))],
    2: [LengthDelimited, (reader) => readFields(reader.bytes(), trainerFields)],
    3: [LengthDelimited, (reader) => readFields(reader.bytes(), normalizerFields(normalizer))],
    5: [LengthDelimited, (reader) => readFields(reader.bytes(), normalizerFields(denormalizer))],
  });
  return {
    pieces,
    ...trainer,
    normalizer,
    rewritesDecodedText: denormalizer.characterRules !== null,
  };
}

const DEFAULT_NORMALIZER: Readonly<NormalizerSettings> = {
  characterRules: null,
  addDummyPrefix: true,
  removeExtraSpaces: true,
  escapeSpaces: true,
};

function normalizerFields(settings: NormalizerSettings): Fields {
  return {
    2: [
      LengthDelimited,
      (reader) => {
        const rules = reader.bytes();
        settings.characterRules = rules.length === 0 ? null : rules;
      },
    ],
    3: [Varint, (reader) => (settings.addDummyPrefix = reader.bool())],
    4: [Varint, (reader) => (settings.removeExtraSpaces = reader.bool())],
    5: [Varint, (reader) => (settings.escapeSpaces = reader.bool())],
  };
}

function decodePiece(bytes: Uint8Array): ScoredPiece {
  let piece = '';
  let score = 0;
  let type = 1;
  readFields(bytes, {
    1: [LengthDelimited, (reader) => (piece = decodeUtf8(reader.bytes()))],
    2: [Bit32, (reader) => (score = reader.float())],
    3: [Varint, (reader) => (type = reader.int32())],
  });
  return { piece, kind: named(KINDS, type, `the type of piece ${JSON.stringify(piece)}`), score };
}

/** How the fields of a message are written, and what becomes of them, by number. */
type Fields = Readonly<Record<number, readonly [WireType, (reader: BinaryReader) => unknown]>>;

/** Fields that are not asked for are skipped. */
function readFields(bytes: Uint8Array, fields: Fields): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const [expected, read] = fields[number] ?? [];
    if (read !== undefined && expected === wireType) read(reader);
    else reader.skip(wireType, number);
  }
}

function named<T>(names: Readonly<Record<number, T>>, value: number, what: string): T {
  const name = names[value];
  if (name === undefined) throw new Error(`${what} is ${value}`);
  return name;
}
