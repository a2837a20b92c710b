/**
 * What callers may send, checked before anything else happens.
 *
 * `POST /api/token` speaks LiveKit's standard token endpoint
 * (docs.livekit.io/frontends/build/authentication/endpoint): a JSON object, all fields optional.
 */
import { z } from 'zod';
import { ApiError } from './api-error.ts';

/** The only agent a token may ask for: any other name would let a visitor start any agent. */
export const AGENT_NAME = 'moshi';

/** Text that people read: one line, no control characters. */
function line(maxLength: number) {
  return z
    .string()
    .max(maxLength, `must have at most ${maxLength} characters`)
    .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'must not contain control characters or line breaks');
}

/** A name that goes into URLs, logs and tokens. */
function name(maxLength: number) {
  return z
    .string()
    .max(maxLength, `must have at most ${maxLength} characters`)
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, {
      error: 'must begin with a letter or digit and contain only letters, digits, "-", "_" and "."',
    });
}

/** Longest text that is handed on to the agent, characters. */
const MAX_METADATA_LENGTH = 1_024;
const MAX_ATTRIBUTES = 16;

const metadata = z
  .string()
  .max(MAX_METADATA_LENGTH, `must have at most ${MAX_METADATA_LENGTH} characters`);

/** Attributes of these families are written by LiveKit and by agents, front ends trust them. */
const RESERVED_ATTRIBUTE = /^(lk|sip|moshi)\./;

const attributes = z
  .record(
    z
      .string()
      .regex(
        /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/,
        'has a key that is not a letter followed by at most 63 letters, digits, "-", "_" or "."',
      ),
    z.string().max(256, 'has a value longer than 256 characters'),
  )
  .refine((given) => Object.keys(given).length <= MAX_ATTRIBUTES, {
    error: `must have at most ${MAX_ATTRIBUTES} entries`,
  })
  .refine((given) => !Object.keys(given).some((key) => RESERVED_ATTRIBUTE.test(key)), {
    error: 'must not set keys that begin with "lk.", "sip." or "moshi."',
  });

const agentName = z.literal(AGENT_NAME, {
  error: (issue) => `is ${describe(issue.input)}, the only agent here is "${AGENT_NAME}"`,
});

function describe(value: unknown): string {
  return typeof value === 'string'
    ? JSON.stringify(value.slice(0, 80))
    : `a value of type ${typeof value}`;
}

/** Clients of LiveKit write proto names, people often write the JSON ones; both are understood. */
const agentDispatch = z.strictObject({
  agent_name: agentName.optional(),
  agentName: agentName.optional(),
  metadata: metadata.optional(),
});

/** Of LiveKit's room configuration what a visitor may decide. Recording, for one, is not his. */
const roomConfig = z.strictObject({
  agents: z.array(agentDispatch).max(1, 'must name at most one agent').optional(),
});

const tokenRequest = z.object({
  room_name: name(128).optional(),
  participant_name: line(64).optional(),
  participant_identity: name(64)
    .refine((identity) => !/^agent([-_.]|$)/i.test(identity), {
      error: 'must not begin with "agent", that is how agents are called',
    })
    .optional(),
  participant_metadata: metadata.optional(),
  participant_attributes: attributes.optional(),
  room_config: roomConfig.optional(),
  link_id: z
    .string()
    .regex(/^[A-Za-z0-9_-]{22}$/, 'is not the id of a join link')
    .optional(),
});
export type TokenRequest = z.infer<typeof tokenRequest>;

const linkRequest = z.strictObject({
  room: name(128).optional(),
  displayName: line(64).optional(),
  ttlSeconds: z
    .number()
    .int('must be a whole number')
    .min(60, 'must be 60 or more')
    .max(604_800, 'must be 604800 (a week) or less')
    .optional(),
  maxParticipants: z
    .number()
    .int('must be a whole number')
    .min(1, 'must be 1 or more')
    .max(50, 'must be 50 or less')
    .optional(),
});
export type LinkRequest = z.infer<typeof linkRequest>;

/** @throws {ApiError} 400, naming the first field that is wrong. */
export function parseTokenRequest(body: unknown): TokenRequest {
  refuseCamelCase(body);
  return parse(tokenRequest, body);
}

/** @throws {ApiError} 400, naming the first field that is wrong. */
export function parseLinkRequest(body: unknown): LinkRequest {
  return parse(linkRequest, body);
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body ?? {});
  if (result.success) {
    return result.data;
  }
  const issue = result.error.issues[0];
  const path = issue?.path.map(String) ?? [];
  if (issue?.code === 'unrecognized_keys') {
    path.push(...issue.keys.slice(0, 1));
  }
  const field = path.join('.').slice(0, 200);
  const reason =
    issue?.code === 'unrecognized_keys'
      ? 'is not a field that can be set here'
      : (issue?.message ?? 'is invalid').replace(/^Invalid input: /, 'is invalid: ');
  throw new ApiError(
    400,
    'invalid_request',
    field === '' ? `The body must be a JSON object: it ${reason}.` : `${field} ${reason}.`,
    field === '' ? {} : { field },
  );
}

/** A field in the wrong spelling would be ignored silently and lead into a room of its own. */
function refuseCamelCase(body: unknown): void {
  if (typeof body !== 'object' || body === null) {
    return;
  }
  for (const known of Object.keys(tokenRequest.shape)) {
    const spelling = known.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (spelling !== known && Object.hasOwn(body, spelling)) {
      throw new ApiError(400, 'invalid_request', `${spelling} is spelt ${known} here.`, {
        field: spelling,
      });
    }
  }
}
