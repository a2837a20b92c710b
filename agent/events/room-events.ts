/**
 * What the agent tells a room besides its voice: one JSON object per message on one data topic.
 *
 * Imported by the worker and by the page in the browser alike, so it depends on nothing but zod.
 * Readers ignore versions and types they do not know.
 */
import { z } from 'zod';

/** Topic of the room's data channel. */
export const ROOM_EVENTS_TOPIC = 'moshi.events';
/** Raised whenever an old reader would misread a new event. */
export const ROOM_EVENTS_VERSION = 1;

const version = z.literal(ROOM_EVENTS_VERSION);
/** Milliseconds on the clock of the agent's audio; 0 is the first frame of the conversation. */
const timeMs = z.number().nonnegative();
const durationMs = z.number().nonnegative();

/** Sent to everybody when somebody joins, and once the model is known. */
export const modelEvent = z.object({
  v: version,
  type: z.literal('model'),
  name: z.string(),
  /** True for the tiny model that comes with the repository. */
  isDemo: z.boolean(),
});

/** A word of the agent, at the time it is spoken; `text` carries its leading space. */
export const agentTranscriptDelta = z.object({
  v: version,
  type: z.literal('agent_transcript_delta'),
  segmentId: z.string(),
  text: z.string(),
  startMs: timeMs,
  endMs: timeMs,
});

/** An utterance of the agent is over; `text` is all of it. */
export const agentTranscriptFinal = z.object({
  v: version,
  type: z.literal('agent_transcript_final'),
  segmentId: z.string(),
  text: z.string(),
  startMs: timeMs,
  endMs: timeMs,
});

/**
 * A word of the person whom the agent hears, half a second or more after it was said; `text` carries its
 * leading space. Only with a transcriber, as the next one.
 */
export const userTranscriptDelta = z.object({
  v: version,
  type: z.literal('user_transcript_delta'),
  segmentId: z.string(),
  /** Whose words: a participant of the room, who may have left. */
  identity: z.string(),
  text: z.string(),
  startMs: timeMs,
});

/** A turn of the person whom the agent hears is over; `text` is all of it. */
export const userTranscriptFinal = z.object({
  v: version,
  type: z.literal('user_transcript_final'),
  segmentId: z.string(),
  identity: z.string(),
  text: z.string(),
  startMs: timeMs,
  /** When the pause after it was heard; where none was, when its last word had been heard. */
  endMs: timeMs,
});

export const callState = z.enum([
  /** The engine is not reached yet. */
  'connecting',
  'listening',
  /** The agent speaks, and listens as always. */
  'speaking',
  /** The engine was lost and is awaited; the room hears silence. */
  'reconnecting',
  /** The engine is given up; the agent is about to leave. */
  'failed',
]);
export type CallState = z.infer<typeof callState>;

export const stateEvent = z.object({ v: version, type: z.literal('state'), state: callState });

export const errorEvent = z.object({
  v: version,
  type: z.literal('error'),
  /** One word for programs, for example `unreachable` or `full`. */
  code: z.string(),
  /** For people. */
  message: z.string(),
  /** False if the call ends because of it. */
  recoverable: z.boolean(),
});

const distribution = z.object({ p50: durationMs, p99: durationMs });

/** How the last seconds went; null where no frame came in them. */
export const timingEvent = z.object({
  v: version,
  type: z.literal('timing'),
  /** Time since the last summary. */
  intervalMs: durationMs,
  /** Model frames in the interval, 80 ms each. */
  frames: z.number().int().nonnegative(),
  /** Time of one step on the device. */
  stepMs: distribution.nullable(),
  /** Time a full frame of input waited for its step. */
  queuedMs: distribution.nullable(),
  /** Speech that waits in the outgoing track right now. */
  backlogMs: durationMs,
  /** Input frames that the engine dropped since the conversation began. */
  droppedFrames: z.number().int().nonnegative(),
  /** Output dropped since the call began so that it does not lag: nearly all of it silence. */
  droppedOutputMs: durationMs,
  /** Output dropped since the call began because nobody was there to hear it. */
  unheardOutputMs: durationMs,
});

export const roomEvent = z.discriminatedUnion('type', [
  modelEvent,
  agentTranscriptDelta,
  agentTranscriptFinal,
  userTranscriptDelta,
  userTranscriptFinal,
  stateEvent,
  errorEvent,
  timingEvent,
]);
export type RoomEvent = z.infer<typeof roomEvent>;

/** Reads one message of the topic; null if it is of another version, of an unknown type or none of ours. */
export function parseRoomEvent(payload: Uint8Array): RoomEvent | null {
  try {
    const result = roomEvent.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    return result.success ? result.data : null;
  } catch {
    return null;
  }
}
