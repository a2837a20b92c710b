import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import {
  buildModel,
  CheckpointError,
  resolveModel,
  type BuildOptions,
  type KeyValueWish,
} from './build.ts';
import { TENSOR_TYPE_BYTES } from './manifest.ts';
import { elementCount } from './onnx/data-types.ts';
import { writeSafetensors } from './test-support/write-safetensors.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';

const directory = mkdtempSync(join(tmpdir(), 'moshi-build-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const DEMO = join(import.meta.dirname, 'demo');

function options(name: string, changes: Partial<BuildOptions> = {}): BuildOptions {
  return {
    checkpoint: 'demo',
    outputDirectory: join(directory, name),
    batches: [1],
    kinds: ['frame'],
    ...changes,
  };
}

function demoCopy(name: string): string {
  const folder = join(directory, name);
  cpSync(DEMO, folder, { recursive: true });
  return folder;
}

test('describes the demo: graphs, states, sampling and vocabulary', async () => {
  const { directory: built, manifest } = await buildModel(options('described'));
  expect(manifest).toMatchObject({
    name: 'demo',
    isDemo: true,
    generatedCodebooks: 8,
    heardCodebooks: 8,
    maxDelay: 1,
    paddingToken: 3,
    sampling: { textTemperature: 0.1, audioTemperature: 0.5, textTopK: 10, audioTopK: 20 },
    noise: { textWidth: 250, audioWidth: 250 },
  });
  expect(manifest.graphs.map(({ kind, batch }) => [kind, batch])).toEqual([['frame', 1]]);
  const pieces = JSON.parse(
    readFileSync(join(built, manifest.vocabularyFile), 'utf8'),
  ) as unknown[];
  expect(pieces.length).toBeGreaterThanOrEqual(manifest.textCard);
});

test('reuses what an earlier call built from the same files and options', async () => {
  const first = await buildModel(options('reused'));
  const made = statSync(join(first.directory, 'manifest.json')).mtimeMs;
  const second = await buildModel(options('reused'));
  expect(second).toEqual(first);
  expect(statSync(join(second.directory, 'manifest.json')).mtimeMs).toBe(made);
  const others = await buildModel(options('reused', { batches: [1, 2] }));
  expect(others.directory).not.toBe(first.directory);
});

test('remembers as little as it is told, and no more than the model was trained on', async () => {
  const { manifest } = await buildModel(options('short', { context: 7 }));
  const keys = manifest.graphs[0]!.states.filter(({ input }) => /^temporal.*keys$/.test(input));
  expect(keys.length).toBeGreaterThan(0);
  for (const { rowShape } of keys) expect(rowShape[1]).toBe(7);
  await expect(buildModel(options('long', { context: 1_000_000 }))).rejects.toThrow(
    /the context must be 1 to \d+ steps of 80 ms/,
  );
});

test('keeps keys and values in as many bits as it is told', async () => {
  const bytes = async (keyValueType: KeyValueWish): Promise<number> => {
    const { manifest } = await buildModel(options('bits', { keyValueType }));
    const kept = manifest.graphs[0]!.states.filter(({ input }) =>
      /^temporal.*\b(key|value)/.test(input),
    );
    return kept.reduce(
      (sum, { type, rowShape }) => sum + elementCount(rowShape) * TENSOR_TYPE_BYTES[type],
      0,
    );
  };
  const single = await bytes('f32');
  expect(await bytes('f16')).toBe(single / 2);
  // Beside each vector of a head, 48 bytes, stands its scale, four more.
  expect(await bytes('int8')).toBe((single * (48 + 4)) / (48 * 4));
  await expect(
    buildModel(options('bits', { keyValueType: 'int8', device: 'cuda' })),
  ).rejects.toThrow(
    'keys and values of 8 bits are for the CPU, not for cuda; use f16, f32 or auto',
  );
});

test('never forgets as many first steps as it is told, within what it remembers', async () => {
  const { manifest } = await buildModel(options('sinks', { context: 7, attentionSinks: 2 }));
  const shapeOf = (state: RegExp): readonly number[] | undefined =>
    manifest.graphs[0]!.states.find(({ input }) => state.test(input))?.rowShape;
  expect(shapeOf(/^temporal.*\bkeys$/)?.[1]).toBe(7);
  expect(shapeOf(/^temporal.*\bsink_keys$/)?.[1]).toBe(3);
  await expect(buildModel(options('all', { context: 7, attentionSinks: 7 }))).rejects.toThrow(
    /of a context of 7 steps at most 6 can be attention sinks; found 7/,
  );
});

test('builds anew when a file of the checkpoint changes or the build lost a file', async () => {
  const checkpoint = demoCopy('changing');
  const first = await buildModel(options('rebuilt', { checkpoint }));
  utimesSync(join(checkpoint, 'mimi.safetensors'), 1, 1);
  const second = await buildModel(options('rebuilt', { checkpoint }));
  expect(second.directory).not.toBe(first.directory);
  rmSync(join(second.directory, 'frame-1.onnx'));
  const third = await buildModel(options('rebuilt', { checkpoint }));
  expect(readdirSync(third.directory)).toContain('frame-1.onnx');
});

test('lets several builders work at once and leaves no drafts behind', async () => {
  const all = await Promise.all(
    Array.from({ length: 4 }, () => buildModel(options('together', { batches: [1, 2] }))),
  );
  expect(new Set(all.map(({ directory: built }) => built)).size).toBe(1);
  expect(readdirSync(join(directory, 'together'))).toHaveLength(1);
});

test('leaves nothing behind when the checkpoint is unusable', async () => {
  const checkpoint = demoCopy('damaged');
  truncateSync(join(checkpoint, 'model.safetensors'), 1_000_000);
  const attempt = buildModel(options('failed', { checkpoint }));
  await expect(attempt).rejects.toThrow(/model\.safetensors: truncated/);
  await expect(attempt).rejects.toBeInstanceOf(CheckpointError);
  const config = JSON.parse(readFileSync(join(DEMO, 'config.json'), 'utf8')) as object;
  const wider = demoCopy('wider');
  writeFileSync(join(wider, 'config.json'), JSON.stringify({ ...config, dim: 256 }));
  await expect(buildModel(options('failed', { checkpoint: wider }))).rejects.toThrow(
    /tensor emb\.0\.weight has shape \[257, 192\], the configuration asks for \[257, 256\]/,
  );
  expect(readdirSync(join(directory, 'failed'))).toEqual([]);
});

test('says which other layout a checkpoint has, and which file its configuration names', async () => {
  const checkpoint = demoCopy('foreign');
  const path = join(checkpoint, 'model.safetensors');
  writeSafetensors(path, { 'decoder.model.norm.weight': { shape: [1], data: [1] } });
  const attempt = buildModel(options('foreign-output', { checkpoint }));
  await expect(attempt).rejects.toThrow(
    /transformers layout \(tensor decoder\.model\.norm\.weight\), which is not implemented/,
  );
  const config = JSON.parse(readFileSync(join(DEMO, 'config.json'), 'utf8')) as object;
  writeFileSync(
    join(checkpoint, 'config.json'),
    JSON.stringify({ ...config, moshi_name: 'model.q8.gguf' }),
  );
  await expect(buildModel(options('foreign-output', { checkpoint }))).rejects.toThrow(
    /Cannot find .*model\.q8\.gguf/,
  );
});

test('runs weights that a cache keeps behind links, in different folders', async () => {
  const checkpoint = demoCopy('linked');
  for (const name of ['model.safetensors', 'mimi.safetensors']) {
    const blobs = join(directory, 'blobs', name === 'mimi.safetensors' ? 'one' : 'two');
    mkdirSync(blobs, { recursive: true });
    const blob = join(blobs, 'same-name');
    cpSync(join(checkpoint, name), blob);
    rmSync(join(checkpoint, name));
    symlinkSync(blob, join(checkpoint, name));
  }
  const built = await buildModel(options('linked-output', { checkpoint }));
  const session = await GraphSession.open(built, 'frame', 1);
  const { text_token: token } = await session.step(
    greedyFeed(session.graph, 0, new Float32Array(1920)),
  );
  expect(token).toHaveLength(1);
  await session.close();
});

test('knows the demo by its name and folders by their path', () => {
  expect(resolveModel('demo')).toEqual({ directory: DEMO, name: 'demo', isDemo: true });
  expect(resolveModel(DEMO)).toMatchObject({ isDemo: true });
  const fixture = join(import.meta.dirname, 'fixtures/reference-lm');
  expect(resolveModel(fixture)).toEqual({
    directory: fixture,
    name: 'reference-lm',
    isDemo: false,
  });
  expect(() => resolveModel('moshi-9000')).toThrow(
    /There is no model "moshi-9000"\. Use "demo", or another name that "models list" shows/,
  );
});
