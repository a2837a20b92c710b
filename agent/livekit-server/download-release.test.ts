import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { create } from 'tar';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DownloadError, downloadRelease } from './download-release.ts';
import { findChecksum, releaseArchiveName } from './release.ts';

const ARCHIVE = 'livekit_1.13.5_linux_amd64.tar.gz';

let folder: string;
let target: string;
let address: string;
let server: http.Server;
/** What the release server answers; a test changes it. */
let files: Map<string, Buffer>;
let isBreakingOff: boolean;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-download-'));
  target = path.join(folder, 'cache', 'livekit-server');
  const archive = await makeArchive('livekit-server', '#!/bin/sh\necho a server\n');
  files = new Map([[`/${ARCHIVE}`, archive]]);
  writeChecksum(archive);
  isBreakingOff = false;
  server = http.createServer((request, response) => {
    const content = files.get(request.url ?? '');
    if (content === undefined) {
      response.writeHead(404).end();
    } else if (isBreakingOff && request.url === `/${ARCHIVE}`) {
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, content.length / 2), () => response.destroy());
    } else {
      response.end(content);
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

async function makeArchive(name: string, content: string): Promise<Buffer> {
  const source = path.join(folder, 'source');
  await mkdir(source, { recursive: true });
  await writeFile(path.join(source, name), content);
  await writeFile(path.join(source, 'LICENSE'), 'Apache');
  const file = path.join(folder, 'archive.tar.gz');
  await create({ gzip: true, file, cwd: source }, [name, 'LICENSE']);
  return readFile(file);
}

function writeChecksum(archive: Buffer): void {
  const digest = createHash('sha256').update(archive).digest('hex');
  files.set(
    '/checksums.txt',
    Buffer.from(`${'0'.repeat(64)}  other.tar.gz\n${digest}  ${ARCHIVE}\n`),
  );
}

function download(): Promise<void> {
  return downloadRelease({ archive: ARCHIVE, target, address });
}

async function expectNothingLeft(): Promise<void> {
  expect(existsSync(target)).toBe(false);
  const left = await readdir(path.dirname(target)).catch(() => []);
  expect(left).toEqual([]);
}

test('unpacks an executable server whose checksum is right, and nothing else', async () => {
  await download();
  expect(await readFile(target, 'utf8')).toContain('a server');
  expect((await stat(target)).mode & 0o111).not.toBe(0);
  expect(await readdir(path.dirname(target))).toEqual(['livekit-server']);
});

test('uses nothing whose checksum is not the published one', async () => {
  files.set(`/${ARCHIVE}`, await makeArchive('livekit-server', 'something else'));
  await expect(download()).rejects.toThrow(/has SHA-256 [0-9a-f]{64}, its release says/);
  await expectNothingLeft();
});

test('uses nothing of a connection that broke off', async () => {
  isBreakingOff = true;
  await expect(download()).rejects.toThrow(DownloadError);
  await expectNothingLeft();
});

test('says which file is missing', async () => {
  files.delete(`/${ARCHIVE}`);
  await expect(download()).rejects.toThrow(`${address}/${ARCHIVE} answered 404 Not Found`);
  files.delete('/checksums.txt');
  await expect(download()).rejects.toThrow(`${address}/checksums.txt answered 404 Not Found`);
});

test('refuses a release that does not list the archive', async () => {
  files.set('/checksums.txt', Buffer.from('nothing here\n'));
  await expect(download()).rejects.toThrow(`does not list ${ARCHIVE}`);
});

test('says so when the archive holds no server', async () => {
  const archive = await makeArchive('something-else', 'x');
  files.set(`/${ARCHIVE}`, archive);
  writeChecksum(archive);
  await expect(download()).rejects.toThrow(`${ARCHIVE} holds no livekit-server`);
  await expectNothingLeft();
});

test('says why nobody answered', async () => {
  server.close();
  server.closeAllConnections();
  await expect(download()).rejects.toThrow(/could not be read: .*ECONNREFUSED/);
});

test.each([
  ['linux', 'x64', ARCHIVE],
  ['linux', 'arm64', 'livekit_1.13.5_linux_arm64.tar.gz'],
  ['linux', 'riscv64', null],
  ['darwin', 'arm64', null],
])('names the archive for %s on %s', (platform, architecture, expected) => {
  expect(releaseArchiveName(platform, architecture)).toBe(expected);
});

test('does not take the checksum of a file whose name only ends alike', () => {
  expect(findChecksum(`${'a'.repeat(64)}  not-${ARCHIVE}\n`, ARCHIVE)).toBeNull();
});
