import { expect, test } from 'vitest';
import { findServer, NoLiveKitServerError, type FindServerEffects } from './find-server.ts';

/** A machine that has nothing at all, but for what the test gives it. */
function machine(has: Partial<FindServerEffects> = {}): FindServerEffects {
  return {
    findOnPath: () => Promise.resolve(null),
    findCached: () => Promise.resolve(null),
    isDockerRunning: () => Promise.resolve(false),
    releaseArchive: null,
    download: () => Promise.reject(new Error('the archive has another checksum')),
    installWithGo: () => Promise.reject(new Error('go install failed')),
    report: () => undefined,
    ...has,
  };
}

const onPath =
  (...programs: string[]) =>
  (program: string) =>
    Promise.resolve(programs.includes(program) ? `/usr/bin/${program}` : null);
const everything: FindServerEffects = machine({
  findOnPath: onPath('livekit-server', 'go'),
  findCached: () => Promise.resolve('/cache/livekit-server'),
  isDockerRunning: () => Promise.resolve(true),
  releaseArchive: 'archive.tar.gz',
  download: () => Promise.resolve('/cache/downloaded'),
  installWithGo: () => Promise.resolve('/cache/built'),
});

test('takes the program on the PATH first', async () => {
  expect(await findServer(everything)).toEqual({
    kind: 'binary',
    path: '/usr/bin/livekit-server',
    origin: 'path',
  });
});

test('takes what an earlier run fetched before anything that takes time', async () => {
  expect(await findServer({ ...everything, findOnPath: onPath('go') })).toMatchObject({
    origin: 'cache',
  });
});

test('takes Docker before a download', async () => {
  const found = await findServer({
    ...everything,
    findOnPath: onPath('go'),
    findCached: () => Promise.resolve(null),
  });
  expect(found).toEqual({ kind: 'docker', image: 'livekit/livekit-server:v1.13.5' });
});

test('downloads where Docker does not run', async () => {
  const found = await findServer({
    ...machine(),
    releaseArchive: 'archive.tar.gz',
    download: (archive) => Promise.resolve(`/cache/${archive}`),
  });
  expect(found).toEqual({ kind: 'binary', path: '/cache/archive.tar.gz', origin: 'release' });
});

test('builds with Go where the download failed, and says that it failed', async () => {
  const reports: string[] = [];
  const found = await findServer({
    ...machine({ findOnPath: onPath('go'), releaseArchive: 'archive.tar.gz' }),
    installWithGo: () => Promise.resolve('/cache/built'),
    report: (text) => reports.push(text),
  });
  expect(found).toMatchObject({ origin: 'go' });
  expect(reports).toContain('the archive has another checksum');
});

test('says in one line what was tried and what to install when nothing works', async () => {
  const failure = findServer(machine({ findOnPath: onPath('go'), releaseArchive: 'a.tar.gz' }));
  await expect(failure).rejects.toBeInstanceOf(NoLiveKitServerError);
  await expect(failure).rejects.toThrow(
    /not on the PATH; Docker does not run; the archive has another checksum; go install failed\. Install one .*LIVEKIT_URL/,
  );
});
