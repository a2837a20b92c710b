import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AudioFrame,
  AudioSource,
  AudioStream,
  LocalAudioTrack,
  RemoteAudioTrack,
  Room,
  RoomEvent,
  TrackPublishOptions,
  TrackSource,
} from '@livekit/rtc-node';
import { AccessToken, RoomAgentDispatch, RoomConfiguration } from 'livekit-server-sdk';
import { afterAll, beforeAll, test, vi } from 'vitest';
import { StubEngine } from '../client/engine-stub.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';

/**
 * The example of the README, as it stands, as a worker on a real livekit-server with a caller in
 * the room. The engine is a stub: it says "Hello world." from step 25 on.
 */
const EXAMPLE = fileURLToPath(new URL('stock-agent.example.ts', import.meta.url));
const ENGINE_PORT = 8998;
const LIVEKIT_PORT = 7280;
const MEDIA_PORT = 7281;
const KEY = 'devkey';
const SECRET = 'a-secret-that-is-used-by-this-test-only';
const URL_OF_SERVER = `ws://127.0.0.1:${LIVEKIT_PORT}`;

const hasServer = spawnSync('livekit-server', ['--version']).status === 0;
if (!hasServer) {
  process.stderr.write('skipped: stock-agent.e2e.test.ts, livekit-server is not on the PATH\n');
}

const processes: ChildProcess[] = [];
let workerOutput = '';
let engine: StubEngine | null = null;

function start(command: string, args: string[]): ChildProcess {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      LIVEKIT_URL: URL_OF_SERVER,
      LIVEKIT_API_KEY: KEY,
      LIVEKIT_API_SECRET: SECRET,
    },
  });
  processes.push(child);
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    // A worker that is asked takes its job processes along.
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(patience);
  }
}

beforeAll(async () => {
  if (!hasServer) {
    return;
  }
  const sound = new Float32Array(FRAME_SAMPLES).map((_, index) => 0.3 * Math.sin(index * 0.1));
  engine = await StubEngine.start(ENGINE_PORT, {
    frame: (step) => ({
      ...(step === 25 && { text: ' Hello', textToken: 100 }),
      ...(step === 28 && { text: ' world.', textToken: 101 }),
      ...(step >= 27 && step < 40 && { pcm: sound }),
    }),
  });
  const file = join(mkdtempSync(join(tmpdir(), 'moshi-')), 'livekit.yaml');
  writeFileSync(
    file,
    `port: ${LIVEKIT_PORT}
bind_addresses: [127.0.0.1]
rtc:
  udp_port: ${MEDIA_PORT}
  tcp_port: 0
  use_external_ip: false
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
  interfaces: { includes: [lo] }
  ips: { includes: [127.0.0.1/32] }
keys: { ${KEY}: ${SECRET} }
`,
  );
  start('livekit-server', ['--config', file]).stdout?.resume();
  await vi.waitUntil(
    async () =>
      fetch(URL_OF_SERVER.replace('ws', 'http'))
        .then((response) => response.ok)
        .catch(() => false),
    { timeout: 10_000, interval: 100 },
  );
  const worker = start(process.execPath, ['--import', 'tsx', EXAMPLE, 'dev']);
  const keep = (chunk: Buffer): void => {
    workerOutput += chunk.toString();
  };
  worker.stdout?.on('data', keep);
  worker.stderr?.on('data', keep);
  await vi.waitUntil(() => workerOutput.includes('registered worker'), { timeout: 60_000 });
}, 90_000);

afterAll(async () => {
  for (const child of processes.reverse()) {
    await stop(child);
  }
  await engine?.kill();
});

async function joinAsCaller(room: Room, name: string): Promise<void> {
  const token = new AccessToken(KEY, SECRET, { identity: 'caller' });
  token.addGrant({ room: name, roomJoin: true });
  token.roomConfig = new RoomConfiguration({
    agents: [new RoomAgentDispatch({ agentName: 'moshi-stock' })],
  });
  await room.connect(URL_OF_SERVER, await token.toJwt(), { autoSubscribe: true, dynacast: false });
}

test.runIf(hasServer)(
  'the example of the README talks with a caller in a room',
  async () => {
    const room = new Room();
    let loudFrames = 0;
    const words: string[] = [];
    room.on(RoomEvent.TrackSubscribed, (track) => {
      if (track instanceof RemoteAudioTrack) {
        void (async () => {
          const reader = new AudioStream(track, 24_000, 1).getReader();
          for (;;) {
            const { value, done } = await reader.read();
            if (done) {
              return;
            }
            loudFrames += value.data.some((sample) => Math.abs(sample) > 3_000) ? 1 : 0;
          }
        })();
      }
    });
    room.registerTextStreamHandler('lk.transcription', (stream) => {
      void (async () => {
        for await (const chunk of stream) {
          words.push(chunk);
        }
      })();
    });
    await joinAsCaller(room, 'stock');

    const source = new AudioSource(48_000, 1);
    const track = LocalAudioTrack.createAudioTrack('microphone', source);
    const options = new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
    await room.localParticipant?.publishTrack(track, options);
    const caller = { isTalking: true };
    const talking = (async () => {
      while (caller.isTalking) {
        await source.captureFrame(new AudioFrame(new Int16Array(480).fill(100), 48_000, 1, 480));
      }
    })();

    try {
      await vi.waitUntil(() => words.join('') === ' Hello world.', { timeout: 40_000 });
      // 13 frames of 80 ms sound; the ends may fall into the codec's ramps.
      await vi.waitUntil(() => loudFrames > 90, { timeout: 5_000 });
      await vi.waitUntil(() => workerOutput.includes('assistant: Hello world.'), {
        timeout: 5_000,
      });
    } catch (error) {
      throw new Error(`Words: ${JSON.stringify(words)}. Worker:\n${workerOutput}`, {
        cause: error,
      });
    } finally {
      caller.isTalking = false;
      await talking;
      await room.disconnect();
    }
  },
  90_000,
);
