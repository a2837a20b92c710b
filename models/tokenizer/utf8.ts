/** UTF-8 as SentencePiece counts it (google/sentencepiece, src/util.h). */

/** Bytes of the character that begins with `first`; 1 for bytes that begin none. */
export function characterBytes(first: number): number {
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

/** Bytes of the well-formed character at `start`, or 0. */
function wellFormedBytes(bytes: readonly number[], start: number): number {
  const first = bytes[start] ?? 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = characterBytes(first);
  let codePoint = first & (0xff >> (length + 1));
  for (let at = start + 1; at < start + length; at += 1) {
    const next = bytes[at] ?? 0;
    if ((next & 0xc0) !== 0x80) return 0;
    codePoint = codePoint * 64 + (next & 0x3f);
  }
  const smallest = length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000;
  const isSurrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
  return codePoint >= smallest && codePoint <= 0x10ffff && !isSurrogate ? length : 0;
}

/** Keeps U+FEFF, which is no mark here but a character like others. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @throws TypeError for malformed UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  return UTF8.decode(bytes);
}

/** Every byte that belongs to no character becomes one U+FFFD. */
export function decodeBytes(bytes: readonly number[]): string {
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const length = wellFormedBytes(bytes, at);
    text += length === 0 ? '\ufffd' : decodeUtf8(Uint8Array.from(bytes.slice(at, at + length)));
    at += Math.max(length, 1);
  }
  return text;
}
