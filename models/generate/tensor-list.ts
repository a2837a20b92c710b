/** What a generated weight file holds, and how a list of it is gathered. */
import type { Distribution } from './random-values.ts';

export type GeneratedTensor = Distribution & {
  readonly name: string;
  readonly shape: readonly number[];
  /** Names the numbers: tensors that share a stream hold pieces of one larger tensor. */
  readonly stream: string;
  /** First element of the stream. */
  readonly start: number;
};

/** Names that files of different ages use for the same weights. */
export type Spelling = 'packed' | 'separate';

/** Deviations that keep activations near 1 and attention neither flat nor one-sided. */
const NORM: Distribution = { mean: 1, deviation: 0.2 };
const BIAS: Distribution = { mean: 0, deviation: 0.02 };

export class TensorList {
  readonly tensors: GeneratedTensor[] = [];
  readonly #spelling: Spelling;

  constructor(spelling: Spelling) {
    this.#spelling = spelling;
  }

  add(name: string, shape: readonly number[], distribution: Distribution): void {
    this.tensors.push({ name, shape, ...distribution, stream: name, start: 0 });
  }

  /** The same numbers under the name that the spelling asks for. */
  addSpelled(
    names: Readonly<Record<Spelling, string>>,
    shape: readonly number[],
    distribution: Distribution,
  ): void {
    const name = names[this.#spelling];
    this.tensors.push({ name, shape, ...distribution, stream: names.packed, start: 0 });
  }

  /** Outputs of about `gain` for inputs of 1; shape [outputs, ...inputs]. */
  addLinear(name: string, shape: readonly number[], gain: number): void {
    this.add(name, shape, { mean: 0, deviation: gain / Math.sqrt(fanIn(shape)) });
  }

  addBias(name: string, width: number): void {
    this.add(name, [width], BIAS);
  }

  /** RMS norms keep one `alpha` [1, 1, D]; layer norms `weight` and `bias` [D]. */
  addNorm(prefix: string, norm: string, width: number): void {
    if (norm.startsWith('rms_norm')) {
      this.add(`${prefix}.alpha`, [1, 1, width], NORM);
    } else {
      this.add(`${prefix}.weight`, [width], NORM);
      this.addBias(`${prefix}.bias`, width);
    }
  }

  /**
   * Fused projection and output of `sets` sets of weights: one after the other in one tensor, or one
   * tensor each.
   * @param rows - Of the fused projection: queries, keys and values.
   */
  addAttention(
    prefix: string,
    { rows, width, sets, gain }: { rows: number; width: number; sets: number; gain: number },
  ): void {
    this.#addSets(`${prefix}.in_proj_weight`, `${prefix}.in_projs`, [rows, width], sets, gain);
    this.#addSets(`${prefix}.out_proj.weight`, `${prefix}.out_projs`, [width, width], sets, gain);
  }

  #addSets(
    packed: string,
    separate: string,
    [rows, columns]: readonly [number, number],
    sets: number,
    gain: number,
  ): void {
    if (this.#spelling === 'packed') {
      this.addLinear(packed, [sets * rows, columns], gain);
      return;
    }
    const distribution = { mean: 0, deviation: gain / Math.sqrt(columns) };
    for (let set = 0; set < sets; set += 1) {
      this.tensors.push({
        name: `${separate}.${set}.weight`,
        shape: [rows, columns],
        ...distribution,
        stream: packed,
        start: set * rows * columns,
      });
    }
  }
}

function fanIn(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}
