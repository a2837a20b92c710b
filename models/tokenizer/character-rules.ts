/**
 * The rules by which a SentencePiece model replaces characters before it splits text, for example
 * NFKC: `<trie size, u32 LE><trie><replacements, each ended by NUL>`.
 *
 * The trie is a double array of 32-bit units as darts-clone lays it out (s-yata/darts-clone,
 * include/darts.h, `DoubleArrayUnit`): it holds what is replaced, and at its leaves offsets of what
 * replaces it.
 */
import { CheckpointError } from '../checkpoints/checkpoint-error.ts';

const UNIT_BYTES = 4;

export class CharacterRules {
  readonly #units: Uint32Array;
  readonly #replacements: Uint8Array;

  /** @throws CheckpointError when the rules are cut short. */
  constructor(blob: Uint8Array) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const trieBytes = blob.length < UNIT_BYTES ? NaN : view.getUint32(0, true);
    const trieEnd = UNIT_BYTES + trieBytes;
    if (!(trieEnd <= blob.length) || trieBytes % UNIT_BYTES !== 0) {
      throw new CheckpointError(
        `The tokenizer's normalisation rules (precompiled_charsmap) are malformed.`,
      );
    }
    this.#units = Uint32Array.from({ length: trieBytes / UNIT_BYTES }, (_, index) =>
      view.getUint32(UNIT_BYTES * (index + 1), true),
    );
    this.#replacements = blob.subarray(trieEnd);
  }

  /** The longest rule for the text at `start`: how many bytes it takes and what they become. */
  match(text: Uint8Array, start: number): { length: number; replacement: Uint8Array } | null {
    let length = 0;
    let value = 0;
    let node = childOffset(this.#units[0] ?? 0);
    for (let at = start; at < text.length; at += 1) {
      const byte = text[at] ?? 0;
      node ^= byte;
      const unit = this.#units[node];
      if (unit === undefined || label(unit) !== byte) break;
      node ^= childOffset(unit);
      if (hasLeaf(unit)) {
        length = at + 1 - start;
        value = (this.#units[node] ?? 0) & 0x7fffffff;
      }
    }
    if (length === 0) return null;
    const end = this.#replacements.indexOf(0, value);
    const replacement = this.#replacements.subarray(value, end === -1 ? undefined : end);
    return { length, replacement };
  }
}

/** Distance from a node to its children, combined by exclusive or. */
function childOffset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/** The byte that leads to this unit; above 255 for leaves, which no byte leads to. */
function label(unit: number): number {
  return (unit & 0x800000ff) >>> 0;
}

function hasLeaf(unit: number): boolean {
  return (unit & 0x100) !== 0;
}
