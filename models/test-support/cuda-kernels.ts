/**
 * Which operators ONNX Runtime's CUDA provider has kernels for, of which types, at the opset of our
 * graphs (20): those that they use.
 *
 * Source: microsoft/onnxruntime@001d12d docs/OperatorKernels.md, CUDAExecutionProvider. Version 1.30
 * itself placed graphs of all precisions on CUDA to the last node.
 */
import type { DataType } from '../onnx/data-types.ts';
import type { Operator } from '../onnx/graph-builder.ts';

const FLOATS: readonly DataType[] = ['float32', 'float16', 'bfloat16'];
const PRECISE: readonly DataType[] = ['float32', 'float16'];
const IDS: readonly DataType[] = ['int64', 'int32'];
const NUMBERS = [...FLOATS, ...IDS];
const ANY: readonly DataType[] = [...NUMBERS, 'bool', 'uint8'];
const BOOL: readonly DataType[] = ['bool'];
const SHAPE: readonly DataType[] = ['int64'];
const BYTES: readonly DataType[] = ['uint8'];

/** Types of each input; further inputs are as the last. */
const KERNELS: Readonly<Record<string, readonly (readonly DataType[])[]>> = {
  Add: [NUMBERS],
  And: [BOOL],
  ArgMax: [PRECISE],
  Cast: [ANY],
  Concat: [ANY],
  Cos: [PRECISE],
  Div: [NUMBERS],
  Elu: [PRECISE],
  Equal: [[...PRECISE, ...IDS, 'bool']],
  Expand: [ANY, SHAPE],
  Gather: [ANY, IDS],
  GatherElements: [ANY, IDS],
  Gelu: [FLOATS],
  Gemm: [FLOATS],
  GreaterOrEqual: [[...PRECISE, ...IDS]],
  LayerNormalization: [FLOATS],
  Less: [[...PRECISE, ...IDS]],
  LessOrEqual: [[...PRECISE, ...IDS]],
  Log: [PRECISE],
  MatMul: [FLOATS],
  Max: [NUMBERS],
  Min: [NUMBERS],
  Mod: [NUMBERS],
  Mul: [NUMBERS],
  Neg: [[...FLOATS, 'int64', 'int32']],
  ReduceSumSquare: [PRECISE, SHAPE],
  Relu: [FLOATS],
  Reshape: [ANY, SHAPE],
  ScatterND: [ANY, SHAPE, ANY],
  Sigmoid: [FLOATS],
  SimplifiedLayerNormalization: [FLOATS],
  Sin: [PRECISE],
  Slice: [ANY, IDS],
  Softmax: [FLOATS],
  Split: [ANY, SHAPE],
  Squeeze: [ANY, SHAPE],
  Sub: [NUMBERS],
  Sum: [FLOATS],
  Tanh: [FLOATS],
  TopK: [[...PRECISE, ...IDS], SHAPE],
  Transpose: [ANY],
  Unsqueeze: [ANY, SHAPE],
  Where: [BOOL, [...NUMBERS, 'uint8']],
  'com.microsoft.MatMulNBits': [FLOATS, BYTES, FLOATS, [...FLOATS, 'uint8']],
  'com.microsoft.RotaryEmbedding': [FLOATS, SHAPE, FLOATS],
};

/** Inputs that the host reads while a frame is prepared: what a recorded graph replays must not change. */
const READ_BY_HOST: Readonly<Record<string, readonly number[]>> = {
  Expand: [1],
  ReduceSumSquare: [1],
  Reshape: [1],
  Slice: [1, 2, 3, 4],
  Split: [1],
  Squeeze: [1],
  TopK: [1],
  Unsqueeze: [1],
};

/** Operators all of whose floating point inputs need not have one type. */
const MIXED: ReadonlySet<string> = new Set(['Cast']);

/** Why CUDA cannot run the operator within a recorded graph, or null. */
export function cudaProblem({ type, inputs }: Operator): string | null {
  const kernel = KERNELS[type];
  const types = inputs.map((input) => input?.type ?? 'none');
  const text = `${type}(${types.join(', ')})`;
  if (kernel === undefined) return `${text}: no kernel`;
  const lacks = inputs.some((input, index) => {
    const allowed = kernel[Math.min(index, kernel.length - 1)] ?? [];
    return input !== null && !allowed.includes(input.type);
  });
  if (lacks) return `${text}: no kernel for these types`;
  const floats = new Set(types.filter((one) => (FLOATS as readonly string[]).includes(one)));
  if (floats.size > 1 && !MIXED.has(type)) return `${text}: types differ`;
  const varying = (READ_BY_HOST[type] ?? []).some((index) => inputs[index]?.isConstant === false);
  return varying ? `${text}: its shape changes from frame to frame` : null;
}
