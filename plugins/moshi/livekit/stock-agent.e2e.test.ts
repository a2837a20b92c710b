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
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { StubEngine } from '../test-support/engine-stub.ts';
import { FRAME_SAMPLES } from '../protocol/messages.ts';

/**
 * The example of the README, as it stands, as a worker on a real livekit-server with a caller in
 * the room. The engine is a stub that says "Hello world." every 4.8 s.
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
      ...(step % 60 === 25 && { text: ' Hello', textToken: 100 }),
      ...(step % 60 === 28 && { text: ' world.', textToken: 101 }),
      ...(step % 60 >= 27 && step % 60 < 40 && { pcm: sound }),
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

type Caller = {
  room: Room;
  words: string[];
  /** Chunks of 10 ms in which the agent's voice arrived. */
  loudChunks: number;
  leave(): Promise<void>;
};

/** Enters the room with an open microphone and notes what there is to hear and to read. */
async function call(roomName: string): Promise<Caller> {
  const room = new Room();
  const microphone = { isOpen: true };
  let talking: Promise<void> = Promise.resolve();
  const caller: Caller = {
    room,
    words: [],
    loudChunks: 0,
    leave: async () => {
      microphone.isOpen = false;
      await talking;
      await room.disconnect();
    },
  };
  const listen = async (track: RemoteAudioTrack): Promise<void> => {
    const reader = new AudioStream(track, { sampleRate: 24_000, frameSizeMs: 10 }).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      caller.loudChunks += value.data.some((sample) => Math.abs(sample) > 3_000) ? 1 : 0;
    }
  };
  room.on(RoomEvent.TrackSubscribed, (track) => {
    if (track instanceof RemoteAudioTrack) {
      void listen(track);
    }
  });
  room.registerTextStreamHandler('lk.transcription', (stream) => {
    const read = async (): Promise<void> => {
      for await (const chunk of stream) {
        caller.words.push(chunk);
      }
    };
    // A caller who leaves in the middle of a sentence breaks the stream off.
    read().catch(() => undefined);
  });
  await joinAsCaller(room, roomName);
  const source = new AudioSource(48_000, 1);
  const track = LocalAudioTrack.createAudioTrack('microphone', source);
  const options = new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
  await room.localParticipant?.publishTrack(track, options);
  talking = (async () => {
    while (microphone.isOpen) {
      await source.captureFrame(new AudioFrame(new Int16Array(480).fill(100), 48_000, 1, 480));
    }
  })();
  return caller;
}

async function untilHeard(caller: Caller): Promise<void> {
  try {
    await vi.waitUntil(() => caller.words.join('').includes(' Hello world.'), { timeout: 40_000 });
    // 13 frames of 80 ms sound; the ends may fall into the codec's ramps.
    await vi.waitUntil(() => caller.loudChunks > 90, { timeout: 5_000 });
  } catch (error) {
    throw new Error(`Words: ${JSON.stringify(caller.words)}. Worker:\n${workerOutput}`, {
      cause: error,
    });
  }
}

test.runIf(hasServer)(
  'the example of the README talks with a caller, and again when the caller comes back',
  async () => {
    const caller = await call('stock');
    try {
      await untilHeard(caller);
      await vi.waitUntil(() => workerOutput.includes('assistant: Hello world.'), {
        timeout: 5_000,
      });
    } finally {
      await caller.leave();
    }
    expect(engine?.sockets.size).toBe(1);
    const again = await call('stock');
    try {
      await untilHeard(again);
      expect(engine?.authorizations).toHaveLength(1);
    } finally {
      await again.leave();
    }
  },
  120_000,
);
