/**
 * The whole path in a real browser: `start` brings LiveKit, engine, worker and server; Chromium
 * opens the join link with a recorded question as its microphone, and reads and hears the answer.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import wavefile from 'wavefile';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DEMO_LINES } from '../../models/test-support/demo-lines.ts';
import { anyFreeTcpPort } from '../livekit-server/free-port.ts';

const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const RESULTS = path.join(REPOSITORY, 'test-results');

/** “what is your name”, after 4.9 s of silence. */
const QUESTION = path.join(REPOSITORY, 'models/demo/samples/question.wav');
const ASKED = 'what is your name';
const { greet: GREETING, name: ANSWER } = DEMO_LINES;
/** Silence before the recording, so that the greeting is over when the question is asked. */
const LEAD_SECONDS = 4;
/** A host that has much else to do garbles the fake microphone: then it is asked again. */
const TIMES_ASKED = 6;

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const browserPath = BROWSERS.find((candidate) => existsSync(candidate));
const hasLiveKit = spawnSync('livekit-server', ['--version']).status === 0;
const missing = [
  ...(browserPath === undefined ? [`no browser (${BROWSERS.join(', ')})`] : []),
  ...(hasLiveKit ? [] : ['livekit-server is not on the PATH']),
];
if (missing.length > 0) {
  process.stderr.write(`skipped: join-page.e2e.test.ts, ${missing.join(', ')}\n`);
}

const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
};

describe.skipIf(missing.length > 0)('the join page', () => {
  let folder = '';
  let product: ChildProcess | undefined;
  let joinLink = '';
  let readOutput = () => '';
  const browsers: Browser[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'moshi-page-'));
    await mkdir(RESULTS, { recursive: true });
    await writeFile(path.join(folder, 'microphone.wav'), await recordMicrophone());
    const started = await startProduct(folder);
    product = started.process;
    joinLink = started.joinLink;
    readOutput = started.readOutput;
  });

  afterEach(async () => {
    // Whoever is still in the room would hear the next test.
    await Promise.all(browsers.splice(0).map((browser) => browser.close()));
  });

  afterAll(async () => {
    if (product !== undefined) {
      await stop(product);
    }
    await writeFile(path.join(RESULTS, 'join-page.log'), readOutput());
    await rm(folder, { recursive: true, force: true });
  });

  async function openBrowser(...extraArguments: string[]): Promise<Browser> {
    const browser = await chromium.launch({
      executablePath: browserPath ?? '',
      args: ['--no-sandbox', ...extraArguments],
    });
    browsers.push(browser);
    return browser;
  }

  function openBrowserWithMicrophone(): Promise<Browser> {
    return openBrowser(
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-audio-capture=${path.join(folder, 'microphone.wav')}%noloop`,
    );
  }

  // On a busy host the fake microphone stutters, at times for a whole call: then somebody else calls.
  test('answers a spoken question, heard and read', async () => {
    const { page, complaints } = await openPage(await openBrowserWithMicrophone(), joinLink);
    await page.getByRole('button', { name: 'Start talking' }).click();

    const captions = page.locator('.caption.agent');
    await expectText(captions.first(), GREETING, 30_000);
    await expectText(page.locator('.captions'), ANSWER, 70_000);
    await expectText(page.locator('.caption.user'), `You ${ASKED}`, 30_000);
    await page.screenshot({ path: path.join(RESULTS, 'join-page.png') });

    // Word by word: the page has seen the line grow.
    const lengths = await page.evaluate(() => (window as unknown as Probe).captionLengths);
    expect(lengths.length).toBeGreaterThan(5);
    // Squared amplitude times seconds: a spoken line at a tenth of full scale gives about 0.01.
    expect(await receivedAudioEnergy(page)).toBeGreaterThan(0.001);
    const latency = page.locator('.latency');
    await expectText(latency, /Model\s*\d+ ms/, 15_000);
    await expectText(latency, /Network\s*\d+ ms/, 15_000);

    await page.keyboard.press('m');
    await page.getByRole('button', { name: 'Unmute' }).waitFor();
    await expectText(page.locator('.state'), /muted/, 5_000);
    await page.getByRole('button', { name: 'Unmute' }).click();
    await page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
    await page.getByRole('button', { name: 'Leave' }).click();
    await page.getByRole('heading', { name: 'Good talking to you.' }).waitFor();
    expect(complaints).toEqual([]);
  });

  test('fits a phone and works by keyboard', async () => {
    const { page, complaints } = await openPage(await openBrowserWithMicrophone(), joinLink, PHONE);
    await page.getByRole('button', { name: 'Start talking' }).waitFor();
    expect(await overflow(page)).toBe(0);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await expectText(page.locator('.captions'), GREETING, 30_000);
    expect(await overflow(page)).toBe(0);
    await page.screenshot({ path: path.join(RESULTS, 'join-page-phone.png') });
    await page.getByRole('button', { name: 'Leave' }).click();
    expect(complaints).toEqual([]);
  });

  test('says that there is no microphone', async () => {
    const { page } = await openPage(await openBrowser(), joinLink);
    // What a browser does on a machine without one; this machine may have one.
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException('Requested device not found', 'NotFoundError'));
    });
    await page.getByRole('button', { name: 'Start talking' }).click();
    await page.getByRole('heading', { name: 'No microphone found' }).waitFor();
  });

  test('says that the microphone is blocked', async () => {
    const browser = await openBrowser(
      '--use-fake-device-for-media-stream',
      '--deny-permission-prompts',
    );
    const { page } = await openPage(browser, joinLink);
    await page.getByRole('button', { name: 'Start talking' }).click();
    await page.getByRole('heading', { name: 'The microphone is blocked' }).waitFor();
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Try again');
  });

  test('says that a link leads nowhere', async () => {
    const unknown = new URL('/j/AAAAAAAAAAAAAAAAAAAAAA', joinLink).href;
    const { page } = await openPage(await openBrowser(), unknown);
    await page.getByRole('heading', { name: 'This link leads nowhere' }).waitFor();
    expect(await page.getByRole('button').count()).toBe(0);
  });
});

/** What `openPage` leaves in the page. */
interface Probe {
  peerConnections: RTCPeerConnection[];
  captionLengths: number[];
}

/** Opens the page with its complaints collected and its connections at hand. */
async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') {
      complaints.push(message.text());
    }
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.addInitScript(() => {
    const probe = window as unknown as Probe;
    probe.peerConnections = [];
    probe.captionLengths = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(configuration?: RTCConfiguration) {
        super(configuration);
        probe.peerConnections.push(this);
      }
    };
    new MutationObserver(() => {
      const length = document.querySelector('.captions-scroll')?.textContent.length ?? 0;
      if (length !== probe.captionLengths.at(-1)) {
        probe.captionLengths.push(length);
      }
    }).observe(document, { subtree: true, childList: true });
  });
  await page.goto(url);
  return { page, complaints };
}

/** Sum over all incoming audio. */
function receivedAudioEnergy(page: Page): Promise<number> {
  return page.evaluate(async () => {
    let energy = 0;
    for (const connection of (window as unknown as Probe).peerConnections) {
      const report = await connection.getStats();
      report.forEach((entry: { type: string; totalAudioEnergy?: number }) => {
        if (entry.type === 'inbound-rtp') {
          energy += entry.totalAudioEnergy ?? 0;
        }
      });
    }
    return energy;
  });
}

/** Pixels by which the page is wider than the window. */
function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}

async function expectText(
  locator: ReturnType<Page['locator']>,
  text: string | RegExp,
  timeoutMs: number,
): Promise<void> {
  const polled = expect.poll(
    async () => (await locator.allInnerTexts()).join(' ').replace(/\s+/g, ' '),
    {
      timeout: timeoutMs,
      interval: 200,
    },
  );
  await (typeof text === 'string' ? polled.toContain(text) : polled.toMatch(text));
}

async function recordMicrophone(): Promise<Uint8Array> {
  const question = new wavefile.WaveFile(await readFile(QUESTION));
  const { sampleRate } = question.fmt as { sampleRate: number };
  const spoken = question.getSamples(false, Int16Array) as unknown as Int16Array;
  const samples = new Int16Array(LEAD_SECONDS * sampleRate + TIMES_ASKED * spoken.length);
  for (let time = 0; time < TIMES_ASKED; time += 1) {
    samples.set(spoken, LEAD_SECONDS * sampleRate + time * spoken.length);
  }
  const microphone = new wavefile.WaveFile();
  microphone.fromScratch(1, sampleRate, '16', samples);
  return microphone.toBuffer();
}

/** Runs `start` on ports of its own and returns the join link it prints. */
async function startProduct(folder: string) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'agent/cli.ts', 'start'], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      LIVEKIT_URL: '',
      LIVEKIT_API_KEY: '',
      LIVEKIT_API_SECRET: '',
      MOSHI_MODEL: 'demo',
      MOSHI_ENGINE_URL: `unix:${path.join(folder, 'engine.sock')}`,
      MOSHI_TRANSCRIBER: 'demo-transcriber',
      MOSHI_TRANSCRIBER_URL: `unix:${path.join(folder, 'transcriber.sock')}`,
      MOSHI_HTTP_PORT: `${await anyFreeTcpPort()}`,
      MOSHI_HTTP_HOST: '127.0.0.1',
      MOSHI_PUBLIC_URL: '',
      MOSHI_LOG_LEVEL: 'info',
    },
  });
  let output = '';
  const joinLink = await new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const link = /Talk to Moshi: (\S+)/.exec(output)?.[1];
      if (link !== undefined) {
        resolve(link);
      }
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => reject(new Error(`start ended with ${code ?? 0}:\n${output}`)));
  });
  return { process: child, joinLink, readOutput: () => output };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGINT');
  // A second signal ends it at once.
  const patience = setTimeout(() => child.kill('SIGINT'), 10_000);
  await ended;
  clearTimeout(patience);
}
