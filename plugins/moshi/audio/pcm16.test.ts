import { expect, test } from 'vitest';

import { fromPcm16, toPcm16 } from './pcm16.ts';

test('every 16-bit sample comes back as it was', () => {
  const all = Int16Array.from({ length: 65_536 }, (_, index) => index - 32_768);
  expect(toPcm16(fromPcm16(all))).toEqual(all);
});

test('what is beyond full scale saturates', () => {
  expect([...toPcm16(new Float32Array([1, 1.5, -1, -7, 0.5]))]).toEqual([
    32_767, 32_767, -32_768, -32_768, 16_384,
  ]);
});

test('the result owns its buffer, also for a view into a larger one', () => {
  const pcm = toPcm16(new Float32Array([1, 0.5, 0.25]).subarray(1));
  expect(pcm.byteOffset).toBe(0);
  expect(pcm.buffer.byteLength).toBe(4);
});
