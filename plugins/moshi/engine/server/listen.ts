/** Where the engine listens: a unix socket that only its user can open, or TCP. */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect, isIP } from 'node:net';
import { dirname } from 'node:path';

import { engineUrl } from '../../protocol/messages.ts';

/** The engine cannot listen where it was told to. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

export type ListenAddress = { socketPath: string } | { host: string; port: number };

/** Bytes of a path in sockaddr_un, the terminating zero left out. */
const MAX_SOCKET_PATH_BYTES = process.platform === 'darwin' ? 103 : 107;

/**
 * @param hasToken - Whether clients must show a token: without one nobody outside may reach it.
 * @throws ListenError if the URL is malformed or would expose an engine without a token.
 */
export function parseListenUrl(url: string, hasToken: boolean): ListenAddress {
  const checked = engineUrl.safeParse(url);
  if (!checked.success) {
    throw new ListenError(
      `The engine's URL must be unix:/absolute/path.sock or ws://host:port, got "${url}".`,
    );
  }
  if (url.startsWith('unix:')) {
    const socketPath = url.slice('unix:'.length);
    const bytes = Buffer.byteLength(socketPath);
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      throw new ListenError(
        `The path of a unix socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, "${socketPath}" has ${bytes}. Choose a shorter one.`,
      );
    }
    return { socketPath };
  }
  const { protocol, hostname, port } = new URL(url);
  if (protocol === 'wss:') {
    throw new ListenError(
      `The engine does not speak TLS itself: listen on ws:// and put a proxy in front, got "${url}".`,
    );
  }
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (!isLoopback(host) && !hasToken) {
    throw new ListenError(
      `An engine on ${host} can be reached from other machines: give it a token, or listen on 127.0.0.1.`,
    );
  }
  return { host, port: port === '' ? 80 : Number(port) };
}

/**
 * Starts to listen. A socket that a dead engine left behind is removed.
 *
 * @returns The URL that clients connect to; port 0 has become a real one.
 * @throws ListenError if another engine listens there, or the address cannot be used.
 */
export async function listen(server: Server, address: ListenAddress): Promise<string> {
  if (!('socketPath' in address)) {
    await bind(server, address);
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
    return `ws://${isIP(address.host) === 6 ? `[${address.host}]` : address.host}:${port}`;
  }
  const { socketPath } = address;
  try {
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
    await removeStaleSocket(socketPath);
    await bindPrivately(server, socketPath);
    await chmod(socketPath, 0o600);
  } catch (error) {
    throw asListenError(socketPath, error);
  }
  return `unix:${socketPath}`;
}

/** The socket must not be open to others even between its creation and the chmod. */
async function bindPrivately(server: Server, socketPath: string): Promise<void> {
  const before = process.umask(0o177);
  // The socket is created before `bind` first waits.
  const bound = bind(server, { socketPath });
  process.umask(before);
  await bound;
}

function bind(server: Server, address: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const where =
        'socketPath' in address ? address.socketPath : `${address.host}:${address.port}`;
      reject(asListenError(where, error));
    });
    server.listen('socketPath' in address ? { path: address.socketPath } : address, resolve);
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  let entry;
  try {
    entry = await lstat(path);
  } catch {
    return;
  }
  if (!entry.isSocket()) {
    throw new ListenError(`${path} exists and is no socket. Remove it or choose another path.`);
  }
  if (await someoneListens(path)) {
    throw new ListenError(
      `Another engine is already listening on ${path}. Stop it or choose another path.`,
    );
  }
  await unlink(path);
}

function someoneListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      // Only these two prove that nobody is there.
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function asListenError(where: string, error: unknown): ListenError {
  if (error instanceof ListenError) {
    return error;
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return new ListenError(
      `Another engine is already listening on ${where}, or another program is. Stop it or choose another address.`,
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new ListenError(`The engine cannot listen on ${where}: ${reason}.`, { cause: error });
}
