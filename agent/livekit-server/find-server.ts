/**
 * Where a LiveKit server comes from on this machine: the first way that works, in this order —
 * PATH, an earlier run's cache, Docker, the release archive, Go.
 */
import { LIVEKIT_VERSION } from './release.ts';

/** How to run the server. */
export type LiveKitServerSource =
  | { kind: 'binary'; path: string; origin: 'path' | 'cache' | 'release' | 'go' }
  | { kind: 'docker'; image: string };

/** What the search does to the world; a test passes its own. */
export interface FindServerEffects {
  findOnPath(program: string): Promise<string | null>;
  /** Path of a server that an earlier run fetched, or null. */
  findCached(): Promise<string | null>;
  isDockerRunning(): Promise<boolean>;
  /** Null where LiveKit publishes no archive for this platform. */
  releaseArchive: string | null;
  /** Path of the downloaded server. */
  download(archive: string): Promise<string>;
  /** Path of the built server. */
  installWithGo(): Promise<string>;
  /** Tells the person what takes time and what failed. */
  report(text: string): void;
}

const DOCKER_IMAGE = `livekit/livekit-server:v${LIVEKIT_VERSION}`;

/** No way to a server is left; the message says what to install. */
export class NoLiveKitServerError extends Error {
  constructor(attempts: readonly string[]) {
    super(
      `no LiveKit server: ${attempts.join('; ')}. Install one (macOS: brew install livekit; ` +
        `others: https://github.com/livekit/livekit/releases/tag/v${LIVEKIT_VERSION}), or Docker, or Go, ` +
        'or set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET in .env.local',
    );
    this.name = 'NoLiveKitServerError';
  }
}

/** @throws {NoLiveKitServerError} with what was tried and why each failed. */
export async function findServer(effects: FindServerEffects): Promise<LiveKitServerSource> {
  const attempts: string[] = [];
  const onPath = await effects.findOnPath('livekit-server');
  if (onPath !== null) {
    return { kind: 'binary', path: onPath, origin: 'path' };
  }
  attempts.push('livekit-server is not on the PATH');

  const cached = await effects.findCached();
  if (cached !== null) {
    return { kind: 'binary', path: cached, origin: 'cache' };
  }

  if (await effects.isDockerRunning()) {
    return { kind: 'docker', image: DOCKER_IMAGE };
  }
  attempts.push('Docker does not run');

  if (effects.releaseArchive === null) {
    attempts.push('LiveKit publishes no archive for this platform');
  } else {
    effects.report(`downloading LiveKit ${LIVEKIT_VERSION} (${effects.releaseArchive})`);
    try {
      const path = await effects.download(effects.releaseArchive);
      return { kind: 'binary', path, origin: 'release' };
    } catch (error) {
      attempts.push(messageOf(error));
      effects.report(messageOf(error));
    }
  }

  if ((await effects.findOnPath('go')) === null) {
    attempts.push('Go is not on the PATH');
  } else {
    effects.report(`building LiveKit ${LIVEKIT_VERSION} with Go, this takes minutes`);
    try {
      return { kind: 'binary', path: await effects.installWithGo(), origin: 'go' };
    } catch (error) {
      attempts.push(messageOf(error));
    }
  }
  throw new NoLiveKitServerError(attempts);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
