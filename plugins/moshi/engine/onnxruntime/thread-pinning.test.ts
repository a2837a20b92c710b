import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { GraphBuilder } from '../../../../models/onnx/graph-builder.ts';
import { OnnxRuntime } from './onnx-runtime.ts';
import { listProcessors, parseProcessors } from './processor-list.ts';
import { allowedProcessors, requireProcessors, threadAffinities } from './thread-pinning.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'moshi-pinning-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

test('lists of processors are read as the kernel writes them', () => {
  expect(parseProcessors('0')).toEqual([0]);
  expect(parseProcessors('3,0-2, 8')).toEqual([3, 0, 1, 2, 8]);
  for (const wrong of ['', 'a', '1-', '2-1', '-1', '0,,1', '0;1', '1024', '0-5000']) {
    expect(parseProcessors(wrong), wrong).toBeNull();
  }
  expect(listProcessors([3, 0, 1])).toBe('3,0,1');
});

test('ONNX Runtime is told the processors of all threads but the first, counted from 1', () => {
  expect(threadAffinities([4, 0, 7])).toBe('1;8');
});

test('processors that are not there are refused with those that are', () => {
  const there = listProcessors(allowedProcessors() ?? []);
  expect(() => requireProcessors([...(allowedProcessors() ?? []), 1_023])).toThrow(
    new RegExp(
      process.platform === 'linux'
        ? `may not use 1023, only ${there}\\. Change MOSHI_ENGINE_PIN`
        : 'lets no thread choose',
    ),
  );
});

/** Processors that each thread of this process may use, as the kernel tells. */
async function threadPlaces(): Promise<Map<string, string>> {
  const places = new Map<string, string>();
  for (const thread of await readdir('/proc/self/task')) {
    const status = await readFile(join('/proc/self/task', thread, 'status'), 'utf8');
    places.set(thread, /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '');
  }
  return places;
}

test.runIf(process.platform === 'linux')(
  'a session keeps the calling thread and its own on the processors named',
  async () => {
    const there = allowedProcessors() ?? [];
    const processors = there.slice(0, 2).reverse();
    const graph = new GraphBuilder('pinned', 1);
    const x = graph.input('x', 'float32', [1]);
    graph.output('y', graph.op('Add', [x, x]), 'float32', [1]);
    const path = join(folder, 'pinned.onnx');
    await writeFile(path, graph.finish().bytes);
    const session = { path, weightsDirectory: folder, threads: processors.length };

    const runtime = new OnnxRuntime('cpu');
    try {
      const before = await threadPlaces();
      expect(() =>
        runtime.openSession({ ...session, threads: 2, processors: [there[0] ?? 0, 1_023] }),
      ).toThrow(/may not use 1023/);
      expect(await threadPlaces()).toEqual(before);

      runtime.openSession({ ...session, processors });
      const placesNow = async (): Promise<string[]> =>
        [...(await threadPlaces())]
          .filter(([thread, place]) => place !== before.get(thread))
          .map(([, place]) => place)
          .sort();
      // A thread of the pool takes its place as it begins.
      await expect.poll(placesNow).toEqual(processors.map(String).sort());
    } finally {
      runtime.dispose();
    }
  },
);
