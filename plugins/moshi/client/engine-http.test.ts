import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mkdtempSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { PROTOCOL_VERSION } from '../protocol/messages.ts';
import type { HealthReport } from '../protocol/messages.ts';
import { fetchEngineHealth, releaseReservation, reserveSlot } from './engine-http.ts';
import { StubEngine, stubModel } from '../test-support/engine-stub.ts';

const report: HealthReport = {
  status: 'ok',
  protocol: PROTOCOL_VERSION,
  model: stubModel,
  device: 'cpu',
  slotsTotal: 4,
  slotsUsable: 3,
  slotsUsed: 1,
  stepsTotal: 10,
  droppedFramesTotal: 0,
  bytesPerConversation: 1_000_000,
  stepMs: { p50: 5, p99: 9 },
};

let engine: StubEngine | null = null;

afterEach(async () => {
  await engine?.kill();
  engine = null;
});

async function answer(
  http: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  engine = await StubEngine.start(join(mkdtempSync(join(tmpdir(), 'moshi-')), 'e.sock'), { http });
  return engine.url;
}

test('reads the health of an engine, also when it is draining', async () => {
  const draining = { ...report, status: 'draining' as const };
  const url = await answer((_request, response) =>
    response.writeHead(503).end(JSON.stringify(draining)),
  );
  await expect(fetchEngineHealth(url)).resolves.toEqual(draining);
});

test('sends the token and says so when it is refused', async () => {
  const url = await answer((request, response) => {
    const isKnown = request.headers.authorization === 'Bearer right';
    response.writeHead(isKnown ? 200 : 401).end(JSON.stringify(report));
  });
  await expect(fetchEngineHealth(url, 'right')).resolves.toEqual(report);
  await expect(fetchEngineHealth(url, 'wrong')).rejects.toMatchObject({ problem: 'unauthorized' });
});

test('reserves a slot, or learns that there is none, and gives it back', async () => {
  let reserved: string | null = null;
  const url = await answer((request, response) => {
    if (request.method === 'DELETE') {
      response.writeHead(reserved === null ? 404 : 204).end();
      reserved = null;
      return;
    }
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      response.writeHead(reserved === null ? 201 : 409).end('{}');
      reserved ??= (JSON.parse(body) as { key: string }).key;
    });
  });
  await expect(reserveSlot(url, 'job 1')).resolves.toBe('reserved');
  expect(reserved).toBe('job 1');
  await expect(reserveSlot(url, 'job 2')).resolves.toBe('full');
  await releaseReservation(url, 'job 1');
  await expect(reserveSlot(url, 'job 2')).resolves.toBe('reserved');
});

test('says what to do when nobody is there', async () => {
  await expect(fetchEngineHealth('unix:/nowhere/engine.sock')).rejects.toThrow(
    /No engine answers at unix:\/nowhere\/engine\.sock .*npm run moshi -- engine/,
  );
  await expect(reserveSlot('ws://127.0.0.1:7299', 'key')).rejects.toMatchObject({
    problem: 'unreachable',
  });
});

test('refuses what is no engine: other JSON, no JSON, endless text, another status', async () => {
  const bodies = ['{"status":"green"}', '<html>', 'x'.repeat(1_000_000)];
  const url = await answer((request, response) => {
    response.writeHead(request.method === 'POST' ? 418 : 200).end(bodies.shift() ?? '');
  });
  await expect(fetchEngineHealth(url)).rejects.toMatchObject({ problem: 'not_an_engine' });
  await expect(fetchEngineHealth(url)).rejects.toMatchObject({ problem: 'not_an_engine' });
  await expect(fetchEngineHealth(url)).rejects.toMatchObject({ problem: 'not_an_engine' });
  await expect(reserveSlot(url, 'key')).rejects.toMatchObject({ problem: 'not_an_engine' });
});

test('does not wait for ever for one that says nothing', async () => {
  const url = await answer(() => undefined);
  await expect(fetchEngineHealth(url)).rejects.toMatchObject({ problem: 'timeout' });
});

test('refuses an address that is none', async () => {
  await expect(fetchEngineHealth('http://example')).rejects.toThrow('is no engine URL');
});
