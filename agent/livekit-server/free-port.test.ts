import net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isTcpPortFree, tcpPortProblem } from './free-port.ts';

const VARIABLES = { host: 'MOSHI_HTTP_HOST', port: 'MOSHI_HTTP_PORT' };

describe('a port', () => {
  let server: net.Server;
  let port: number;
  beforeEach(async () => {
    server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
  });
  afterEach(() => {
    server.close();
  });

  test('that is taken names the variable of the port', async () => {
    expect(await isTcpPortFree(port)).toBe(false);
    expect(await tcpPortProblem(port, '127.0.0.1', VARIABLES)).toMatch(
      /is taken: .*MOSHI_HTTP_PORT/,
    );
  });

  test('that is free is no problem', async () => {
    await new Promise((resolve) => server.close(resolve));
    expect(await isTcpPortFree(port)).toBe(true);
    expect(await tcpPortProblem(port, '127.0.0.1', VARIABLES)).toBeNull();
  });

  test('of another machine names the variable of the host', async () => {
    // 192.0.2.0/24 is for documentation: no machine has it.
    expect(await tcpPortProblem(port, '192.0.2.1', VARIABLES)).toBe(
      '192.0.2.1 is no address of this machine: set MOSHI_HTTP_HOST to one, for example 127.0.0.1',
    );
  });
});
