import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import {
  CONFIG_VARIABLES,
  ConfigError,
  loadConfig,
  readEnvironment,
  REPOSITORY_DIRECTORY,
  requireLiveKit,
  toEnvironment,
  transcriberConfig,
} from './config.ts';

const SECRET = 'an example of a secret that is long enough';
const LIVEKIT = {
  LIVEKIT_URL: 'wss://rooms.example',
  LIVEKIT_API_KEY: 'key',
  LIVEKIT_API_SECRET: SECRET,
};

function problemsOf(environment: Record<string, string>): readonly string[] {
  try {
    loadConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.problems;
    }
    throw error;
  }
  return [];
}

test('needs nothing: every variable has a default', () => {
  const config = loadConfig({});
  expect(config.model.name).toBe('demo');
  expect(config.engine).toMatchObject({ slots: 4, device: 'auto', isConfigured: false });
  expect(config.server).toEqual({
    host: '127.0.0.1',
    port: 3000,
    publicUrl: 'http://127.0.0.1:3000',
  });
  expect(config.cacheDirectory).toBe(path.join(REPOSITORY_DIRECTORY, '.cache'));
});

test('counts empty and blank strings as unset, as Compose passes them', () => {
  const blank = Object.fromEntries(CONFIG_VARIABLES.map((name) => [name, '  ']));
  expect(loadConfig(blank)).toEqual(loadConfig({}));
});

test('reports all problems at once, with variable, found value and rule', () => {
  const problems = problemsOf({
    LIVEKIT_URL: 'rooms.example',
    MOSHI_HTTP_PORT: '99999',
    MOSHI_ENGINE_SLOTS: 'many',
    MOSHI_DEVICE: 'abacus',
    MOSHI_ENGINE_URL: 'http://engine',
    MOSHI_LOG_LEVEL: 'loud',
  });
  const text = problems.join('\n');
  expect(problems).toHaveLength(8);
  expect(text).toContain('LIVEKIT_URL is "rooms.example"');
  expect(text).toContain('LIVEKIT_API_KEY is not set');
  expect(text).toContain('LIVEKIT_API_SECRET is not set');
  expect(text).toContain('MOSHI_HTTP_PORT is "99999", must be a whole number from 1 to 65535');
  expect(text).toContain('MOSHI_ENGINE_SLOTS is "many"');
  expect(text).toContain('MOSHI_DEVICE is "abacus", must be one of auto, cpu, cuda, webgpu');
});

test('gives each thread a processor, or none any', () => {
  const processorsOf = (MOSHI_ENGINE_PIN: string) =>
    loadConfig({ MOSHI_ENGINE_PIN }).engine.processors;
  expect(processorsOf('2,0-1')).toEqual([2, 0, 1]);
  expect(processorsOf('off')).toBeUndefined();
  expect(
    loadConfig(toEnvironment(loadConfig({ MOSHI_ENGINE_PIN: '0-1' }))).engine.processors,
  ).toEqual([0, 1]);
  expect(problemsOf({ MOSHI_ENGINE_PIN: 'all' })).toEqual([
    'MOSHI_ENGINE_PIN is "all", must name different processors, such as 0,2-3, or be off',
  ]);
  expect(problemsOf({ MOSHI_ENGINE_PIN: '0,1,0' })).toHaveLength(1);
  expect(problemsOf({ MOSHI_ENGINE_PIN: '0', MOSHI_ENGINE_THREADS: '4' })).toEqual([
    'MOSHI_ENGINE_PIN names 1 processor (0) and MOSHI_ENGINE_THREADS is 4, ' +
      'name one processor for each thread or leave MOSHI_ENGINE_THREADS unset',
  ]);
});

test('never shows a secret, not even a wrong one', () => {
  const problems = problemsOf({
    LIVEKIT_API_KEY: 'key',
    LIVEKIT_API_SECRET: 'hunter2',
    MOSHI_ENGINE_TOKEN: 'swordfish',
  });
  expect(problems.join(' ')).not.toMatch(/hunter2|swordfish/);
  expect(problems.join(' ')).toContain('MOSHI_ENGINE_TOKEN has 9 characters');
});

test('wants the LiveKit key together with its secret', () => {
  expect(problemsOf({ LIVEKIT_API_KEY: 'key' })).toEqual([
    'LIVEKIT_API_SECRET is not set, key and secret are a pair, set both or neither',
  ]);
});

test('accepts an http address of LiveKit and makes it one for WebSockets', () => {
  expect(loadConfig({ ...LIVEKIT, LIVEKIT_URL: 'https://rooms.example/' }).livekit.url).toBe(
    'wss://rooms.example',
  );
});

test('moves the default socket where its path is short enough', () => {
  const { engine } = loadConfig({ MOSHI_CACHE_DIRECTORY: `/${'deep/'.repeat(40)}` });
  expect(Buffer.byteLength(engine.url)).toBeLessThan(108);
});

test('refuses a socket path that operating systems refuse', () => {
  const MOSHI_ENGINE_URL = `unix:/${'x'.repeat(120)}`;
  expect(problemsOf({ MOSHI_ENGINE_URL })[0]).toContain('121 bytes');
  const transcriber = { MOSHI_TRANSCRIBER: 'a', MOSHI_TRANSCRIBER_URL: MOSHI_ENGINE_URL };
  expect(problemsOf(transcriber)[0]).toContain('MOSHI_TRANSCRIBER_URL names a socket path of 121');
});

test('shows where browsers reach a server that listens on all addresses', () => {
  const { server } = loadConfig({ MOSHI_HTTP_HOST: '0.0.0.0', MOSHI_HTTP_PORT: '8080' });
  expect(server.publicUrl).toBe('http://127.0.0.1:8080');
});

test('hands the same configuration on to another process', () => {
  const config = loadConfig({
    ...LIVEKIT,
    MOSHI_ENGINE_URL: 'ws://10.0.0.1:7000',
    MOSHI_TRANSCRIBER: 'stt-1b-en_fr',
    MOSHI_TRANSCRIBER_URL: 'ws://10.0.0.1:7001',
    MOSHI_VOICE: 'NATF2',
    MOSHI_PROMPT: 'You enjoy a good conversation.',
    MOSHI_CONDITION: 'description=very_good,pace=slow and calm',
  });
  expect(config.persona).toEqual({
    voice: 'NATF2',
    prompt: 'You enjoy a good conversation.',
    conditions: { description: 'very_good', pace: 'slow and calm' },
  });
  expect(loadConfig(toEnvironment(config))).toEqual(config);
});

test('writes nothing down unless a transcriber is named, which runs like the engine otherwise', () => {
  expect(loadConfig({ MOSHI_TRANSCRIBER_URL: 'ws://127.0.0.1:9000' }).transcriber).toBeNull();
  expect(transcriberConfig(loadConfig({}))).toBeNull();
  const config = loadConfig({
    MOSHI_TRANSCRIBER: 'stt-1b-en_fr',
    MOSHI_CONTEXT: '100',
    MOSHI_LORA: 'adapters.safetensors',
    MOSHI_PRECISION: 'q8',
    MOSHI_ENGINE_SLOTS: '2',
    MOSHI_ENGINE_PIN: '0-1',
  });
  expect(config.transcriber).toEqual({
    name: 'stt-1b-en_fr',
    url: `unix:${path.join(REPOSITORY_DIRECTORY, '.cache/transcriber.sock')}`,
    isConfigured: false,
  });
  const own = transcriberConfig(config)!;
  expect(own.model).toMatchObject({
    name: 'stt-1b-en_fr',
    precision: 'q8',
    context: undefined,
    adapters: undefined,
  });
  expect(own.engine).toMatchObject({
    url: config.transcriber!.url,
    slots: 2,
    processors: undefined,
  });
  expect(loadConfig(toEnvironment(own))).toMatchObject({ model: own.model, transcriber: null });
});

test('finds Hugging Face’s cache and token where its own tools keep them', () => {
  expect(loadConfig({}).hub).toEqual({
    cacheDirectory: path.join(os.homedir(), '.cache/huggingface/hub'),
    endpoint: 'https://huggingface.co',
    tokenFile: path.join(os.homedir(), '.cache/huggingface/token'),
    token: undefined,
    isOffline: false,
  });
  const { hub } = loadConfig({
    HF_HOME: '~/weights',
    HF_TOKEN: 'hf_abc',
    HF_ENDPOINT: 'https://mirror.example/',
    HF_HUB_OFFLINE: 'yes',
  });
  expect(hub).toEqual({
    cacheDirectory: path.join(os.homedir(), 'weights/hub'),
    endpoint: 'https://mirror.example',
    tokenFile: path.join(os.homedir(), 'weights/token'),
    token: 'hf_abc',
    isOffline: true,
  });
  expect(loadConfig({ HF_HOME: '/a', HF_HUB_CACHE: '/b' }).hub.cacheDirectory).toBe('/b');
  expect(loadConfig({ XDG_CACHE_HOME: '/c' }).hub.cacheDirectory).toBe('/c/huggingface/hub');
});

test('says what a part that needs LiveKit lacks', () => {
  expect(() => requireLiveKit(loadConfig({}))).toThrow(
    /LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET are not set/,
  );
  expect(requireLiveKit(loadConfig(LIVEKIT))).toEqual({
    url: 'wss://rooms.example',
    apiKey: 'key',
    apiSecret: SECRET,
  });
});

const folders: string[] = [];
afterEach(async () => {
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

test('fills in from .env.local, then .env, what the environment leaves out', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-config-'));
  folders.push(folder);
  await writeFile(path.join(folder, '.env.local'), 'MOSHI_MODEL=local\nPATH=/nowhere\n');
  await writeFile(path.join(folder, '.env'), 'MOSHI_MODEL=shared\nMOSHI_HTTP_PORT=4000\n');
  const environment = readEnvironment(folder);
  expect(environment).toMatchObject({ MOSHI_MODEL: 'local', MOSHI_HTTP_PORT: '4000' });
  expect(environment['PATH']).not.toBe('/nowhere');
});
