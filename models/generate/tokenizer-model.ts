/**
 * A SentencePiece unigram model of any size: the special pieces and bytes where Kyutai's tokenizers
 * have them, the letters, and syllables up to the count.
 *
 * Field numbers: google/sentencepiece, src/sentencepiece_model.proto.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

type Piece = { readonly text: string; readonly kind: number };

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;
const SPACE = '\u2581';
/** Fewer pieces have no room for the bytes. */
const SMALLEST_WITH_BYTES = 400;
const CONSONANTS = ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'w'];
const VOWELS = ['a', 'e', 'i', 'o', 'u', 'ai', 'ou', 'an', 'er'];

const UNIGRAM = 1;

export function tokenizerModel(pieceCount: number): Uint8Array {
  const writer = new BinaryWriter();
  let index = 0;
  for (const { text, kind } of pieces(pieceCount)) {
    // Unigram scores are logarithms of probabilities; equal steps prefer what comes first.
    const score = kind === NORMAL ? -index / 1024 : 0;
    index += 1;
    const piece = new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .string(text)
      .tag(2, WireType.Bit32)
      .float(score);
    if (kind !== NORMAL) piece.tag(3, WireType.Varint).int32(kind);
    writer.tag(1, WireType.LengthDelimited).bytes(piece.finish());
  }
  const trainer = new BinaryWriter()
    .tag(3, WireType.Varint)
    .int32(UNIGRAM)
    .tag(4, WireType.Varint)
    .int32(pieceCount);
  trainer.tag(35, WireType.Varint).bool(pieceCount >= SMALLEST_WITH_BYTES);
  trainer
    .tag(40, WireType.Varint)
    .int32(0)
    .tag(41, WireType.Varint)
    .int32(1)
    .tag(42, WireType.Varint)
    .int32(2)
    .tag(43, WireType.Varint)
    .int32(3);
  writer.tag(2, WireType.LengthDelimited).bytes(trainer.finish());
  const normalizer = new BinaryWriter().tag(1, WireType.LengthDelimited).string('identity');
  normalizer
    .tag(3, WireType.Varint)
    .bool(true)
    .tag(4, WireType.Varint)
    .bool(true)
    .tag(5, WireType.Varint)
    .bool(true);
  writer.tag(3, WireType.LengthDelimited).bytes(normalizer.finish());
  return writer.finish();
}

function* pieces(count: number): Generator<Piece> {
  let made = 0;
  for (const piece of allPieces(count >= SMALLEST_WITH_BYTES)) {
    if (made === count) return;
    made += 1;
    yield piece;
  }
}

function* allPieces(withBytes: boolean): Generator<Piece> {
  yield { text: '<unk>', kind: UNKNOWN };
  for (const text of ['<s>', '</s>', '<pad>']) yield { text, kind: CONTROL };
  if (withBytes) {
    for (let byte = 0; byte < 256; byte += 1) {
      yield { text: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, kind: BYTE };
    }
  }
  yield { text: SPACE, kind: NORMAL };
  for (let code = 0x21; code < 0x7f; code += 1) {
    yield { text: String.fromCharCode(code), kind: NORMAL };
  }
  for (let syllables = 1; ; syllables += 1) {
    for (const word of words(syllables)) {
      yield { text: SPACE + word, kind: NORMAL };
      yield { text: word, kind: NORMAL };
    }
  }
}

function* words(syllables: number): Generator<string> {
  if (syllables === 0) {
    yield '';
    return;
  }
  for (const start of words(syllables - 1)) {
    for (const consonant of CONSONANTS) {
      for (const vowel of VOWELS) yield start + consonant + vowel;
    }
  }
}
