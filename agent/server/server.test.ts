import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { TokenVerifier } from 'livekit-server-sdk';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiError } from './api-error.ts';
import type { RoomDirectory, RoomState } from './room-directory.ts';
import { createServer, type EngineState, type ServerOptions } from './server.ts';

const API_KEY = 'devkey';
const API_SECRET = 'a secret of at least thirty-two characters';
const LIVEKIT_URL = 'ws://127.0.0.1:7880';

/** A LiveKit that knows the rooms it is told and remembers who was sent there. */
class FakeRooms implements RoomDirectory {
  readonly rooms = new Map<string, RoomState>();
  readonly dispatches: { room: string; metadata: string }[] = [];
  failure: ApiError | null = null;

  describeRoom(room: string): Promise<RoomState | null> {
    return this.#answer(this.rooms.get(room) ?? null);
  }

  dispatchAgent(room: string, metadata: string): Promise<void> {
    this.dispatches.push({ room, metadata });
    this.rooms.set(room, { humans: [], hasAgent: true });
    return this.#answer(undefined);
  }

  check(): Promise<void> {
    return this.#answer(undefined);
  }

  #answer<T>(value: T): Promise<T> {
    return this.failure === null ? Promise.resolve(value) : Promise.reject(this.failure);
  }
}

const ENGINE: EngineState = {
  status: 'ok',
  slotsTotal: 4,
  slotsUsable: 4,
  slotsUsed: 1,
  model: { name: 'demo', isDemo: true },
};

function setUp(options: Partial<ServerOptions> = {}) {
  const rooms = new FakeRooms();
  const time = { nowMs: 1_800_000_000_000 };
  const server = createServer({
    livekit: { url: LIVEKIT_URL, apiKey: API_KEY, apiSecret: API_SECRET },
    pageDirectory: '/nowhere',
    publicUrl: 'https://talk.example',
    logger: pino({ level: 'silent' }),
    clock: () => time.nowMs,
    rooms,
    ...options,
  });
  return { server, rooms, time };
}

async function post(server: FastifyInstance, url: string, body?: unknown) {
  const response = await server.inject({
    method: 'POST',
    url,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, payload: JSON.stringify(body) }),
  });
  return {
    status: response.statusCode,
    headers: response.headers,
    body: response.json<Record<string, string>>(),
  };
}

async function readToken(token: string | undefined) {
  return new TokenVerifier(API_KEY, API_SECRET).verify(token ?? '');
}

describe('POST /api/token', () => {
  test('gives a fresh room with the agent to a caller who asks for nothing', async () => {
    const { server } = setUp();
    const { status, headers, body } = await post(server, '/api/token');
    expect(status).toBe(201);
    expect(headers['cache-control']).toBe('no-store');
    expect(body).toMatchObject({ server_url: LIVEKIT_URL, serverUrl: LIVEKIT_URL });
    expect(body['participantToken']).toBe(body['participant_token']);
    const claims = await readToken(body['participant_token']);
    expect(claims.video).toEqual({
      room: body['room_name'],
      roomJoin: true,
      canPublish: true,
      canPublishSources: ['microphone'],
      canSubscribe: true,
      canPublishData: true,
      canUpdateOwnMetadata: false,
    });
    expect(claims.sub).toBe(body['identity']);
    expect(claims.sub).toMatch(/^visitor-[A-Za-z0-9_-]{12}$/);
    expect(claims.roomConfig?.agents.map(({ agentName }) => agentName)).toEqual(['moshi']);
    expect(claims.roomConfig?.egress).toBeUndefined();
  });

  test('gives tokens that expire after ten minutes', async () => {
    const { server } = setUp();
    const { body } = await post(server, '/api/token', {});
    const { exp, nbf } = await readToken(body['participant_token']);
    expect((exp ?? 0) - (nbf ?? 0)).toBe(600);
  });

  test('gives every caller another room and another identity', async () => {
    const { server } = setUp();
    const first = await post(server, '/api/token');
    const second = await post(server, '/api/token');
    expect(first.body['room_name']).not.toBe(second.body['room_name']);
    expect(first.body['identity']).not.toBe(second.body['identity']);
  });

  test('passes on what a caller says of himself', async () => {
    const { server } = setUp();
    const { status, body } = await post(server, '/api/token', {
      room_name: 'lounge',
      participant_name: 'Ada Lovelace',
      participant_identity: 'ada',
      participant_metadata: '{"lamp":true}',
      participant_attributes: { language: 'en' },
      room_config: { agents: [{ agent_name: 'moshi', metadata: 'persona=calm' }] },
    });
    expect(status).toBe(201);
    expect(body).toMatchObject({ room_name: 'lounge', roomName: 'lounge', identity: 'ada' });
    const claims = await readToken(body['participant_token']);
    expect(claims).toMatchObject({
      sub: 'ada',
      name: 'Ada Lovelace',
      metadata: '{"lamp":true}',
      attributes: { language: 'en' },
    });
    expect(claims.roomConfig?.agents[0]?.metadata).toBe('persona=calm');
  });

  test('adds the agent where the room configuration names none', async () => {
    const { server } = setUp();
    const { body } = await post(server, '/api/token', { room_config: { agents: [] } });
    const claims = await readToken(body['participant_token']);
    expect(claims.roomConfig?.agents.map(({ agentName }) => agentName)).toEqual(['moshi']);
  });

  test.each([
    ['room_name', { room_name: 7 }, /room_name .*expected string/],
    ['room_name', { room_name: '' }, /room_name must begin with/],
    ['room_name', { room_name: '../etc' }, /room_name must begin with/],
    ['room_name', { room_name: 'r'.repeat(129) }, /at most 128/],
    ['participant_name', { participant_name: 'a\nb' }, /line breaks/],
    ['participant_name', { participant_name: 'x'.repeat(65) }, /at most 64/],
    ['participant_identity', { participant_identity: 'agent-AJ_1' }, /must not begin with "agent"/],
    ['participant_metadata', { participant_metadata: 'm'.repeat(1025) }, /at most 1024/],
    ['participant_attributes', { participant_attributes: { 'lk.agent.name': 'x' } }, /"lk."/],
    ['participant_attributes.a', { participant_attributes: { a: 1 } }, /expected string/],
    ['room_config', { room_config: [] }, /expected object/],
    [
      'room_config.agents.0.agent_name',
      { room_config: { agents: [{ agent_name: 'spy' }] } },
      /is "spy", the only agent here is "moshi"/,
    ],
    [
      'room_config.agents.0.agentName',
      { room_config: { agents: [{ agentName: 'spy' }] } },
      /is "spy"/,
    ],
    [
      'room_config.agents',
      { room_config: { agents: [{ agent_name: 'moshi' }, { agent_name: 'moshi' }] } },
      /at most one agent/,
    ],
    ['room_config.egress', { room_config: { egress: {} } }, /not a field that can be set here/],
    ['link_id', { link_id: 'short' }, /not the id of a join link/],
    ['roomName', { roomName: 'lounge' }, /spelt room_name/],
  ])('refuses a wrong %s', async (field, body, message) => {
    const { server, rooms } = setUp();
    const response = await post(server, '/api/token', body);
    expect(response.status).toBe(400);
    expect(response.body).toMatchObject({ error: 'invalid_request', field });
    expect(response.body['message']).toMatch(message);
    expect(rooms.dispatches).toEqual([]);
  });

  test.each([['[]'], ['"text"'], ['7']])('refuses the body %s', async (payload) => {
    const { server } = setUp();
    const response = await server.inject({
      method: 'POST',
      url: '/api/token',
      headers: { 'content-type': 'application/json' },
      payload,
    });
    expect(response.statusCode).toBe(400);
    expect(response.json()).toMatchObject({ error: 'invalid_request' });
  });

  test('refuses what is not JSON, not announced as JSON, or too large', async () => {
    const { server } = setUp();
    const send = (type: string, payload: string) =>
      server.inject({
        method: 'POST',
        url: '/api/token',
        headers: { 'content-type': type },
        payload,
      });
    expect((await send('application/json', '{"room_name":')).statusCode).toBe(400);
    expect((await send('application/json', '{"__proto__":{"a":1}}')).statusCode).toBe(400);
    expect((await send('text/plain', '{}')).statusCode).toBe(415);
    const large = await send('application/json', JSON.stringify({ x: 'y'.repeat(20_000) }));
    expect(large.statusCode).toBe(413);
    expect(large.json()).toMatchObject({ error: 'too_large' });
  });

  test('sends the agent into a room that runs without one', async () => {
    const { server, rooms } = setUp();
    rooms.rooms.set('lounge', { humans: ['ada'], hasAgent: false });
    expect((await post(server, '/api/token', { room_name: 'lounge' })).status).toBe(201);
    expect(rooms.dispatches).toEqual([{ room: 'lounge', metadata: '' }]);
  });

  test('sends one agent when two enter at the same moment', async () => {
    const { server, rooms } = setUp();
    rooms.rooms.set('lounge', { humans: [], hasAgent: false });
    await Promise.all([1, 2, 3].map(() => post(server, '/api/token', { room_name: 'lounge' })));
    expect(rooms.dispatches).toHaveLength(1);
  });

  test('sends none where one is, and none into a room that the join creates', async () => {
    const { server, rooms } = setUp();
    rooms.rooms.set('lounge', { humans: ['ada'], hasAgent: true });
    await post(server, '/api/token', { room_name: 'lounge' });
    await post(server, '/api/token', { room_name: 'garden' });
    expect(rooms.dispatches).toEqual([]);
  });

  test('refuses the identity of somebody who is inside', async () => {
    const { server, rooms } = setUp();
    rooms.rooms.set('lounge', { humans: ['ada'], hasAgent: true });
    const { status, body } = await post(server, '/api/token', {
      room_name: 'lounge',
      participant_identity: 'ada',
    });
    expect(status).toBe(409);
    expect(body).toMatchObject({ error: 'identity_taken', field: 'participant_identity' });
  });

  test('says that all lines are busy when the engine is full', async () => {
    const full = { ...ENGINE, slotsUsed: 4 };
    const { server, rooms } = setUp({ fetchEngineHealth: () => Promise.resolve(full) });
    const { status, headers, body } = await post(server, '/api/token');
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('10');
    expect(body['error']).toBe('busy');
    rooms.rooms.set('lounge', { humans: ['ada'], hasAgent: true });
    expect((await post(server, '/api/token', { room_name: 'lounge' })).status).toBe(201);
  });

  test('says that LiveKit is down, and why', async () => {
    const { server, rooms } = setUp();
    rooms.failure = new ApiError(503, 'livekit_unreachable', 'The LiveKit server is down.');
    const { status, body } = await post(server, '/api/token');
    expect(status).toBe(503);
    expect(body).toEqual({ error: 'livekit_unreachable', message: 'The LiveKit server is down.' });
  });

  test('finds out by itself that nothing answers at the LiveKit address', async () => {
    const server = createServer({
      // Port 9 of the loopback: nobody listens there.
      livekit: { url: 'ws://127.0.0.1:9', apiKey: API_KEY, apiSecret: API_SECRET },
      pageDirectory: '/nowhere',
      publicUrl: 'https://talk.example',
      logger: pino({ level: 'silent' }),
    });
    const { status, body } = await post(server, '/api/token');
    expect(status).toBe(503);
    expect(body['message']).toMatch(/LiveKit server at ws:\/\/127\.0\.0\.1:9 does not answer/);
  });

  test('slows down one address and no other', async () => {
    const { server, time } = setUp({ rateLimit: { burst: 2, perSecond: 0.5, callers: 10 } });
    const ask = (remoteAddress: string) =>
      server.inject({ method: 'POST', url: '/api/token', remoteAddress });
    expect((await ask('192.0.2.1')).statusCode).toBe(201);
    expect((await ask('192.0.2.1')).statusCode).toBe(201);
    const refused = await ask('192.0.2.1');
    expect(refused.statusCode).toBe(429);
    expect(refused.headers['retry-after']).toBe('2');
    expect((await ask('192.0.2.2')).statusCode).toBe(201);
    time.nowMs += 2_000;
    expect((await ask('192.0.2.1')).statusCode).toBe(201);
  });
});

describe('join links', () => {
  test('lead into one room until they expire', async () => {
    const { server, time } = setUp();
    const made = await post(server, '/api/links', { displayName: 'Ada', ttlSeconds: 60 });
    expect(made.status).toBe(201);
    const id = made.body['id'] ?? '';
    expect(id).toMatch(/^[A-Za-z0-9_-]{22}$/);
    expect(made.body['url']).toBe(`https://talk.example/j/${id}`);
    expect(made.body['expiresAt']).toBe(new Date(time.nowMs + 60_000).toISOString());

    const described = await server.inject(`/api/links/${id}`);
    expect(described.json()).toMatchObject({ displayName: 'Ada', maxParticipants: null });
    expect(described.body).not.toContain('room');

    const first = await post(server, '/api/token', { link_id: id });
    const second = await post(server, '/api/token', { link_id: id });
    expect(first.status).toBe(201);
    expect(first.body['room_name']).toBe(second.body['room_name']);
    expect((await readToken(first.body['participant_token'])).name).toBe('Ada');

    time.nowMs += 60_000;
    expect((await server.inject(`/api/links/${id}`)).statusCode).toBe(410);
    const late = await post(server, '/api/token', { link_id: id });
    expect(late.status).toBe(410);
    expect(late.body['error']).toBe('link_expired');
  });

  test('that never were are told apart from expired ones', async () => {
    const { server } = setUp();
    const { status, body } = await post(server, '/api/token', { link_id: 'A'.repeat(22) });
    expect(status).toBe(404);
    expect(body['error']).toBe('not_found');
    expect((await server.inject('/api/links/nonsense')).statusCode).toBe(404);
  });

  test('are the only way into their room', async () => {
    const { server } = setUp();
    await post(server, '/api/links', { room: 'lounge' });
    const { status, body } = await post(server, '/api/token', { room_name: 'lounge' });
    expect(status).toBe(403);
    expect(body['error']).toBe('link_required');
    const again = await post(server, '/api/links', { room: 'lounge' });
    expect(again.status).toBe(409);
    expect(again.body['error']).toBe('room_taken');
  });

  test('keep their limit of participants', async () => {
    const { server, rooms } = setUp();
    const made = await post(server, '/api/links', { room: 'lounge', maxParticipants: 2 });
    const enter = () => post(server, '/api/token', { link_id: made.body['id'] });
    rooms.rooms.set('lounge', { humans: ['ada'], hasAgent: true });
    const { body } = await enter();
    const claims = await readToken(body['participant_token']);
    expect(claims.roomConfig?.maxParticipants).toBe(2);
    rooms.rooms.set('lounge', { humans: ['ada', 'bob'], hasAgent: true });
    expect((await enter()).body['error']).toBe('room_full');
  });

  test.each([
    ['ttlSeconds', { ttlSeconds: 5 }],
    ['ttlSeconds', { ttlSeconds: '60' }],
    ['maxParticipants', { maxParticipants: 1.5 }],
    ['displayName', { displayName: 'a\u0000b' }],
    ['room', { room: 'a b' }],
    ['rooom', { rooom: 'lounge' }],
  ])('are not made with a wrong %s', async (field, body) => {
    const { server } = setUp();
    const response = await post(server, '/api/links', body);
    expect(response.status).toBe(400);
    expect(response.body).toMatchObject({ error: 'invalid_request', field });
  });
});

describe('GET /health', () => {
  test('is well when LiveKit and the engine are', async () => {
    const { server } = setUp({ fetchEngineHealth: () => Promise.resolve(ENGINE) });
    const response = await server.inject('/health');
    expect(response.statusCode).toBe(200);
    expect(response.json()).toEqual({
      status: 'ok',
      livekit: { status: 'ok' },
      engine: { status: 'ok', model: 'demo', slotsTotal: 4, slotsUsable: 4, slotsUsed: 1 },
    });
  });

  test('fails when the engine does not answer', async () => {
    const { server } = setUp({ fetchEngineHealth: () => Promise.reject(new Error('gone')) });
    const response = await server.inject('/health');
    expect(response.statusCode).toBe(503);
    expect(response.json()).toMatchObject({ engine: { status: 'unreachable' } });
  });

  test('fails when LiveKit does not answer', async () => {
    const { server, rooms } = setUp();
    rooms.failure = new ApiError(503, 'livekit_refused', 'The key is wrong.');
    const response = await server.inject('/health');
    expect(response.statusCode).toBe(503);
    expect(response.json()).toMatchObject({ livekit: { message: 'The key is wrong.' } });
  });
});

describe('GET /api/config', () => {
  test.each([
    ['ready', () => Promise.resolve(ENGINE)],
    ['full', () => Promise.resolve({ ...ENGINE, slotsUsed: 4 })],
    ['unavailable', () => Promise.reject(new Error('gone'))],
  ])('says %s', async (availability, fetchEngineHealth) => {
    const { server } = setUp({ fetchEngineHealth });
    const response = await server.inject('/api/config');
    expect(response.json()).toMatchObject({ serverUrl: LIVEKIT_URL, availability });
  });

  test('names the model', async () => {
    const { server } = setUp({ fetchEngineHealth: () => Promise.resolve(ENGINE) });
    const response = await server.inject('/api/config');
    expect(response.json()).toMatchObject({ model: { name: 'demo', isDemo: true } });
  });
});

describe('the page', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-page-'));
    await mkdir(path.join(folder, 'page', 'assets'), { recursive: true });
    await writeFile(path.join(folder, 'secret.txt'), 'secret');
    await writeFile(path.join(folder, 'page', '.sources'), 'stamp');
    await writeFile(path.join(folder, 'page', 'index.html'), '<!doctype html><title>page</title>');
    await writeFile(path.join(folder, 'page', 'assets', 'index-abc.js'), 'export {};');
  });
  afterAll(() => rm(folder, { recursive: true }));

  function setUpPage() {
    return setUp({ pageDirectory: path.join(folder, 'page') }).server;
  }

  test.each(['/', '/j/AAAAAAAAAAAAAAAAAAAAAA'])(
    'is served at %s, never from a cache',
    async (url) => {
      const response = await setUpPage().inject(url);
      expect(response.statusCode).toBe(200);
      expect(response.headers['content-type']).toMatch(/text\/html/);
      expect(response.headers['cache-control']).toBe('no-cache');
      const policy = String(response.headers['content-security-policy']);
      expect(policy).toContain(`connect-src 'self' ${LIVEKIT_URL} http://127.0.0.1:7880`);
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe');
      expect(response.headers['x-content-type-options']).toBe('nosniff');
      expect(response.headers['referrer-policy']).toBe('no-referrer');
    },
  );

  test('has assets that browsers keep', async () => {
    const response = await setUpPage().inject('/assets/index-abc.js');
    expect(response.statusCode).toBe(200);
    expect(response.headers['cache-control']).toContain('immutable');
  });

  test('has assets that travel compressed', async () => {
    await writeFile(path.join(folder, 'page', 'assets', 'index-abc.js.br'), 'compressed');
    const response = await setUpPage().inject({
      url: '/assets/index-abc.js',
      headers: { 'accept-encoding': 'gzip, br' },
    });
    expect(response.headers['content-encoding']).toBe('br');
    expect(response.headers['content-type']).toMatch(/javascript/);
  });

  test.each([
    '/assets/../../secret.txt',
    '/assets/..%2f..%2fsecret.txt',
    '/assets/%2e%2e/%2e%2e/secret.txt',
    '/assets/..%5c..%5csecret.txt',
    '/assets/../.sources',
    '/.sources',
    '/assets/',
    '/assets/nothing.js',
  ])('gives nothing away at %s', async (url) => {
    const response = await setUpPage().inject(url);
    expect([400, 403, 404]).toContain(response.statusCode);
    expect(response.body).not.toContain('secret\n');
    expect(response.json()).toHaveProperty('error');
  });

  test('that was not built is a clear error', async () => {
    const { server } = setUp();
    const response = await server.inject('/');
    expect(response.statusCode).toBe(503);
    expect(response.json()).toMatchObject({ error: 'page_not_built' });
  });
});
