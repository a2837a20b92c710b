/**
 * Element types that our graphs use, with ONNX's codes (`onnx.proto`, TensorProto.DataType).
 */
export const DATA_TYPES = {
  float32: { code: 1, bytes: 4 },
  uint8: { code: 2, bytes: 1 },
  int8: { code: 3, bytes: 1 },
  int32: { code: 6, bytes: 4 },
  int64: { code: 7, bytes: 8 },
  bool: { code: 9, bytes: 1 },
  float16: { code: 10, bytes: 2 },
  bfloat16: { code: 16, bytes: 2 },
} as const;

export type DataType = keyof typeof DATA_TYPES;

const TYPES_BY_CODE = new Map(
  Object.entries(DATA_TYPES).map(([type, { code }]) => [code as number, type as DataType]),
);

/** @throws RangeError for codes that no graph of ours has. */
export function dataTypeOf(code: number): DataType {
  const type = TYPES_BY_CODE.get(code);
  if (type === undefined) throw new RangeError(`there is no element type ${code} in our graphs`);
  return type;
}

/** Number of elements of a shape; a scalar has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
