import { expect, test } from 'vitest';
import { allowedProcessors } from '../../../plugins/moshi/engine/onnxruntime/thread-pinning.ts';
import { loadConfig } from '../../config.ts';
import { engineThreads } from './engine-threads.ts';

const threadsOf = (environment: Record<string, string>, cores: number) =>
  engineThreads(loadConfig(environment).engine, cores);

test('one core is left to the rooms, and small graphs get few threads', () => {
  expect(threadsOf({}, 1)).toEqual({ threads: 1 });
  expect(threadsOf({}, 4)).toEqual({ threads: 3 });
  expect(threadsOf({}, 64)).toEqual({ threads: 8 });
  expect(threadsOf({ MOSHI_ENGINE_THREADS: '12' }, 4)).toEqual({ threads: 12 });
});

test.runIf(process.platform === 'linux')('there is a thread for each processor named', () => {
  const processors = [...(allowedProcessors() ?? [])];
  const MOSHI_ENGINE_PIN = processors.join(',');
  expect(threadsOf({ MOSHI_ENGINE_PIN }, 64)).toEqual({ threads: processors.length, processors });
  expect(() => threadsOf({ MOSHI_ENGINE_PIN: '1023' }, 64)).toThrow(
    `may not use 1023, only ${MOSHI_ENGINE_PIN}`,
  );
});
