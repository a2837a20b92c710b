/** The 8-bit codes of telephone networks: ITU-T G.711. */

/** Returns the sample that a code stands for, full scale 1. */
export function decodeTelephone(law: 'a-law' | 'mu-law', code: number): number {
  return law === 'a-law' ? decodeALaw(code) : decodeMuLaw(code);
}

/** Every second bit is inverted on the line; sign, 3 bits of exponent, 4 of mantissa. */
function decodeALaw(code: number): number {
  const bits = code ^ 0x55;
  const exponent = (bits >> 4) & 7;
  const mantissa = ((bits & 15) << 4) + 8;
  const magnitude = exponent === 0 ? mantissa : (mantissa + 256) << (exponent - 1);
  return (bits & 0x80 ? magnitude : -magnitude) / 32_768;
}

/** All bits are inverted on the line; the bias of 132 makes the segments meet. */
function decodeMuLaw(code: number): number {
  const bits = ~code & 0xff;
  const magnitude = ((((bits & 15) << 3) + 132) << ((bits >> 4) & 7)) - 132;
  return (bits & 0x80 ? -magnitude : magnitude) / 32_768;
}
