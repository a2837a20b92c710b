/** The real ways to a LiveKit server: PATH, cache, Docker, GitHub, Go. */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { downloadRelease } from './download-release.ts';
import type { FindServerEffects } from './find-server.ts';
import { LIVEKIT_VERSION, releaseArchiveName } from './release.ts';
import { findOnPath, isExecutable, runProgram } from './run-program.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const DOCKER_TIMEOUT_MS = 10_000;
const DOWNLOAD_TIMEOUT_MS = 300_000;
const GO_TIMEOUT_MS = 1_200_000;

export interface ProvisionOptions {
  /** The server of an earlier run is kept here. */
  directory: string;
  environment: Environment;
  signal: AbortSignal;
  report: (text: string) => void;
}

export function provisionEffects(options: ProvisionOptions): FindServerEffects {
  const { environment, signal } = options;
  const binary = path.join(options.directory, LIVEKIT_VERSION, 'livekit-server');
  return {
    findOnPath: (program) => findOnPath(program, environment),
    findCached: async () => ((await isExecutable(binary)) ? binary : null),
    isDockerRunning: () => isDockerRunning(environment, signal),
    releaseArchive: releaseArchiveName(process.platform, process.arch),
    download: async (archive) => {
      const controller = new AbortController();
      const abort = (): void => controller.abort();
      const deadline = setTimeout(abort, DOWNLOAD_TIMEOUT_MS);
      signal.addEventListener('abort', abort, { once: true });
      try {
        await downloadRelease({ archive, target: binary, signal: controller.signal });
        return binary;
      } finally {
        clearTimeout(deadline);
        signal.removeEventListener('abort', abort);
      }
    },
    installWithGo: async () => {
      await installWithGo({ target: binary, environment, signal });
      return binary;
    },
    report: options.report,
  };
}

/** The client alone is not enough: the daemon must answer. */
export async function isDockerRunning(
  environment: Environment,
  signal?: AbortSignal,
): Promise<boolean> {
  const result = await runProgram('docker', ['info', '--format', '{{.ServerVersion}}'], {
    environment,
    timeoutMs: DOCKER_TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  return result.exitCode === 0 && /^\d/m.test(result.output);
}

interface GoInstallOptions {
  target: string;
  environment: Environment;
  signal: AbortSignal;
}

/** Go names the program after its folder, `server`; it is moved in place only when complete. */
async function installWithGo(options: GoInstallOptions): Promise<void> {
  const directory = path.dirname(options.target);
  await mkdir(directory, { recursive: true });
  const scratch = await mkdtemp(path.join(directory, 'go-'));
  try {
    const module = `github.com/livekit/livekit-server/cmd/server@v${LIVEKIT_VERSION}`;
    const result = await runProgram('go', ['install', module], {
      environment: { ...options.environment, GOBIN: scratch, CGO_ENABLED: '0' },
      timeoutMs: GO_TIMEOUT_MS,
      signal: options.signal,
    });
    if (result.exitCode !== 0) {
      const lastLine = result.output.split('\n').at(-1) ?? '';
      throw new Error(`go install ${module} failed: ${lastLine}`);
    }
    await rename(path.join(scratch, 'server'), options.target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
