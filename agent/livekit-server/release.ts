/** Which file of LiveKit's release fits this machine, and what its bytes must hash to. */

/** The version this project is tested against; also what `go install` and Docker fetch. */
export const LIVEKIT_VERSION = '1.13.5';

export const RELEASE_ADDRESS = `https://github.com/livekit/livekit/releases/download/v${LIVEKIT_VERSION}`;

/**
 * Name of the release archive, or null where LiveKit publishes none (its releases hold Linux and
 * Windows; Homebrew serves macOS).
 *
 * @param platform - As `process.platform`.
 * @param architecture - As `process.arch`.
 */
export function releaseArchiveName(platform: string, architecture: string): string | null {
  const name = { x64: 'amd64', arm64: 'arm64', arm: 'armv7' }[architecture];
  return platform === 'linux' && name !== undefined
    ? `livekit_${LIVEKIT_VERSION}_linux_${name}.tar.gz`
    : null;
}

/** Looks a file up in goreleaser's `checksums.txt`: SHA-256 in hex, two spaces, file name. */
export function findChecksum(checksums: string, file: string): string | null {
  for (const line of checksums.split('\n')) {
    const match = /^([0-9a-f]{64})\s+\*?(\S+)$/.exec(line.trim());
    if (match?.[2] === file) {
      return match[1] ?? null;
    }
  }
  return null;
}
