import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildModel } from '../../../../models/build.ts';
import { generateCheckpoint } from '../../../../models/generate/generate-checkpoint.ts';
import { randomFloats, uniform } from '../../../../models/test-support/random.ts';
import { UNUSUAL_TRANSLATION } from '../../../../models/test-support/unusual-architecture.ts';
import { FRAME_SAMPLES } from '../../protocol/messages.ts';
import { chooseConditions, type ConditionWishes } from './condition-choice.ts';
import { openRunner, type FrameResult, type Runner } from '../runner.ts';

const MODEL = {
  name: 'hibiki',
  conditions: [
    { name: 'description', values: ['bad', 'good'], default: 1 },
    { name: 'pace', values: ['slow', 'fast'], default: 0 },
  ],
  guidance: 3,
};

test('what is not asked for is the default of the model', () => {
  expect(chooseConditions(MODEL)).toEqual({ values: [1, 0], guidance: 3 });
  expect(chooseConditions(MODEL, { conditions: { pace: 'fast' }, guidance: 1.5 })).toEqual({
    values: [1, 1],
    guidance: 1.5,
  });
  const plain = { ...MODEL, conditions: [], guidance: null };
  expect(chooseConditions(plain, { guidance: 1 })).toEqual({ values: [], guidance: null });
});

describe('refuses by name', () => {
  test.each<[string, ConditionWishes, RegExp]>([
    [
      'a condition',
      { conditions: { mood: 'good' } },
      /no condition "mood"; it has description, pace/,
    ],
    ['a value', { conditions: { pace: 'good' } }, /pace cannot be "good"; it can be slow, fast/],
    ['what every object has', { conditions: { toString: 'x' } }, /no condition "toString"/],
  ])('%s', (_name, wishes, message) => {
    expect(() => chooseConditions(MODEL, wishes)).toThrow(message);
  });

  test('guidance where the graphs have none', () => {
    const plain = { ...MODEL, guidance: null };
    expect(() => chooseConditions(plain, { guidance: 2 })).toThrow(/without guidance.*cannot be 2/);
  });
});

describe('conversations with different wishes in one batch', () => {
  let folder: string;
  let runner: Runner;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'moshi-conditions-'));
    const checkpoint = join(folder, 'checkpoint');
    await generateCheckpoint({
      architecture: UNUSUAL_TRANSLATION,
      seed: 12,
      directory: checkpoint,
    });
    const outputDirectory = join(folder, 'built');
    const { directory } = await buildModel({
      checkpoint,
      outputDirectory,
      batches: [4],
      kinds: ['frame'],
      probes: true,
    });
    runner = await openRunner({ modelDirectory: directory, slots: 4 });
  });
  afterAll(async () => {
    runner.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  const random = uniform(3);
  const speech = Array.from({ length: 8 }, () => randomFloats(random, FRAME_SAMPLES, 0.3));
  const wishes: ConditionWishes[] = [
    {},
    { conditions: { description: 'bad' }, guidance: 4 },
    { conditions: { description: 'bad' } },
    { conditions: { pace: 'very_bad', description: 'neutral' }, guidance: 1 },
  ];

  function run(rows: readonly number[]): FrameResult[][] {
    for (const row of rows) runner.start(row, { seed: row, ...wishes[row] });
    const steps = speech.map((pcm) =>
      runner.step(
        rows.map((row) => ({ row, pcm })),
        4,
      ),
    );
    return rows.map((_, index) => steps.map((results) => results[index]!));
  }

  test('say what each says alone, and not the same', () => {
    const together = run([0, 1, 2, 3]);
    for (const row of [3, 2, 1, 0]) {
      expect(run([row])[0]).toEqual(together[row]);
    }
    const logits = together.map((steps) => steps.map(({ probes }) => probes.get('text_logits')));
    expect(new Set(logits.map((values) => JSON.stringify(values))).size).toBe(4);
  });

  test('an unknown value is refused before the row is touched', () => {
    const [before] = run([1]);
    runner.start(1, { seed: 1, ...wishes[1] });
    const first = runner.step([{ row: 1, pcm: speech[0]! }], 4);
    expect(() => runner.start(1, { conditions: { pace: 'very fast' } })).toThrow(RangeError);
    const second = runner.step([{ row: 1, pcm: speech[1]! }], 4);
    expect([...first, ...second]).toEqual(before!.slice(0, 2));
  });
});
