/** The engine's last resort, on a device that really hangs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { buildModel } from '../../../models/build.ts';
import { writeFixture } from '../../../models/fixtures/fixture.ts';
import { EngineConversation } from '../../../plugins/moshi/client/engine-conversation.ts';
import type { EngineConnectionError } from '../../../plugins/moshi/client/engine-connection-error.ts';
import { FRAME_SAMPLES } from '../../../plugins/moshi/protocol/messages.ts';
import { REPOSITORY_DIRECTORY } from '../../config.ts';
import { TestProcess } from '../../testing/child-process.ts';

test('an engine whose step hangs tells its clients and ends, though its thread never does', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'moshi-hang-'));
  const checkpoint = path.join(folder, 'tiny-moshi');
  await writeFixture('moshi', checkpoint);
  const { directory } = await buildModel({
    checkpoint,
    outputDirectory: folder,
    batches: [1],
    kinds: ['frame'],
  });
  const url = `unix:${path.join(folder, 'engine.sock')}`;
  const script = path.join(REPOSITORY_DIRECTORY, 'agent/testing/hanging-engine.ts');
  const engine = new TestProcess(process.execPath, ['--import', 'tsx', script, directory, url], {});
  const conversation = new EngineConversation({ engineUrl: url });
  try {
    await engine.waitFor(() => engine.output.includes('listening'), 30_000);
    const told = new Promise<EngineConnectionError>((resolve) =>
      conversation.once('reconnecting', ({ error }) => resolve(error)),
    );
    conversation.once('ready', () => conversation.pushSamples(new Float32Array(FRAME_SAMPLES)));
    conversation.connect();
    expect(await told).toMatchObject({
      problem: 'model_failed',
      message: expect.stringContaining('not ended within 0.3 s') as string,
    });
    conversation.close();
    await expect.poll(() => engine.signalCode, { timeout: 10_000 }).toBe('SIGKILL');
    expect(engine.output).toContain('error: the engine is killed: A step of the model');
  } finally {
    conversation.close();
    await engine.stop('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
