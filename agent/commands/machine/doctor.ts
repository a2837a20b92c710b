/** `doctor`: what this machine can and cannot do, and what to fix. */
import path from 'node:path';
import { FASTEST_ON_CPU } from '../../../models/manifest.ts';
import { fetchEngineHealth } from '../../../plugins/moshi/client/engine-http.ts';
import { listProcessors } from '../../../plugins/moshi/engine/onnxruntime/processor-list.ts';
import { FRAME_MS } from '../../../plugins/moshi/protocol/messages.ts';
import { releaseArchiveName } from '../../livekit-server/release.ts';
import { tcpPortProblem } from '../../livekit-server/free-port.ts';
import { provisionEffects } from '../../livekit-server/provision.ts';
import { transcriberConfig } from '../../config.ts';
import { CommandError, type CommandContext } from '../command-context.ts';
import { measureModel } from './measure-model.ts';
import { requireTranscription, requireVoice } from '../model-abilities.ts';
import { judgeModel } from '../model-for-command.ts';

export interface Finding {
  name: string;
  /** `warning`: it works, but not as one might expect. `failed`: something needed is broken. */
  status: 'ok' | 'warning' | 'failed';
  found: string;
  /** What to do; absent when there is nothing to do. */
  fix?: string;
}

/** Beyond this share of a frame's time there is no room for a second conversation or a slow moment. */
const COMFORTABLE_SHARE = 0.5;

const MARKS = { ok: 'ok    ', warning: 'warn  ', failed: 'FAILED' };

/** @throws {CommandError} when something needed is broken, after all findings are printed. */
export async function runDoctor(context: CommandContext, format: { json: boolean }): Promise<void> {
  const findings: Finding[] = [];
  const checks: [string, () => Promise<Omit<Finding, 'name'>>][] = [
    ['Node', checkNode],
    ['ONNX Runtime', () => checkOnnxRuntime(context)],
    ['threads', () => checkThreads(context)],
    ['LiveKit client library', checkRtcLibrary],
    ['model', () => requireVoice(context).then(() => checkModel(context))],
    ['engine', () => checkEngine(context)],
    ...transcriberChecks(context),
    ['LiveKit server', () => checkLiveKit(context)],
    ['HTTP port', () => checkHttpPort(context)],
  ];
  for (const [name, check] of checks) {
    const finding: Finding = { name, ...(await check().catch(describeFailure)) };
    findings.push(finding);
    if (!format.json) {
      context.print(`${MARKS[finding.status]} ${name}: ${finding.found}`);
      if (finding.fix !== undefined) {
        context.print(`       ${finding.fix}`);
      }
    }
  }
  const failed = findings.filter(({ status }) => status === 'failed').map(({ name }) => name);
  if (format.json) {
    context.print(JSON.stringify({ ok: failed.length === 0, findings }));
  }
  if (failed.length > 0) {
    throw new CommandError(
      `${failed.length} of ${findings.length} checks failed: ${failed.join(', ')}`,
    );
  }
}

/** Messages of this project say what to do themselves. */
function describeFailure(error: unknown): Omit<Finding, 'name'> {
  return { status: 'failed', found: error instanceof Error ? error.message : String(error) };
}

function checkNode(): Promise<Omit<Finding, 'name'>> {
  // `start.mjs` and `engines` refuse what is too old before this runs.
  return Promise.resolve({
    status: 'ok',
    found: `${process.versions.node} on ${process.platform} ${process.arch}`,
  });
}

async function checkOnnxRuntime(context: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { OnnxRuntime } = await import('../../../plugins/moshi/engine/onnxruntime/onnx-runtime.ts');
  const { chooseDevice } = await import('./choose-device.ts');
  const runtime = new OnnxRuntime(await chooseDevice(context.config.engine.device));
  try {
    const providers = runtime.availableProviders().map((name) => name.replace(/Provider$/, ''));
    return {
      status: 'ok',
      found: `${runtime.version}, knows ${providers.join(', ')}, uses ${runtime.device}`,
    };
  } finally {
    runtime.dispose();
  }
}

async function checkThreads({ config }: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { engineThreads } = await import('./engine-threads.ts');
  const { allowedProcessors } =
    await import('../../../plugins/moshi/engine/onnxruntime/thread-pinning.ts');
  const { threads, processors } = engineThreads(config.engine);
  const there = allowedProcessors();
  const place =
    processors !== undefined
      ? `each on its own of the processors ${listProcessors(processors)}`
      : `on any of ${there === null ? 'the processors' : `the processors ${listProcessors(there)}`}`;
  return { status: 'ok', found: `${threads} in ONNX Runtime, ${place}` };
}

async function checkRtcLibrary(): Promise<Omit<Finding, 'name'>> {
  const { AudioResampler } = await import('@livekit/rtc-node');
  // The first call into the native part; loading the module alone proves nothing.
  new AudioResampler(48_000, 24_000, 1).close();
  return { status: 'ok', found: '@livekit/rtc-node loads' };
}

function transcriberChecks(
  context: CommandContext,
): [string, () => Promise<Omit<Finding, 'name'>>][] {
  const config = transcriberConfig(context.config);
  if (config === null) {
    return [];
  }
  const own = { ...context, config };
  return [
    ['transcriber', () => requireTranscription(own).then(() => checkModel(own))],
    ['transcriber’s engine', () => checkEngine(own)],
  ];
}

async function checkModel(context: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { checkpoint, reason, fits, warning } = await judgeModel(context);
  if (!fits) {
    // Who loads it for a measurement may be ended for want of memory.
    return {
      status: 'failed',
      found: `weights in ${checkpoint}; ${reason}`,
      ...(warning !== null && { fix: warning }),
    };
  }
  const { name, isDemo, device, precision, p50, p99 } = await measureModel(context);
  const found =
    `${name}${isDemo ? ' (the demo model)' : ''} in ${precision}, ${p50.toFixed(1)} ms per frame, ` +
    `99 % within ${p99.toFixed(1)} ms; real time is ${FRAME_MS} ms; weights in ${checkpoint}`;
  if (p50 > FRAME_MS) {
    const isFastest = device !== 'cpu' || precision === FASTEST_ON_CPU;
    return {
      status: 'failed',
      found,
      fix:
        'too slow for conversations: use a smaller model, ' +
        `${isFastest ? '' : `MOSHI_PRECISION=${FASTEST_ON_CPU}, `}more threads, a faster machine or a GPU`,
    };
  }
  return p99 > FRAME_MS * COMFORTABLE_SHARE
    ? { status: 'warning', found, fix: 'little is to spare: keep MOSHI_ENGINE_SLOTS low' }
    : { status: 'ok', found };
}

async function checkEngine(context: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { url, token, isConfigured } = context.config.engine;
  try {
    const { status, slotsUsed, slotsUsable, slotsTotal, model, warning } = await fetchEngineHealth(
      url,
      token,
    );
    return {
      status: status === 'ok' ? 'ok' : 'warning',
      found:
        `runs at ${url} (${status}), model ${model.name}, ${slotsUsed} of ${slotsTotal} slots taken` +
        (slotsUsable < slotsTotal ? `, ${slotsUsable} served in time` : '') +
        (warning === undefined ? '' : `. ${warning}`),
    };
  } catch (error) {
    if (isConfigured && /^wss?:/.test(url)) {
      throw error;
    }
    return { status: 'ok', found: `not running; start brings one at ${url}` };
  }
}

async function checkLiveKit(context: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { url, apiKey, apiSecret } = context.config.livekit;
  if (url !== undefined && apiKey !== undefined && apiSecret !== undefined) {
    const { createRoomDirectory } = await import('../../server/room-directory.ts');
    await createRoomDirectory({ url, apiKey, apiSecret }, Date.now).check();
    return { status: 'ok', found: `${url} answers and accepts key and secret` };
  }
  const effects = provisionEffects({
    directory: path.join(context.config.cacheDirectory, 'livekit-server'),
    environment: context.environment,
    signal: new AbortController().signal,
    report: context.remark,
  });
  const binary = (await effects.findOnPath('livekit-server')) ?? (await effects.findCached());
  if (binary !== null) {
    return { status: 'ok', found: `LIVEKIT_URL is not set; start runs ${binary}` };
  }
  if (await effects.isDockerRunning()) {
    return { status: 'ok', found: 'LIVEKIT_URL is not set; start runs it in Docker' };
  }
  const archive = releaseArchiveName(process.platform, process.arch);
  const hasGo = (await effects.findOnPath('go')) !== null;
  if (archive !== null || hasGo) {
    return {
      status: 'warning',
      found: 'LIVEKIT_URL is not set and no livekit-server is here',
      fix: archive === null ? 'start builds it with Go' : `start downloads ${archive}`,
    };
  }
  return {
    status: 'failed',
    found: 'LIVEKIT_URL is not set and no livekit-server is here',
    fix: 'install livekit-server (macOS: brew install livekit), Docker or Go, or set LIVEKIT_URL',
  };
}

async function checkHttpPort(context: CommandContext): Promise<Omit<Finding, 'name'>> {
  const { host, port } = context.config.server;
  const variables = { host: 'MOSHI_HTTP_HOST', port: 'MOSHI_HTTP_PORT' };
  const problem = await tcpPortProblem(port, host, variables);
  if (problem === null) {
    return { status: 'ok', found: `${host}:${port} is free` };
  }
  // A running `npm start` holds it, and all is well; any other problem ends the next one.
  const isTaken = problem.includes('is taken');
  return { status: isTaken ? 'warning' : 'failed', found: problem };
}
