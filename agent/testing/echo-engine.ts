import type { IncomingMessage, ServerResponse } from 'node:http';
import { StubEngine, stubModel } from '../../plugins/moshi/test-support/engine-stub.ts';
import {
  HEALTH_PATH,
  PROTOCOL_VERSION,
  RESERVATIONS_PATH,
} from '../../plugins/moshi/protocol/messages.ts';
import type { HealthReport } from '../../plugins/moshi/protocol/messages.ts';

const SLOTS = 4;

/** Speaks the engine's protocol and runs no model: every frame it hears is what it says, at once. */
export function startEchoEngine(): Promise<StubEngine> {
  return StubEngine.start(0, {
    frame: (_step, heard) => ({ pcm: heard, hasAudio: true }),
    http: answerPlainly,
  });
}

/** Plain HTTP of an engine in which nobody talks yet, and which holds any slot. */
export function answerPlainly(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === HEALTH_PATH) {
    const report: HealthReport = {
      status: 'ok',
      protocol: PROTOCOL_VERSION,
      model: stubModel,
      device: 'echo',
      slotsTotal: SLOTS,
      slotsUsable: SLOTS,
      slotsUsed: 0,
      stepsTotal: 0,
      droppedFramesTotal: 0,
      bytesPerConversation: 0,
      stepMs: null,
    };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(report));
    return;
  }
  response.writeHead(request.url?.startsWith(RESERVATIONS_PATH) === true ? 201 : 404).end();
}
