/** Finds ports that nobody listens on. */
import dgram from 'node:dgram';
import net from 'node:net';

export type PortTest = (port: number) => Promise<boolean>;

/** True when a TCP server could listen on that address now. */
export async function isTcpPortFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return (await listenFailure(port, host)) === null;
}

/**
 * Why a TCP server cannot listen on that address, with what to do; null when it can.
 *
 * @param variables - Names of the settings that hold host and port, for the message.
 */
export async function tcpPortProblem(
  port: number,
  host: string,
  variables: { host: string; port: string },
): Promise<string | null> {
  const code = await listenFailure(port, host);
  switch (code) {
    case null:
      return null;
    case 'EADDRINUSE':
      return (
        `port ${port} of ${host} is taken: stop what listens there (perhaps another npm start), ` +
        `or set ${variables.port} to a free one`
      );
    case 'EACCES':
      return `port ${port} needs rights this process lacks: set ${variables.port} above 1023`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host} is no address of this machine: set ${variables.host} to one, for example 127.0.0.1`;
    default:
      return `nothing can listen on port ${port} of ${host} (${code}): check ${variables.host} and ${variables.port}`;
  }
}

/** Code of the operating system's refusal, or null. */
function listenFailure(port: number, host: string): Promise<string | null> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', (error: Error & { code?: string }) => resolve(error.code ?? 'unknown'));
    server.listen({ port, host, exclusive: true }, () => {
      server.close(() => resolve(null));
    });
  });
}

/** True when a UDP socket could be bound on loopback now. */
export function isUdpPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', () => {
      socket.close();
      resolve(false);
    });
    socket.bind({ port, address: '127.0.0.1', exclusive: true }, () => {
      socket.close(() => resolve(true));
    });
  });
}

/** A TCP port that the operating system chose. */
export function anyFreeTcpPort(host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen({ port: 0, host }, () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/**
 * The first free port at or after `first`.
 *
 * @throws {Error} when `count` ports in a row are taken.
 */
export async function firstFreePort(
  first: number,
  count: number,
  isFree: PortTest,
): Promise<number> {
  for (let port = first; port < first + count; port++) {
    if (await isFree(port)) {
      return port;
    }
  }
  throw new Error(
    `ports ${first} to ${first + count - 1} are all taken: stop what listens there, ` +
      'or set LIVEKIT_URL to a LiveKit server that runs elsewhere',
  );
}
