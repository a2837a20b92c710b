/** How fast this machine reads memory, by the product that models spend their time on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GraphBuilder } from '../../../models/onnx/graph-builder.ts';
import { OnnxRuntime } from '../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts';
import { HostTensor } from '../../../plugins/moshi/engine/onnxruntime/tensor.ts';

/** 64 MB each and 512 MB together, where not fewer are asked for: far more than caches hold. */
const ROWS = 4096;
const COLUMNS = 4096;
const MATRICES = 8;
const RUNS = 12;

/**
 * Reads matrices once, by multiplying a vector with each: plain float32, nothing to unpack.
 *
 * @param threads - As many as the model gets.
 * @param matrices - Fewer take less time and memory, and a large cache holds more of them.
 * @returns the best of several runs, bytes per second.
 */
export async function measureReadBandwidth(
  threads: number,
  matrices: number = MATRICES,
): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'moshi-bandwidth-'));
  const runtime = new OnnxRuntime('cpu');
  try {
    const graph = new GraphBuilder('bandwidth', 1);
    const vector = graph.input('vector', 'float32', [ROWS]);
    const products = Array.from({ length: matrices }, (_, index) => {
      const matrix = graph.input(`matrix${index}`, 'float32', [ROWS, COLUMNS]);
      return graph.op('MatMul', [
        vector,
        graph.op('Reshape', [matrix, graph.integers([ROWS, COLUMNS])]),
      ]);
    });
    graph.output('sum', graph.op('Sum', products), 'float32', [COLUMNS]);
    const { bytes, signature } = graph.finish();
    const file = path.join(folder, 'bandwidth.onnx');
    await writeFile(file, bytes);
    const session = runtime.openSession({ path: file, weightsDirectory: folder, threads });
    for (const { name, type, shape } of signature.inputs) {
      const tensor = new HostTensor({ type, rowShape: shape.slice(1) }, 1);
      // Memory that was never written to is one page of zeros, read from the cache.
      tensor.float32().fill(1);
      session.bindInput(name, tensor, 1);
    }
    for (const { name, type, shape } of signature.outputs) {
      session.bindOutput(name, new HostTensor({ type, rowShape: shape.slice(1) }, 1), 1);
    }
    let bestMs = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run += 1) {
      const startMs = performance.now();
      session.run();
      bestMs = Math.min(bestMs, performance.now() - startMs);
    }
    return (matrices * ROWS * COLUMNS * Float32Array.BYTES_PER_ELEMENT * 1_000) / bestMs;
  } finally {
    runtime.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}
