import { Registry } from 'prom-client';
import { expect, test } from 'vitest';

import { BufferedHistogram } from './buffered-histogram.ts';

test('every value is told once, whether asked for early or late', async () => {
  const registry = new Registry();
  const histogram = new BufferedHistogram({
    name: 'waits',
    help: 'For a test.',
    buckets: [1, 10],
    registers: [registry],
  });
  const asked = () => registry.getSingleMetricAsString('waits');
  histogram.observe(0.5);
  expect(await asked()).toContain('waits_count 1');
  for (let value = 0; value < 1_000; value += 1) histogram.observe(value % 20);
  const text = await asked();
  expect(text).toContain('waits_bucket{le="1"} 101');
  expect(text).toContain('waits_bucket{le="10"} 551');
  expect(text).toContain('waits_count 1001');
  expect(text).toContain('waits_sum 9500.5');
  expect(await asked()).toBe(text);
});
