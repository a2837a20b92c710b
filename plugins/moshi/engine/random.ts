/**
 * The noise of sampling: a small seeded generator per conversation, so that a conversation can be
 * repeated and never depends on its neighbours.
 */

/**
 * sfc32 by Chris Doty-Humphrey (PractRand, version 4): 128 bits of state, passes PractRand and
 * BigCrush; the state is filled from a 32-bit seed by splitmix32 and stirred.
 */
export class RandomGenerator {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param seed - Its low 32 bits count. */
  constructor(seed: number) {
    const next = splitmix32(seed);
    this.#a = next();
    this.#b = next();
    this.#c = next();
    for (let stir = 0; stir < 12; stir += 1) {
      this.uint32();
    }
  }

  /** A generator that goes on with the same numbers. */
  clone(): RandomGenerator {
    const copy = new RandomGenerator(0);
    copy.#a = this.#a;
    copy.#b = this.#b;
    copy.#c = this.#c;
    copy.#counter = this.#counter;
    return copy;
  }

  /** Uniform in 0 … 2³² - 1. */
  uint32(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** One draw of Exp(1): above 0, so that dividing by it is safe. */
  exponential(): number {
    return -Math.log((this.uint32() + 0.5) / 0x1_0000_0000);
  }
}

/** splitmix32: the finaliser of MurmurHash3 over a Weyl sequence. */
function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x85ebca6b);
    mixed ^= mixed >>> 13;
    mixed = Math.imul(mixed, 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) | 0;
  };
}
