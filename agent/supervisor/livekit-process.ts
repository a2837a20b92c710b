/** The LiveKit server that `start` runs where none is configured. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Environment, LiveKitCredentials } from '../config.ts';
import { findServer, type LiveKitServerSource } from '../livekit-server/find-server.ts';
import { firstFreePort, isTcpPortFree, isUdpPortFree } from '../livekit-server/free-port.ts';
import { provisionEffects } from '../livekit-server/provision.ts';
import { writeServerConfiguration } from '../livekit-server/server-configuration.ts';
import { loadServerKeys, writePrivateFile } from '../livekit-server/server-keys.ts';
import type { ProcessDescription } from './supervised-process.ts';

/** LiveKit's usual ports; the next free ones are taken where somebody listens there. */
const FIRST_PORT = 7880;
const FIRST_MEDIA_PORT = 50_000;
const PORTS_TRIED = 50;

const START_TIMEOUT_MS = 20_000;
/** Docker may have to fetch the image first. */
const DOCKER_START_TIMEOUT_MS = 300_000;

export interface LiveKitProcessOptions {
  cacheDirectory: string;
  environment: Environment;
  /** Keys to use instead of generated ones. */
  keys: { apiKey: string; apiSecret: string } | undefined;
  signal: AbortSignal;
  report: (text: string) => void;
}

export interface LiveKitProcess {
  description: ProcessDescription;
  credentials: LiveKitCredentials;
  /** For people: where the server comes from. */
  origin: string;
}

/** Finds or fetches a server and writes its configuration. Starts nothing. */
export async function prepareLiveKitProcess(
  options: LiveKitProcessOptions,
): Promise<LiveKitProcess> {
  const directory = path.join(options.cacheDirectory, 'livekit-server');
  await mkdir(directory, { recursive: true });
  const source = await findServer(provisionEffects({ ...options, directory }));
  const keys = options.keys ?? (await loadServerKeys(directory));
  const port = await firstFreePort(FIRST_PORT, PORTS_TRIED, isTcpPortFree);
  const mediaPort = await firstFreePort(FIRST_MEDIA_PORT, PORTS_TRIED, isUdpPortFree);
  const usesHostNetwork = source.kind === 'binary' || process.platform === 'linux';
  const configurationFile = path.join(directory, 'livekit.yaml');
  await writePrivateFile(
    configurationFile,
    writeServerConfiguration({
      port,
      mediaPort,
      ...keys,
      bind: usesHostNetwork ? 'loopback' : 'container',
    }),
  );
  const command =
    source.kind === 'binary'
      ? [source.path, '--config', configurationFile]
      : dockerCommand(source.image, configurationFile, usesHostNetwork ? [] : [port, mediaPort]);
  const leash = path.join(import.meta.dirname, 'leash.mjs');
  return {
    credentials: { url: `ws://127.0.0.1:${port}`, ...keys },
    origin: describeSource(source),
    description: {
      name: 'livekit',
      program: process.execPath,
      arguments: () => [leash, ...command],
      environment: () => options.environment,
      isReady: async () => (await fetch(`http://127.0.0.1:${port}/`)).ok,
      startTimeoutMs: source.kind === 'docker' ? DOCKER_START_TIMEOUT_MS : START_TIMEOUT_MS,
      stopTimeoutMs: 3_000,
    },
  };
}

/**
 * `docker run` in the foreground. Docker shares the machine's network on Linux; elsewhere its ports
 * [TCP, UDP] are published on loopback.
 */
function dockerCommand(image: string, configuration: string, published: number[]): string[] {
  const [port, mediaPort] = published;
  const network =
    port === undefined || mediaPort === undefined
      ? ['--network', 'host']
      : ['-p', `127.0.0.1:${port}:${port}`, '-p', `127.0.0.1:${mediaPort}:${mediaPort}/udp`];
  const mount = ['-v', `${configuration}:/livekit.yaml:ro`];
  return ['docker', 'run', '--rm', ...network, ...mount, image, '--config', '/livekit.yaml'];
}

function describeSource(source: LiveKitServerSource): string {
  return source.kind === 'docker' ? `Docker image ${source.image}` : source.path;
}
