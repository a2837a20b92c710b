/** Tensors as ONNX Runtime sees them. */
import type { CApi } from './c-api.ts';
import { ELEMENT_TYPES, rowBytes, type RowLayout } from './tensor.ts';

/** An OrtValue [rows, ...rowShape] over memory that it does not own. */
export function wrapMemory(
  api: CApi,
  memory: bigint,
  { address, layout, rows }: { address: bigint; layout: RowLayout; rows: number },
): bigint {
  const shape = BigInt64Array.from([rows, ...layout.rowShape], BigInt);
  return api.create(
    'CreateTensorWithDataAsOrtValue',
    memory,
    address,
    rowBytes(layout) * rows,
    shape,
    shape.length,
    ELEMENT_TYPES[layout.type],
  );
}
