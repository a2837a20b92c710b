import { describe, expect, test } from 'vitest';

import { HostTensor } from './tensor.ts';

/** Two heads of four slots, each of two numbers; a step fills one. */
const RING = { type: 'float32' as const, rowShape: [2, 4, 2], slotsPerStep: 1 };
const NUMBERS_OF_ROW = 16;

function filled(value: number, layout: HostTensor['layout'] = RING): HostTensor {
  const tensor = new HostTensor(layout, 2);
  tensor.float32().fill(value);
  return tensor;
}

describe('a row of a ring', () => {
  test('is copied as far as its steps, and one that did not count, can have written', () => {
    const target = filled(1);
    filled(7).copyRow(0, target, 1, 1);
    const head = [7, 7, 7, 7, 1, 1, 1, 1];
    expect([...target.float32()]).toEqual([
      ...Array<number>(NUMBERS_OF_ROW).fill(1),
      ...head,
      ...head,
    ]);
  });

  test.each([3, 4, 100, Infinity])('is full after %d steps', (steps) => {
    const target = filled(1);
    filled(7).copyRow(1, target, 0, steps);
    target.zeroRow(1);
    expect([...target.float32()]).toEqual([
      ...Array<number>(NUMBERS_OF_ROW).fill(7),
      ...Array<number>(NUMBERS_OF_ROW).fill(0),
    ]);
  });

  test('whose frames have two positions fills twice as fast', () => {
    const layout = { ...RING, slotsPerStep: 2 };
    const target = filled(1, layout);
    filled(7, layout).copyRow(0, target, 0, 0);
    expect([...target.float32().subarray(0, 8)]).toEqual([7, 7, 7, 7, 1, 1, 1, 1]);
    filled(7, layout).copyRow(0, target, 0, 1);
    expect([...target.float32().subarray(0, 8)]).toEqual(Array<number>(8).fill(7));
  });
});

test('any other row is copied whole, however few steps there were', () => {
  const layout = { type: 'float32' as const, rowShape: [3], slotsPerStep: null };
  const target = filled(1, layout);
  filled(7, layout).copyRow(0, target, 0, 0);
  target.zeroRow(1);
  expect([...target.float32()]).toEqual([7, 7, 7, 0, 0, 0]);
});
