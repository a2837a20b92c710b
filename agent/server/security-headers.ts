/**
 * Headers of every answer. The policy names the LiveKit server, because a page may otherwise connect
 * to its own origin only; nothing is loaded from anywhere else.
 *
 * @param livekitUrl - `ws://` or `wss://`, as browsers reach it.
 */
export function createSecurityHeaders(livekitUrl: string): Record<string, string> {
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "media-src 'self' blob: mediastream:",
    "worker-src 'self' blob:",
    `connect-src 'self' ${connectSources(livekitUrl).join(' ')}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  return {
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    // A join link is a secret, it must not travel to other sites.
    'referrer-policy': 'no-referrer',
    'permissions-policy': 'microphone=(self), camera=(), geolocation=(), display-capture=()',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
  };
}

/** The client opens a WebSocket and, to explain a failed one, asks the same host by HTTP. */
function connectSources(livekitUrl: string): string[] {
  const { protocol, host, hostname } = new URL(livekitUrl);
  const isSecure = protocol === 'wss:' || protocol === 'https:';
  const sources = isSecure
    ? [`wss://${host}`, `https://${host}`]
    : [`ws://${host}`, `http://${host}`];
  // LiveKit Cloud sends clients on to a regional host.
  return hostname.endsWith('.livekit.cloud')
    ? [...sources, 'wss://*.livekit.cloud', 'https://*.livekit.cloud']
    : sources;
}
