/** What graphs ask for a model's tensors, wherever and however a checkpoint keeps them. */
import { CheckpointError } from './checkpoint-error.ts';
import { isBlockMatrix, type LinearWeight } from './linear-weight.ts';
import type { TensorView } from './safetensors.ts';

/** Tensors under the names of Kyutai's PyTorch layout. */
export type WeightSource = {
  /** The checkpoint's file, for messages. */
  readonly path: string;
  has(name: string): boolean;
  /** @throws CheckpointError when there is no such tensor or its shape is not `shape`. */
  tensor(name: string, shape: readonly number[]): TensorView;
  /** The matrix [out, in] of a linear layer, which may be in blocks; errors as for `tensor`. */
  matrix(name: string, shape: readonly [number, number]): LinearWeight;
};

/** Tensors that a layout finds under other names than those of the file. */
export class TranslatedWeights implements WeightSource {
  readonly path: string;
  readonly #layout: string;
  readonly #views: ReadonlyMap<string, LinearWeight>;

  constructor(path: string, layout: string, views: Iterable<readonly [string, LinearWeight]>) {
    this.path = path;
    this.#layout = layout;
    this.#views = new Map(views);
  }

  has(name: string): boolean {
    return this.#views.has(name);
  }

  tensor(name: string, shape: readonly number[]): TensorView {
    const view = this.#find(name, shape);
    if (isBlockMatrix(view)) {
      throw new CheckpointError(`${this.path}: tensor ${name} must not be quantised.`);
    }
    return view;
  }

  matrix(name: string, shape: readonly [number, number]): LinearWeight {
    return this.#find(name, shape);
  }

  #find(name: string, shape: readonly number[]): LinearWeight {
    const view = this.#views.get(name);
    if (view === undefined) {
      throw new CheckpointError(
        `${this.path}: there is no tensor ${name} (its name in the PyTorch layout; ` +
          `the file is in the ${this.#layout} layout).`,
      );
    }
    checkShape(this.path, view, shape);
    return view;
  }
}

/** @throws CheckpointError naming the file, the tensor, and both shapes when they differ. */
export function checkShape(
  path: string,
  view: Pick<TensorView, 'name' | 'shape'>,
  shape: readonly number[],
): void {
  if (view.shape.length === shape.length && view.shape.every((size, i) => size === shape[i])) {
    return;
  }
  throw new CheckpointError(
    `${path}: tensor ${view.name} has shape [${view.shape.join(', ')}], ` +
      `the configuration asks for [${shape.join(', ')}].`,
  );
}
