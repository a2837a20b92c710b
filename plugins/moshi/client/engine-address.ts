import { Agent } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { engineUrl } from '../protocol/messages.ts';

/** An engine's URL, taken apart into what Node's HTTP client needs. */
export type EngineAddress = {
  /** As it was given, for messages. */
  url: string;
  secure: boolean;
  /** Set for `unix:` addresses; host and port then mean nothing. */
  socketPath: string | null;
  host: string;
  port: number;
};

/** @throws TypeError if the text is not an engine URL. */
export function parseEngineAddress(url: string): EngineAddress {
  const checked = engineUrl.safeParse(url);
  if (!checked.success) {
    throw new TypeError(
      `"${url}" is no engine URL: it must be unix:/absolute/path.sock, ws://host:port or wss://host:port.`,
    );
  }
  if (url.startsWith('unix:')) {
    const socketPath = url.slice('unix:'.length);
    return { url, secure: false, socketPath, host: 'localhost', port: 80 };
  }
  const parsed = new URL(url);
  const secure = parsed.protocol === 'wss:';
  const port = parsed.port === '' ? (secure ? 443 : 80) : Number(parsed.port);
  // URL keeps the brackets of an IPv6 literal, sockets do not want them.
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1');
  return { url, secure, socketPath: null, host, port };
}

/**
 * The WebSocket URL of a path on the engine, and the HTTP agent that reaches a unix socket.
 *
 * An agent rather than a `ws+unix:` URL, whose grammar knows neither blanks nor colons.
 */
export function webSocketTarget(
  address: EngineAddress,
  path: string,
): { url: string; agent?: Agent } {
  return address.socketPath === null
    ? { url: new URL(path, address.url).href }
    : { url: `ws://localhost${path}`, agent: new UnixSocketAgent(address.socketPath) };
}

class UnixSocketAgent extends Agent {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    super();
    this.#socketPath = socketPath;
  }

  override createConnection(): Socket {
    return connect(this.#socketPath);
  }
}
