// What `npm start` and `npm test` run first, on Node alone: a fresh clone has no packages yet.
//
// usage: start.mjs MODULE ARGUMENT…: checks Node, installs what package-lock.json says where it is
// not there, then runs the TypeScript module with the arguments.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const MINIMUM_NODE = [20, 19];
const directory = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

function fail(message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(1);
}

function isNodeTooOld() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1]);
}

function readPackages(file) {
  try {
    return JSON.parse(readFileSync(path.join(directory, file), 'utf8')).packages;
  } catch {
    return null;
  }
}

/** Compares what is installed with what should be, not times: a copied folder has any times. */
function isInstalled() {
  const wanted = readPackages('package-lock.json');
  const installed = readPackages('node_modules/.package-lock.json');
  if (wanted === null || installed === null) {
    return false;
  }
  return Object.entries(wanted).every(([name, { version, optional }]) => {
    const found = installed[name];
    return name === '' || (found === undefined ? optional === true : found.version === version);
  });
}

/** npm finishes its work in spite of Ctrl-C, and a second install beside it would fail: it is ended. */
function installPackages() {
  const isWindows = process.platform === 'win32';
  return new Promise((resolve) => {
    const npm = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: directory,
      stdio: ['ignore', 'inherit', 'inherit'],
      shell: isWindows,
      detached: !isWindows,
    });
    npm.once('error', (error) => resolve({ status: null, error }));
    npm.once('exit', (status) => resolve({ status }));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.once(signal, () => {
        if (npm.pid !== undefined && npm.exitCode === null) {
          process.kill(isWindows ? npm.pid : -npm.pid, 'SIGKILL');
          process.stderr.write('stopped while installing, the next start installs again\n');
        }
        process.exit(130);
      });
    }
  }).finally(() =>
    ['SIGINT', 'SIGTERM', 'SIGHUP'].forEach((name) => process.removeAllListeners(name)),
  );
}

if (isNodeTooOld()) {
  fail(
    `Node ${process.versions.node} is too old, ${MINIMUM_NODE.join('.')} or newer is needed: ` +
      'install it from https://nodejs.org',
  );
}
if (!isInstalled()) {
  process.stderr.write('installing packages (npm ci), this takes a minute\n');
  const result = await installPackages();
  if (result.status !== 0) {
    fail(
      result.error === undefined
        ? `npm ci failed with exit code ${result.status}: see its lines above`
        : `npm does not run (${result.error.message}): install it together with Node`,
    );
  }
}
const [, , module, ...args] = process.argv;
if (module === undefined) {
  fail('usage: node agent/start.mjs MODULE ARGUMENT…');
}
const file = path.resolve(module);
process.argv = [process.argv[0], file, ...args];
await import('tsx');
await import(pathToFileURL(file).href);
