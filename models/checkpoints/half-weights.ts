/** A model whose products are computed in 16 bits, where a device's kernels do so. */
import type { LinearWeight } from './linear-weight.ts';
import type { HalfType, TensorView } from './safetensors.ts';
import type { WeightSource } from './weight-source.ts';

/**
 * The heads, whose products are logits: of 16 bits, several of the highest would be equal, and the first
 * of them would be drawn whichever it is.
 */
const HEADS = /^(text_linear|linears\.\d+|extra_heads\.\d+)\./;

/** The same weights, to be computed with in `type`: all but the heads. */
export class HalfWeights implements WeightSource {
  readonly path: string;
  readonly #source: WeightSource;
  readonly #type: HalfType;

  constructor(source: WeightSource, type: HalfType) {
    this.path = source.path;
    this.#source = source;
    this.#type = type;
  }

  has(name: string): boolean {
    return this.#source.has(name);
  }

  tensor(name: string, shape: readonly number[]): TensorView {
    return this.#computed(name, this.#source.tensor(name, shape));
  }

  matrix(name: string, shape: readonly [number, number]): LinearWeight {
    return this.#computed(name, this.#source.matrix(name, shape));
  }

  #computed<T extends LinearWeight>(name: string, weight: T): T {
    return HEADS.test(name) ? weight : { ...weight, computedIn: this.#type };
  }
}
