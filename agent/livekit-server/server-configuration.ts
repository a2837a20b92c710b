/** The configuration of a LiveKit server that serves this machine only. */

export interface ServerConfigurationOptions {
  /** HTTP and WebSocket, TCP. */
  port: number;
  /** All media, UDP. */
  mediaPort: number;
  apiKey: string;
  apiSecret: string;
  /** `loopback`: nothing outside this machine can connect; `container`: published ports do that. */
  bind: 'loopback' | 'container';
}

/**
 * YAML for `livekit-server --config`. Three lines are less obvious than they look: without
 * `tcp_port: 0` the server also listens on *:7881, without `interfaces` and `ips` its UDP port is
 * bound on every network card, and loopback candidates are off unless asked for.
 */
export function writeServerConfiguration(options: ServerConfigurationOptions): string {
  const lines = [
    `port: ${options.port}`,
    ...(options.bind === 'loopback' ? ['bind_addresses: [127.0.0.1]'] : []),
    'rtc:',
    `  udp_port: ${options.mediaPort}`,
    '  tcp_port: 0',
    '  use_external_ip: false',
    '  node_ip: 127.0.0.1',
    ...(options.bind === 'loopback'
      ? [
          '  enable_loopback_candidate: true',
          '  interfaces: { includes: [lo, lo0] }',
          '  ips: { includes: [127.0.0.1/32] }',
        ]
      : []),
    // Quoted as JSON, which YAML reads too: keys may hold any character.
    `keys: { ${JSON.stringify(options.apiKey)}: ${JSON.stringify(options.apiSecret)} }`,
    'room: { empty_timeout: 60, departure_timeout: 20 }',
    'logging: { level: warn, json: false }',
  ];
  return `${lines.join('\n')}\n`;
}
