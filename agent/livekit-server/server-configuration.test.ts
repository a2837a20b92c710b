import dgram from 'node:dgram';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { firstFreePort, isTcpPortFree, isUdpPortFree } from './free-port.ts';
import { writeServerConfiguration } from './server-configuration.ts';
import { loadServerKeys } from './server-keys.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-livekit-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const options = { port: 7880, mediaPort: 50_000, apiKey: 'key', apiSecret: 'it’s "secret"' };

test('binds every port to loopback', () => {
  const yaml = writeServerConfiguration({ ...options, bind: 'loopback' });
  expect(yaml).toContain('bind_addresses: [127.0.0.1]');
  expect(yaml).toContain('tcp_port: 0');
  expect(yaml).toContain('interfaces: { includes: [lo, lo0] }');
  expect(yaml).toContain('ips: { includes: [127.0.0.1/32] }');
});

test('leaves binding to the container where ports are published', () => {
  expect(writeServerConfiguration({ ...options, bind: 'container' })).not.toMatch(/bind|includes/);
});

test('quotes keys of any characters', () => {
  expect(writeServerConfiguration({ ...options, bind: 'loopback' })).toContain(
    'keys: { "key": "it’s \\"secret\\"" }',
  );
});

test('keeps the generated keys, for their owner only', async () => {
  const keys = await loadServerKeys(folder);
  expect(keys.apiSecret).toMatch(/^[0-9a-f]{64}$/);
  expect(await loadServerKeys(folder)).toEqual(keys);
  expect((await stat(path.join(folder, 'keys.json'))).mode & 0o777).toBe(0o600);
});

test('makes new keys where the kept ones are broken', async () => {
  await writeFile(path.join(folder, 'keys.json'), '{"apiKey":');
  const keys = await loadServerKeys(folder);
  expect(JSON.parse(await readFile(path.join(folder, 'keys.json'), 'utf8'))).toEqual(keys);
});

test('passes over ports that are taken', async () => {
  const tcp = net.createServer();
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const tcpPort = (tcp.address() as AddressInfo).port;
  expect(await isTcpPortFree(tcpPort)).toBe(false);
  expect(await firstFreePort(tcpPort, 20, isTcpPortFree)).toBeGreaterThan(tcpPort);
  tcp.close();

  const udp = dgram.createSocket('udp4');
  await new Promise<void>((resolve) => {
    udp.bind(0, '127.0.0.1', resolve);
  });
  expect(await isUdpPortFree(udp.address().port)).toBe(false);
  udp.close();
});

test('says which ports are taken when all of them are', async () => {
  await expect(firstFreePort(7880, 3, () => Promise.resolve(false))).rejects.toThrow(
    'ports 7880 to 7882 are all taken',
  );
});
