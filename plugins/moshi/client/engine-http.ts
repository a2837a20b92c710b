import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import {
  HEALTH_PATH,
  METRICS_PATH,
  RESERVATIONS_PATH,
  healthReport,
} from '../protocol/messages.ts';
import type { HealthReport } from '../protocol/messages.ts';
import { parseEngineAddress } from './engine-address.ts';
import { EngineConnectionError } from './engine-connection-error.ts';

const TIMEOUT_MS = 2_000;
/** Far above any answer of an engine; whatever sends more is none. */
const MAX_ANSWER_BYTES = 65_536;

type Answer = { statusCode: number; body: string };

/**
 * What the engine says of itself, also when it is draining or failed.
 *
 * @throws EngineConnectionError if no engine answers within 2 s.
 */
export async function fetchEngineHealth(url: string, token?: string): Promise<HealthReport> {
  const answer = await askEngine(url, token, 'GET', HEALTH_PATH);
  let report: unknown;
  try {
    report = JSON.parse(answer.body);
  } catch (error) {
    throw EngineConnectionError.notAnEngine(url, `its health is no JSON.`, error);
  }
  const checked = healthReport.safeParse(report);
  if (!checked.success) {
    throw EngineConnectionError.notAnEngine(url, checked.error.message);
  }
  return checked.data;
}

/**
 * The engine's counters, as Prometheus reads them.
 *
 * @throws EngineConnectionError if no engine answers within 2 s.
 */
export async function fetchEngineMetrics(url: string, token?: string): Promise<string> {
  const answer = await askEngine(url, token, 'GET', METRICS_PATH);
  if (answer.statusCode !== 200) {
    throw unexpectedStatus(url, answer);
  }
  return answer.body;
}

/**
 * Holds a slot for a conversation that will start with the same key.
 *
 * @throws EngineConnectionError if no engine answers within 2 s.
 */
export async function reserveSlot(
  url: string,
  key: string,
  token?: string,
): Promise<'reserved' | 'full' | 'overloaded'> {
  const answer = await askEngine(url, token, 'POST', RESERVATIONS_PATH, JSON.stringify({ key }));
  if (answer.statusCode >= 200 && answer.statusCode < 300) {
    return 'reserved';
  }
  // 409 and 503: no slot is free, or the engine is about to leave; either way not here.
  if (answer.statusCode === 409 || answer.statusCode === 503) {
    return /"error":\s*"overloaded"/.test(answer.body) ? 'overloaded' : 'full';
  }
  throw unexpectedStatus(url, answer);
}

/**
 * Gives a reserved slot back. A key that holds nothing any more is no error.
 *
 * @throws EngineConnectionError if no engine answers within 2 s.
 */
export async function releaseReservation(url: string, key: string, token?: string): Promise<void> {
  const path = `${RESERVATIONS_PATH}/${encodeURIComponent(key)}`;
  const answer = await askEngine(url, token, 'DELETE', path);
  if (answer.statusCode !== 404 && (answer.statusCode < 200 || answer.statusCode >= 300)) {
    throw unexpectedStatus(url, answer);
  }
}

function unexpectedStatus(url: string, answer: Answer): EngineConnectionError {
  return EngineConnectionError.notAnEngine(
    url,
    `HTTP status ${answer.statusCode}, ${JSON.stringify(answer.body.slice(0, 200))}.`,
  );
}

function askEngine(
  url: string,
  token: string | undefined,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: string,
): Promise<Answer> {
  const address = parseEngineAddress(url);
  return new Promise((resolve, reject) => {
    const send = address.secure ? httpsRequest : httpRequest;
    const request = send({
      ...(address.socketPath === null
        ? { host: address.host, port: address.port }
        : { socketPath: address.socketPath }),
      method,
      path,
      // A pooled connection to an engine that was restarted meanwhile would fail the next call.
      agent: false,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
    });
    const deadline = setTimeout(() => {
      request.destroy(EngineConnectionError.timeout(url, TIMEOUT_MS));
    }, TIMEOUT_MS);
    const fail = (error: Error): void => {
      clearTimeout(deadline);
      reject(
        error instanceof EngineConnectionError
          ? error
          : EngineConnectionError.unreachable(url, error),
      );
    };
    request.on('error', fail);
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) {
          request.destroy(EngineConnectionError.notAnEngine(url, 'an endless answer.'));
        }
      });
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(deadline);
        if (response.statusCode === 401 || response.statusCode === 403) {
          reject(EngineConnectionError.unauthorized(url));
        } else {
          resolve({ statusCode: response.statusCode ?? 0, body: text });
        }
      });
    });
    request.end(body);
  });
}
