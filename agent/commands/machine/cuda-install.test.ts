import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { zipSync } from 'fflate';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installCuda } from './cuda-install.ts';

const PACKAGES = [{ name: 'provider', version: '1.2.3', libraries: ['libone.so', 'libtwo.so.13'] }];
const WHEEL = Buffer.from(
  zipSync({
    'provider/lib/libone.so': Buffer.from('one'),
    'provider/lib/libtwo.so.13': Buffer.from('two'),
    'provider/large.bin': Buffer.from('not wanted'),
  }),
);

let directory: string;
let server: Server;
let address: string;
let sha256: string;
let requests: string[];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'moshi-cuda-'));
  sha256 = createHash('sha256').update(WHEEL).digest('hex');
  requests = [];
  server = createServer((request, response) => {
    requests.push(request.url ?? '');
    if (request.url === '/simple/provider/') {
      const filename = 'provider-1.2.3-py3-none-manylinux_2_28_x86_64.whl';
      const url = `${address}/${filename}`;
      const hashes = { sha256 };
      const others = ['provider-1.2.3-py3-none-win_amd64.whl', filename.replace('1.2.3', '1.2.2')];
      const files = [...others.map((name) => ({ filename: name, url: 'no', hashes }))];
      response.end(JSON.stringify({ files: [...files, { filename, url, hashes }] }));
    } else if (request.url?.endsWith('.whl') === true) {
      response.end(WHEEL);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.close();
  await rm(directory, { recursive: true, force: true });
});

const silent = { print: () => undefined, remark: () => undefined };

test('takes the libraries out of the wheel for this platform, once', async () => {
  await installCuda(silent, { directory, packages: PACKAGES, address });
  expect((await readdir(directory)).sort()).toEqual(['libone.so', 'libtwo.so.13']);
  expect(await readFile(path.join(directory, 'libtwo.so.13'), 'utf8')).toBe('two');
  const before = requests.length;
  await installCuda(silent, { directory, packages: PACKAGES, address });
  expect(requests.length).toBe(before);
});

test('keeps nothing of a wheel whose checksum is not the index’s', async () => {
  sha256 = '0'.repeat(64);
  await expect(installCuda(silent, { directory, packages: PACKAGES, address })).rejects.toThrow(
    /arrived damaged/,
  );
  expect(await readdir(directory)).toEqual([]);
});

test('says which package the index does not have', async () => {
  const packages = [{ name: 'unheard-of', version: '1', libraries: ['lib.so'] }];
  await expect(installCuda(silent, { directory, packages, address })).rejects.toThrow(
    /unheard-of\/ answers 404/,
  );
});
