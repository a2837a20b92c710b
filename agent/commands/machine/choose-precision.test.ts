import { describe, expect, test } from 'vitest';
import { choosePrecision, isSmall, type PrecisionQuestion } from './choose-precision.ts';

/** Moshi 7B. */
const NEEDS = [
  { precision: 'f32' as const, weightBytes: 29.8e9, bytesPerConversation: 3.1e9 },
  { precision: 'q8' as const, weightBytes: 8.6e9, bytesPerConversation: 3.1e9 },
  { precision: 'q4' as const, weightBytes: 4.9e9, bytesPerConversation: 3.1e9 },
];

function ask(changes: Partial<PrecisionQuestion>): ReturnType<typeof choosePrecision> {
  return choosePrecision({
    needs: NEEDS,
    conversations: 1,
    device: 'cpu',
    freeBytes: 64e9,
    bytesPerSecond: 100e9,
    ...changes,
  });
}

test('takes the least error that is comfortably fast', () => {
  expect(ask({ bytesPerSecond: 2000e9 }).precision).toBe('f32');
  expect(ask({ bytesPerSecond: 400e9 }).precision).toBe('q8');
  expect(ask({ bytesPerSecond: 300e9 }).precision).toBe('q4');
});

test('takes the fastest where none is comfortable', () => {
  const { precision, warning, reason } = ask({ bytesPerSecond: 150e9 });
  expect(precision).toBe('q4');
  expect(warning).toBeNull();
  expect(reason).toBe(
    "q4 needs 8.8 GB, about 67 ms of a frame's 80 on cpu (64.0 GB free, read at 150.0 GB/s; " +
      "f32 needs 36.2 GB, about 230 ms of a frame's 80; q8 needs 12.9 GB, about 92 ms of a frame's 80)",
  );
});

test('says with the figures that nothing will run in real time', () => {
  expect(ask({ bytesPerSecond: 40e9 })).toMatchObject({
    precision: 'q4',
    warning:
      'this machine is too slow for conversations: with q4 a frame of 80 ms takes about 253 ms: ' +
      'use a smaller model, more threads, a faster machine or a GPU',
  });
});

describe('memory', () => {
  test('leaves out what does not fit, however fast', () => {
    expect(ask({ bytesPerSecond: 2000e9, freeBytes: 20e9 }).precision).toBe('q8');
    expect(ask({ bytesPerSecond: 2000e9, freeBytes: 20e9, conversations: 4 }).precision).toBe('q4');
  });

  test('says when nothing fits', () => {
    expect(ask({ freeBytes: 5e9, conversations: 4 })).toMatchObject({
      precision: 'q4',
      warning: expect.stringMatching(/q4 needs 18\.1 GB for 4 at once, 5\.0 GB are free/) as string,
    });
  });

  test('that is not known decides nothing', () => {
    expect(ask({ freeBytes: null, bytesPerSecond: null })).toEqual({
      precision: 'f32',
      reason: expect.stringContaining('free memory not known, speed not known') as string,
      fits: true,
      warning: null,
    });
  });
});

test('has one choice where the checkpoint has one', () => {
  expect(ask({ needs: NEEDS.slice(1, 2), bytesPerSecond: 10e9 }).precision).toBe('q8');
});

test('knows models that are fast everywhere', () => {
  expect(isSmall({ precision: 'f32', weightBytes: 40e6, bytesPerConversation: 1e6 })).toBe(true);
  expect(NEEDS.some(isSmall)).toBe(false);
});
