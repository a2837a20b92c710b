/**
 * What allocators say when there is no more: ONNX Runtime's arena (core/framework/bfc_arena.cc), the
 * C++ library, NVIDIA's runtime (cudaErrorMemoryAllocation) and V8.
 */
const OUT_OF_MEMORY =
  /failed to allocate memory|smaller than requested bytes|bad_alloc|out of memory|allocation failed/i;

/** Whether something failed for want of memory: then it may succeed when others have left. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && OUT_OF_MEMORY.test(error.message);
}
