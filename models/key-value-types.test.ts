/**
 * What it costs to keep keys and values in fewer bits: the trained model says the same, long past its
 * context; random weights, whose choices are close, show how far the numbers move.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { buildModel, type KeyValueWish } from './build.ts';
import { writeFixture } from './fixtures/fixture.ts';
import { GraphSession, greedyFeed } from './test-support/graph-session.ts';
import { normalizedError } from './test-support/recorded-tensors.ts';

const FRAME_SAMPLES = 1920;
const directory = mkdtempSync(join(tmpdir(), 'moshi-key-values-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const TINY = join(directory, 'tiny-moshi');
await writeFixture('moshi', TINY);
const DEMO = join(import.meta.dirname, 'demo');
const wav = await readFile(join(DEMO, 'samples/conversation.wav'));

type Steps = { choices: number[][]; logits: number[] };

/** @param forced - What the model is made to say, step by step, or null: what it says itself. */
async function steps(
  checkpoint: string,
  keyValueType: KeyValueWish,
  count: number,
  forced: Steps | null,
): Promise<Steps> {
  const built = await buildModel({
    checkpoint,
    outputDirectory: join(directory, 'built'),
    batches: [1],
    kinds: ['frame'],
    probes: true,
    precision: 'f32',
    keyValueType,
  });
  const { generatedCodebooks, heardCodebooks } = built.manifest;
  const session = await GraphSession.open(built, 'frame', 1);
  const start = wav.indexOf('data') + 8;
  const taken: Steps = { choices: [], logits: [] };
  for (let step = 0; step < count; step += 1) {
    const pcm = Float32Array.from(
      { length: FRAME_SAMPLES },
      (_, index) => wav.readInt16LE(start + 2 * (step * FRAME_SAMPLES + index)) / 32768,
    );
    const [text, ...codes] = forced?.choices[step] ?? [];
    const { text_logits: textLogits, audio_logits: audioLogits } = await session.step({
      ...greedyFeed(session.graph, step, pcm),
      ...(text !== undefined && {
        forced_text: [text],
        forced_codes: [...codes, ...Array<number>(heardCodebooks).fill(-1)],
      }),
    });
    const audio = Array.from(audioLogits!, Number);
    const card = audio.length / generatedCodebooks;
    const rows = [
      Array.from(textLogits!, Number),
      ...Array.from({ length: generatedCodebooks }, (_, codebook) =>
        audio.slice(codebook * card, (codebook + 1) * card),
      ),
    ];
    taken.choices.push(rows.map((row) => row.indexOf(Math.max(...row))));
    taken.logits.push(...rows.flat());
  }
  await session.close();
  return taken;
}

/** Share of the choices that are the same. */
function kept({ choices }: Steps, of: Steps): number {
  const equal = choices.flatMap((step, index) =>
    step.map((token, stream) => token === of.choices[index]![stream]),
  );
  return equal.filter(Boolean).length / equal.length;
}

test('the demo keeps every choice in 16 bits, and all but a few in 8, twice around its ring', async () => {
  const count = 250;
  const exact = await steps(DEMO, 'f32', count, null);
  for (const [type, largestError, share] of [
    ['f16', 1e-7, 1],
    ['int8', 2e-5, 0.999],
  ] as const) {
    const rounded = await steps(DEMO, type, count, exact);
    const error = normalizedError(rounded.logits, exact.logits);
    expect(error, type).toBeGreaterThan(0);
    expect(error, type).toBeLessThan(largestError);
    expect(kept(rounded, exact), type).toBeGreaterThanOrEqual(share);
  }
});

test('random weights of narrow heads keep nearly all of theirs', async () => {
  const count = 60;
  const exact = await steps(TINY, 'f32', count, null);
  for (const [type, largestError, share] of [
    ['f16', 1e-5, 0.995],
    ['int8', 2e-3, 0.95],
  ] as const) {
    const rounded = await steps(TINY, type, count, exact);
    expect(normalizedError(rounded.logits, exact.logits), type).toBeLessThan(largestError);
    expect(kept(rounded, exact), type).toBeGreaterThan(share);
  }
});
