import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { initializeLogger, llm, voice } from '@livekit/agents';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import wavefile from 'wavefile';
import { buildModel } from '../../../models/build.ts';
import { DEMO_LINES } from '../../../models/test-support/demo-lines.ts';
import { MoshiModel, fetchEngineHealth, sessionOptions } from '../index.ts';
import {
  CaptionedAgent,
  TestLoudspeaker,
  TestMicrophone,
} from '../test-support/agent-session-io.ts';

/**
 * The framework's own `AgentSession`, without a room, talks with the demo model on a real engine:
 * it is greeted, asks aloud "what is your name" after 4.9 s, and reads and hears the answer.
 */
initializeLogger({ pretty: false, level: 'silent' });

const QUESTION = new URL('../../../models/demo/samples/question.wav', import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'moshi-demo-'));

const engineUrl = `unix:${join(folder, 'engine.sock')}`;
const engineProcess = fileURLToPath(new URL('../test-support/engine-process.ts', import.meta.url));

let engine: ChildProcess | null = null;

beforeAll(async () => {
  const { directory } = await buildModel({
    checkpoint: 'demo',
    outputDirectory: folder,
    batches: [1],
    kinds: ['frame'],
  });
  // In a process of its own, as always: it shares no native library with LiveKit's.
  engine = spawn(process.execPath, ['--import', 'tsx', engineProcess, directory, engineUrl], {
    stdio: 'inherit',
  });
  await vi.waitUntil(
    () =>
      fetchEngineHealth(engineUrl)
        .then((health) => health.status === 'ok')
        .catch(() => false),
    { timeout: 30_000, interval: 100 },
  );
}, 120_000);

afterAll(() => {
  engine?.kill('SIGKILL');
});

test('the demo model greets and says its name in a stock AgentSession', async () => {
  const wav = new wavefile.WaveFile(readFileSync(QUESTION));
  wav.toBitDepth('32f');
  const question = Float32Array.from(wav.getSamples());

  const moshi = new MoshiModel({
    engineUrl,
    sampling: { textTemperature: 0, audioTemperature: 0 },
  });
  const session = new voice.AgentSession({
    llm: new llm.DuplexRealtimeAdapter(moshi),
    ...sessionOptions,
  });
  const microphone = new TestMicrophone();
  const loudspeaker = new TestLoudspeaker();
  session.input.audio = microphone;
  session.output.audio = loudspeaker;
  const messages: string[] = [];
  session.on(voice.AgentSessionEventTypes.ConversationItemAdded, ({ item }) => {
    if (item.type === 'message') {
      messages.push(item.textContent ?? '');
    }
  });
  const agent = new CaptionedAgent({ instructions: '' });
  await session.start({ agent, record: false });
  try {
    microphone.speak(question, 24_000);
    await vi.waitUntil(() => messages.join('').includes(DEMO_LINES.name), { timeout: 20_000 });
  } catch (error) {
    throw new Error(`The model said: ${JSON.stringify(messages)}`, { cause: error });
  } finally {
    await microphone.close();
    await session.close();
  }
  expect(messages.join('')).toBe(` ${DEMO_LINES.greet} ${DEMO_LINES.name}`);
  expect(agent.captions.map((word) => word.text).join('')).toBe(messages.join(''));
  const loudFrames = loudspeaker.frames.filter((frame) =>
    frame.data.some((sample) => Math.abs(sample) > 1_000),
  );
  expect(loudFrames.length).toBeGreaterThan(30);
}, 60_000);
