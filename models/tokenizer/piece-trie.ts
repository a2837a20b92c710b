/** Pieces by their UTF-8 bytes: finds those that a text continues with, one byte at a time. */

export const ROOT = 0;

export class PieceTrie {
  /** Child node by parent node * 256 + byte. */
  readonly #children = new Map<number, number>();
  /** Token id by node; -1 where no piece ends. */
  readonly #ids: number[] = [-1];

  /** Adds a piece; the first of two equal ones stays. */
  add(piece: Uint8Array, id: number): void {
    let node = ROOT;
    for (const byte of piece) {
      const key = node * 256 + byte;
      let child = this.#children.get(key);
      if (child === undefined) {
        child = this.#ids.push(-1) - 1;
        this.#children.set(key, child);
      }
      node = child;
    }
    if (this.#ids[node] === -1) this.#ids[node] = id;
  }

  /** The node that `byte` leads to, or -1. */
  step(node: number, byte: number): number {
    return this.#children.get(node * 256 + byte) ?? -1;
  }

  /** Id of the piece that ends in a node, or -1. */
  idAt(node: number): number {
    return this.#ids[node] ?? -1;
  }

  /** Id of the piece that is spelled `bytes[start..end)`, or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    let node = ROOT;
    for (let at = start; at < end && node !== -1; at += 1) node = this.step(node, bytes[at] ?? 0);
    return node === -1 ? -1 : this.idAt(node);
  }

  /** Bytes of the longest piece that the text continues with at `start`; 0 if none. */
  longestPrefix(bytes: Uint8Array, start: number): number {
    let length = 0;
    let node = ROOT;
    for (let at = start; at < bytes.length; at += 1) {
      node = this.step(node, bytes[at] ?? 0);
      if (node === -1) break;
      if (this.idAt(node) !== -1) length = at + 1 - start;
    }
    return length;
  }
}
