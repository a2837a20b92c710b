/** What graphs ask for a model's tensors, wherever and however a checkpoint keeps them. */
import { CheckpointError } from './checkpoint-error.ts';
import type { TensorView } from './safetensors.ts';

/** Tensors under the names of Kyutai's PyTorch layout. */
export type WeightSource = {
  /** The checkpoint's file, for messages. */
  readonly path: string;
  has(name: string): boolean;
  /** @throws CheckpointError when there is no such tensor or its shape is not `shape`. */
  tensor(name: string, shape: readonly number[]): TensorView;
};

/** Tensors that a layout finds under other names than those of the file. */
export class TranslatedWeights implements WeightSource {
  readonly path: string;
  readonly #layout: string;
  readonly #views: ReadonlyMap<string, TensorView>;

  constructor(path: string, layout: string, views: Iterable<readonly [string, TensorView]>) {
    this.path = path;
    this.#layout = layout;
    this.#views = new Map(views);
  }

  has(name: string): boolean {
    return this.#views.has(name);
  }

  tensor(name: string, shape: readonly number[]): TensorView {
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
export function checkShape(path: string, view: TensorView, shape: readonly number[]): void {
  if (view.shape.length === shape.length && view.shape.every((size, i) => size === shape[i])) {
    return;
  }
  throw new CheckpointError(
    `${path}: tensor ${view.name} has shape [${view.shape.join(', ')}], ` +
      `the configuration asks for [${shape.join(', ')}].`,
  );
}
