import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from 'tar';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findPulled, resolveModel } from '../catalogue.ts';
import { openCheckpoint } from '../checkpoints/checkpoint.ts';
import { HubStandIn } from '../test-support/hub-stand-in.ts';
import type { HubSettings } from './hub-client.ts';
import { HubError } from './hub-error.ts';
import { pullModel, type PulledModel, type PullEffects } from './pull.ts';

const DEMO = join(import.meta.dirname, '../demo');
const REPOSITORY = 'someone/tiny-moshi';
const WEIGHTS = 'model.safetensors';

let folder: string;
let hub: HubStandIn;
let settings: HubSettings;
/** What a test makes of the machine. */
let effects: PullEffects;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'moshi-pull-'));
  hub = await HubStandIn.start();
  settings = {
    cacheDirectory: join(folder, 'hub'),
    endpoint: hub.endpoint,
    tokenFile: join(folder, 'token'),
    token: undefined,
    isOffline: false,
  };
  effects = {
    write: (file, bytes) => file.appendFile(bytes),
    pause: () => Promise.resolve(),
    freeBytes: () => Promise.resolve(1e12),
  };
  for (const name of ['config.json', 'mimi_config.json']) add(name);
  for (const name of [WEIGHTS, 'mimi.safetensors', 'tokenizer.model']) add(name, true);
  hub.add(REPOSITORY, 'README.md', 'not needed');
  hub.add(REPOSITORY, 'other/weights.bin', 'not needed either', true);
});
afterEach(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true, force: true });
});

function add(name: string, isLarge = false): void {
  hub.add(REPOSITORY, name, readFileSync(join(DEMO, name)), isLarge);
}

function pull(
  options: { repository?: string; revision?: string; onProgress?: (bytes: number) => void } = {},
): Promise<PulledModel> {
  return pullModel({
    repository: options.repository ?? REPOSITORY,
    revision: options.revision ?? 'main',
    settings,
    signal: new AbortController().signal,
    onProgress: options.onProgress ?? (() => undefined),
    effects,
  });
}

const repositoryFolder = (): string => join(settings.cacheDirectory, 'models--someone--tiny-moshi');
const sizeOf = (name: string): number => readFileSync(join(DEMO, name)).length;
/** A difference of megabytes is better not printed. */
function expectWeights(directory: string): void {
  const [found, wanted] = [directory, DEMO].map((place) => readFileSync(join(place, WEIGHTS)));
  expect(found!.equals(wanted!)).toBe(true);
}

const fetched = (name: string): (string | undefined)[] =>
  hub.requests
    .filter(({ host, url }) => host === 'cdn' && url.endsWith(`/${name}`))
    .map(({ range }) => range);

test('fetches what config.json names, and nothing else, as Hugging Face’s tools lay it out', async () => {
  const seen: number[] = [];
  const pulled = await pull({ onProgress: (bytes) => seen.push(bytes) });
  expect(pulled).toMatchObject({
    commit: hub.commit,
    fetchedBytes: pulled.bytes - sizeOf('config.json'),
  });
  expect(pulled.directory).toBe(join(repositoryFolder(), 'snapshots', hub.commit));
  expect(readdirSync(pulled.directory).sort()).toEqual([
    'config.json',
    'mimi.safetensors',
    'mimi_config.json',
    'model.safetensors',
    'tokenizer.model',
  ]);
  expect(readFileSync(join(repositoryFolder(), 'refs/main'), 'utf8')).toBe(hub.commit);
  const sha256 = createHash('sha256')
    .update(readFileSync(join(DEMO, WEIGHTS)))
    .digest('hex');
  expect(readlinkSync(join(pulled.directory, WEIGHTS))).toBe(`../../blobs/${sha256}`);
  expect(seen.at(-1)).toBe(pulled.bytes);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expectWeights(pulled.directory);
});

test('what was pulled is found by the name of its repository, and opens', async () => {
  expect(() => resolveModel(REPOSITORY, settings.cacheDirectory)).toThrow(
    `The weights of ${REPOSITORY} are not here`,
  );
  expect(() => resolveModel('moshiko', settings.cacheDirectory)).toThrow('models pull moshiko');
  const { directory } = await pull();
  const model = resolveModel(REPOSITORY, settings.cacheDirectory);
  expect(model).toEqual({ directory, name: 'tiny-moshi', isDemo: false });
  await expect(openCheckpoint(model.directory)).resolves.toMatchObject({ directory });
});

test('fetches nothing twice', async () => {
  await pull();
  const before = hub.requests.filter(({ host }) => host === 'cdn').length;
  await expect(pull()).resolves.toMatchObject({ fetchedBytes: 0 });
  await expect(pull({ revision: hub.commit })).resolves.toMatchObject({ fetchedBytes: 0 });
  expect(hub.requests.filter(({ host }) => host === 'cdn')).toHaveLength(before);
});

test('goes on where a connection broke', async () => {
  hub.accidents.breaks = { afterBytes: 100_000, times: 3 };
  const { directory } = await pull();
  expectWeights(directory);
  // How much of what was sent arrives before the break is the system's choice.
  const starts = fetched('tokenizer.model').map((range) => Number.parseInt(range!.slice(6), 10));
  expect(starts.length).toBeGreaterThanOrEqual(3);
  expect(starts[0]).toBe(0);
  expect(starts.slice(1).every((start, index) => start > starts[index]!)).toBe(true);
});

test('goes on in the next call after it gave up, and tells that it can', async () => {
  hub.accidents.breaks = { afterBytes: 0, times: Infinity };
  const blobs = join(repositoryFolder(), 'blobs');
  const sha256 = createHash('sha256')
    .update(readFileSync(join(DEMO, WEIGHTS)))
    .digest('hex');
  mkdirSync(blobs, { recursive: true });
  const half = readFileSync(join(DEMO, WEIGHTS)).subarray(0, 200_000);
  writeFileSync(join(blobs, `${sha256}.incomplete`), half);
  await expect(pull()).rejects.toThrow(/keeps breaking at byte 0 .*pull again to go on/);
  hub.accidents.breaks = null;
  const { directory, bytes, fetchedBytes } = await pull();
  expect(fetched(WEIGHTS)).toEqual(['bytes=200000-']);
  expect(fetchedBytes).toBeLessThanOrEqual(bytes - half.length);
  expectWeights(directory);
});

test('begins anew with a server that cannot go on in the middle', async () => {
  hub.accidents.breaks = { afterBytes: 50_000, times: 2 };
  hub.accidents.ignoresRanges = true;
  const { directory } = await pull();
  expectWeights(directory);
});

test('refuses a file with another checksum, and keeps nothing of it', async () => {
  hub.accidents.isDamaged = true;
  await expect(pull()).rejects.toThrow(/arrived damaged: its checksum is [0-9a-f]{64}, not/);
  expect(
    readdirSync(join(repositoryFolder(), 'blobs')).filter((name) => name.length === 64),
  ).toEqual([]);
  expect(existsSync(join(repositoryFolder(), 'refs'))).toBe(false);
  hub.accidents.isDamaged = false;
  await expect(pull()).resolves.toMatchObject({ commit: hub.commit });
});

test('checks small files, too, by the checksum that git gives them', async () => {
  const { directory } = await pull();
  const content = readFileSync(join(DEMO, 'config.json'));
  const sha1 = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  expect(readlinkSync(join(directory, 'config.json'))).toBe(`../../blobs/${sha1}`);
});

test('says before it begins that the disk has no room', async () => {
  effects = { ...effects, freeBytes: () => Promise.resolve(100_000_000) };
  const weights = Buffer.alloc(40_000_000);
  hub.add(REPOSITORY, WEIGHTS, weights, true);
  await expect(pull()).rejects.toThrow(
    /are to be fetched, but the disk of .* has 0\.1 GB left: make/,
  );
  expect(fetched(WEIGHTS)).toEqual([]);
});

test('explains a disk that fills up meanwhile, and goes on when there is room', async () => {
  let room = 300_000;
  effects = {
    ...effects,
    write: (file, bytes) => {
      room -= bytes.length;
      return room < 0 && bytes.length > 10_000
        ? Promise.reject(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
        : file.appendFile(bytes);
    },
  };
  await expect(pull()).rejects.toThrow(
    /is full\. What has arrived is kept: make room, or set HF_HOME/,
  );
  room = Infinity;
  const { directory } = await pull();
  expectWeights(directory);
});

test('explains a cache that it may not write to', async () => {
  effects = {
    ...effects,
    write: () => Promise.reject(Object.assign(new Error('EACCES: denied'), { code: 'EACCES' })),
  };
  await expect(pull()).rejects.toThrow(
    /may not be written to .*set HF_HOME to a folder of its own/,
  );
});

test('explains a gated repository without and with a token', async () => {
  hub.accidents.refusal = { status: 401, code: 'GatedRepo' };
  await expect(pull()).rejects.toThrow(
    `${REPOSITORY} is gated: accept the licence at ${hub.endpoint}/${REPOSITORY}, make a token at ` +
      `${hub.endpoint}/settings/tokens, and set HF_TOKEN to it.`,
  );
  hub.accidents.refusal = { status: 403, code: 'GatedRepo' };
  settings = { ...settings, token: 'hf_secret' };
  const problem = await pull().catch((error: unknown) => error);
  expect(problem).toBeInstanceOf(HubError);
  expect(String(problem)).toMatch(/the account that HF_TOKEN belongs to has no access yet/);
  expect(String(problem)).not.toContain('hf_secret');
});

test('explains what is unknown: repository, revision, file, token', async () => {
  await expect(pull({ repository: 'someone/nothing' })).rejects.toThrow(
    /has no repository someone\/nothing: check its name, or set HF_TOKEN if it is private/,
  );
  await expect(pull({ revision: 'v9' })).rejects.toThrow(/has no such revision/);
  await expect(pull({ revision: '../../x' })).rejects.toThrow(/no name of a file or revision/);
  await expect(pull({ repository: '../..' })).rejects.toThrow(/no name of a repository/);
  hub.add(REPOSITORY, 'config.json', '{"tokenizer_name": "gone.model"}');
  await expect(pull()).rejects.toThrow(/has no file gone\.model, which its config\.json asks/);
  hub.add(REPOSITORY, 'config.json', '{"moshi_name": 5}');
  await expect(pull()).rejects.toThrow(/config\.json cannot be used/);
  hub.accidents.refusal = { status: 401, code: '' };
  settings = { ...settings, token: 'wrong' };
  await expect(pull()).rejects.toThrow(/does not accept the token/);
});

test('gives the token to the hub, never to the host that it redirects to', async () => {
  writeFileSync(settings.tokenFile, 'hf_from_file\n');
  await pull();
  const tokens = (host: string): Set<string | undefined> =>
    new Set(hub.requests.filter((seen) => seen.host === host).map(({ token }) => token));
  expect(tokens('hub')).toEqual(new Set(['Bearer hf_from_file']));
  expect(tokens('cdn')).toEqual(new Set([undefined]));
});

test('tries again after hiccups, and gives up after some', async () => {
  hub.accidents.hiccups = [503, 429, 500];
  await expect(pull()).resolves.toMatchObject({ commit: hub.commit });
  hub.accidents.hiccups = Array.from({ length: 10 }, () => 503);
  await expect(pull()).rejects.toThrow(/answered 503 .* try again later/);
});

test('asks nobody when offline, and says what is missing', async () => {
  settings = { ...settings, isOffline: true };
  await expect(pull()).rejects.toThrow(/HF_HUB_OFFLINE forbids/);
  settings = { ...settings, isOffline: false };
  const { directory } = await pull();
  settings = { ...settings, isOffline: true, endpoint: 'http://127.0.0.1:9' };
  const before = hub.requests.length;
  await expect(pull()).resolves.toMatchObject({ directory, fetchedBytes: 0 });
  rmSync(join(directory, 'tokenizer.model'));
  await expect(pull()).rejects.toThrow(/lacks tokenizer\.model/);
  expect(findPulled(REPOSITORY, settings.cacheDirectory)).toMatchObject({
    missing: expect.stringContaining('lacks tokenizer.model') as string,
  });
  expect(hub.requests).toHaveLength(before);
});

test('explains a hub that cannot be reached', async () => {
  settings = { ...settings, endpoint: 'http://127.0.0.1:9' };
  await expect(pull()).rejects.toThrow(/http:\/\/127\.0\.0\.1:9 cannot be reached .*HF_ENDPOINT/);
});

test('ends when it is told to, and keeps what is there', async () => {
  const ending = new AbortController();
  const pulling = pullModel({
    repository: REPOSITORY,
    revision: 'main',
    settings,
    signal: ending.signal,
    onProgress: () => {
      ending.abort(new Error('enough'));
    },
    effects,
  });
  await expect(pulling).rejects.toThrow('enough');
});

test('fetches files of other repositories that config.json names', async () => {
  const config = JSON.parse(readFileSync(join(DEMO, 'config.json'), 'utf8')) as object;
  const mimi_name = 'hf://someone/codec/weights/mimi.safetensors';
  hub.add(REPOSITORY, 'config.json', JSON.stringify({ ...config, mimi_name }));
  hub.add(
    'someone/codec',
    'weights/mimi.safetensors',
    readFileSync(join(DEMO, 'mimi.safetensors')),
    true,
  );
  const { directory } = await pull();
  expect(existsSync(join(directory, 'mimi.safetensors'))).toBe(false);
  await expect(openCheckpoint(directory, null, {}, settings.cacheDirectory)).resolves.toBeDefined();
  await expect(openCheckpoint(directory)).rejects.toThrow(/mimi_name points to Hugging Face/);
});

test('takes quantised weights under the names that repositories without config.json give them', async () => {
  hub.repositories.delete(REPOSITORY);
  hub.add(REPOSITORY, 'model.q8.gguf', 'GGUF', true);
  hub.add(REPOSITORY, 'tokenizer-e351c8d8-checkpoint125.safetensors', 'codec', true);
  hub.add(REPOSITORY, 'tokenizer_spm_32k_3.model', 'tokenizer', true);
  const { directory } = await pull();
  expect(readdirSync(directory)).toContain('model.q8.gguf');
});

test('unpacks the voices that come with the weights, and nothing else of the archive', async () => {
  const source = join(folder, 'source');
  mkdirSync(join(source, 'voices'), { recursive: true });
  writeFileSync(join(source, 'voices/NATF0.pt'), 'a voice');
  writeFileSync(join(source, 'voices/run.sh'), 'no voice');
  await create({ gzip: true, file: join(source, 'voices.tgz'), cwd: source }, ['voices']);
  hub.add(REPOSITORY, 'voices.tgz', readFileSync(join(source, 'voices.tgz')), true);
  const { directory } = await pull();
  expect(readdirSync(join(directory, 'voices'))).toEqual(['NATF0.pt']);
  expect(lstatSync(join(directory, 'voices.tgz')).isSymbolicLink()).toBe(true);
});
