/**
 * What plugin and engine say to each other over one WebSocket per conversation.
 *
 * Control messages are JSON text; audio is binary (`frame-message.ts`). The
 * client speaks first (`start`), the engine answers `ready` or `error`, then audio flows both ways
 * until either side closes; a model that transcribes answers with words in place of audio. Both sides
 * validate everything they receive.
 */
import { z } from 'zod';

/**
 * Raised whenever an old peer would misread a new one; peers of different versions refuse each other.
 * 2: voice, prompt, conditions and guidance, which version 1 passes over.
 * 3: models that transcribe, whose words version 2 does not know.
 */
export const PROTOCOL_VERSION = 3;

/** Path of the WebSocket on the engine's HTTP server. */
export const CONVERSATION_PATH = '/v1/conversation';
/** `POST {key}` holds a free slot for a conversation that is about to start with the same key. */
export const RESERVATIONS_PATH = '/v1/reservations';
export const HEALTH_PATH = '/health';
export const METRICS_PATH = '/metrics';

/** Sample rate of all PCM on the wire, Hz. */
export const WIRE_SAMPLE_RATE = 24_000;
/** Samples in one 80 ms frame. */
export const FRAME_SAMPLES = 1_920;
/** How long a frame lasts. */
export const FRAME_MS = (FRAME_SAMPLES * 1000) / WIRE_SAMPLE_RATE;
/** Largest message either side accepts; a second of PCM is 96 kB. */
export const MAX_MESSAGE_BYTES = 1_048_576;

/** Longest role in words; a model reads one token a frame before it hears anybody. */
export const MAX_PROMPT_CHARACTERS = 20_000;

/** `unix:/path/to.sock` · `ws://host:port` · `wss://host:port`. */
export const engineUrl = z
  .string()
  .regex(
    /^(unix:\/.+|wss?:\/\/[^/\s]+)$/,
    'must be unix:/absolute/path.sock, ws://host:port or wss://host:port',
  );

export const reservationKey = z.string().min(1).max(200);

const startMessage = z.object({
  type: z.literal('start'),
  protocol: z.number().int(),
  /** Takes the slot that was reserved under this key, if any. */
  reservationKey: reservationKey.optional(),
  /** Missing fields take the model's defaults. */
  sampling: z
    .object({
      textTemperature: z.number().min(0).max(10),
      audioTemperature: z.number().min(0).max(10),
      textTopK: z.number().int().min(1),
      audioTopK: z.number().int().min(1),
    })
    .partial()
    .optional(),
  /** Value by name of a condition of the model; missing ones take the model's defaults. */
  conditions: z.record(z.string().max(100), z.string().max(100)).optional(),
  /** Strength of classifier-free guidance, for models that run with it; 1 is none. */
  guidance: z.number().min(0).max(100).optional(),
  /** Name of a voice that the engine knows, for models that take one; theirs by default if missing. */
  voice: z.string().min(1).max(100).optional(),
  /** Role in words, for models that take one; the engine's default if missing, none if empty. */
  prompt: z.string().max(MAX_PROMPT_CHARACTERS).optional(),
  /** Makes the noise of sampling reproducible; random if missing. */
  seed: z.number().int().min(0).max(0xffffffff).optional(),
});
export type StartMessage = z.infer<typeof startMessage>;

/** Forgets the conversation and goes on from an empty one; queued input is dropped. */
const resetMessage = z.object({ type: z.literal('reset') });

export const clientMessage = z.discriminatedUnion('type', [startMessage, resetMessage]);
export type ClientMessage = z.infer<typeof clientMessage>;

export const modelInfo = z.object({
  name: z.string(),
  isDemo: z.boolean(),
  /** Text token the model emits while it has nothing to say. */
  paddingToken: z.number().int(),
  /** Text token that announces a word in the next frame. */
  endOfPaddingToken: z.number().int(),
  /** Frames by which a frame's audio lags the text token sampled in the same step. */
  maxDelay: z.number().int().nonnegative(),
  /** Whether it writes down what it hears (`word`, `turn_end`) and says nothing. */
  transcribes: z.boolean(),
});
export type ModelInfo = z.infer<typeof modelInfo>;

const readyMessage = z.object({
  type: z.literal('ready'),
  protocol: z.number().int(),
  conversationId: z.string(),
  model: modelInfo,
});
export type ReadyMessage = z.infer<typeof readyMessage>;

/** Before `ready`: the model goes through its prompt, which may take as long as the speech in it. */
const promptingMessage = z.object({
  type: z.literal('prompting'),
  /** Steps until `ready`. */
  stepsLeft: z.number().int().nonnegative(),
});

const resetDoneMessage = z.object({ type: z.literal('reset_done') });

/**
 * A word that was heard, as soon as all of it is written: half a second to three after it was said, as
 * the model was trained. What such a model takes for a word's end is where the next one begins, which
 * nobody can wait for, so there is none. Milliseconds count from the conversation's first sample; time
 * that was dropped counts.
 */
const wordMessage = z.object({
  type: z.literal('word'),
  /** Without blanks around it. */
  text: z.string().min(1),
  startMs: z.number().nonnegative(),
});
export type WordMessage = z.infer<typeof wordMessage>;

/** The speaker had finished by then. Comes after all words said before it; never from models that cannot tell. */
const turnEndMessage = z.object({
  type: z.literal('turn_end'),
  atMs: z.number().nonnegative(),
});
export type TurnEndMessage = z.infer<typeof turnEndMessage>;

export const engineErrorCode = z.enum([
  /** All slots are taken: try later or elsewhere. */
  'full',
  /** The engine could not serve one more conversation in time: try later or elsewhere. */
  'overloaded',
  /** The peer speaks another PROTOCOL_VERSION. */
  'protocol_version',
  /** A message was not understood; the conversation is closed. */
  'bad_message',
  /** The model takes no prompt, or not this voice or text: the message tells what there is. */
  'prompt_refused',
  /** A message exceeded MAX_MESSAGE_BYTES. */
  'too_large',
  'unauthorized',
  /** The model failed in a step; the engine lives on. */
  'model_failed',
  /** The client does not read what it is sent. */
  'slow_reader',
  'shutting_down',
]);
export type EngineErrorCode = z.infer<typeof engineErrorCode>;

const errorMessage = z.object({
  type: z.literal('error'),
  code: engineErrorCode,
  message: z.string(),
  /** With `full` and `overloaded`: when a place might come, as far as the engine can tell. */
  retryAfterMs: z.number().int().nonnegative().optional(),
});

export const engineMessage = z.discriminatedUnion('type', [
  readyMessage,
  promptingMessage,
  resetDoneMessage,
  wordMessage,
  turnEndMessage,
  errorMessage,
]);
export type EngineMessage = z.infer<typeof engineMessage>;

/** WebSocket close code per error, in the private range, so that a bare close still tells why. */
export const CLOSE_CODES: Record<EngineErrorCode, number> = {
  full: 4001,
  protocol_version: 4002,
  bad_message: 4003,
  too_large: 1009,
  unauthorized: 4004,
  model_failed: 4005,
  slow_reader: 4006,
  shutting_down: 4007,
  overloaded: 4008,
  prompt_refused: 4009,
};

/** Body of `GET /health`: 200 when status is `ok`, else 503. */
export const healthReport = z.object({
  status: z.enum(['ok', 'draining', 'failed']),
  protocol: z.number().int(),
  model: modelInfo,
  /** Execution provider that runs the graphs, for example `cpu`. */
  device: z.string(),
  slotsTotal: z.number().int(),
  /** Of those, how many would be served in time, judged by measured steps. */
  slotsUsable: z.number().int(),
  /** Attached conversations plus live reservations. */
  slotsUsed: z.number().int(),
  stepsTotal: z.number().int(),
  droppedFramesTotal: z.number().int(),
  /** Memory that a conversation's state takes on the device. */
  bytesPerConversation: z.number().int(),
  /** Milliseconds per step over the last steps; null before the first. */
  stepMs: z.object({ p50: z.number(), p99: z.number() }).nullable(),
  /** Why not even one conversation would be served in time, with what was measured. */
  warning: z.string().optional(),
});
export type HealthReport = z.infer<typeof healthReport>;
