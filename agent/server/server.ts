/**
 * The HTTP server: token endpoint, join links, health, and the page.
 *
 * | route | does |
 * |---|---|
 * | `POST /api/token` | LiveKit's standard token endpoint; `link_id` exchanges a join link |
 * | `POST /api/links`, `GET /api/links/:id` | makes a join link; tells what it leads to |
 * | `GET /api/config` | what the page wants to know before it starts |
 * | `GET /health` | 200 if LiveKit and engine answer, else 503 |
 * | `GET /`, `GET /j/:id`, `GET /assets/*` | the page |
 *
 * Failures are JSON: `{error, message, field?}`.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import staticFiles from '@fastify/static';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
} from 'fastify';
import { ApiError } from './api-error.ts';
import { createIdentity, createJoinToken, createRoomName } from './join-token.ts';
import { LinkStore, type JoinLink } from './link-store.ts';
import { callerOf, RateLimiter, type RateLimit } from './rate-limiter.ts';
import { parseLinkRequest, parseTokenRequest, type TokenRequest } from './requests.ts';
import { createRoomDirectory, type LiveKitAccess, type RoomDirectory } from './room-directory.ts';
import { RoomTurns } from './room-turns.ts';
import { createSecurityHeaders } from './security-headers.ts';

/** What this server wants to know of the engine; its health report says it. */
export interface EngineState {
  status: string;
  slotsTotal: number;
  /** Of those, how many the engine would serve in time. */
  slotsUsable: number;
  slotsUsed: number;
  model: { name: string; isDemo: boolean };
}

export interface ServerOptions {
  livekit: LiveKitAccess;
  /** Folder of the built page (`buildWebPage`); read when asked for. */
  pageDirectory: string;
  /** Where browsers reach this server, without a slash at the end: join links begin with it. */
  publicUrl: string;
  logger: FastifyBaseLogger;
  /** Asks the engine for its health; without it the page assumes that there is room. */
  fetchEngineHealth?: () => Promise<EngineState>;
  /** Shown by the page while the engine does not say it. */
  model?: { name: string; isDemo: boolean };
  /** Milliseconds since 1970. */
  clock?: () => number;
  rateLimit?: RateLimit;
  rooms?: RoomDirectory;
}

/** A person needs one token per call; a household behind one address may need a few at once. */
const DEFAULT_RATE_LIMIT: RateLimit = { burst: 60, perSecond: 1, callers: 10_000 };
const MAX_BODY_BYTES = 16 * 1024;
const MAX_LINKS = 10_000;
const DEFAULT_LINK_TTL_SECONDS = 24 * 60 * 60;

/** Builds the server; `listen` is the caller's. Throws nothing for a service that is down. */
export function createServer(options: ServerOptions): FastifyInstance {
  const clock = options.clock ?? Date.now;
  const rooms = options.rooms ?? createRoomDirectory(options.livekit, clock);
  const links = new LinkStore(MAX_LINKS, clock);
  const limiter = new RateLimiter(options.rateLimit ?? DEFAULT_RATE_LIMIT, clock);
  const headers = createSecurityHeaders(options.livekit.url);
  /** Two who enter together must not bring two agents. */
  const turns = new RoomTurns();

  const app = fastify({
    loggerInstance: options.logger,
    // Paths hold join links, which are secrets; failures are logged below.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_BODY_BYTES,
    // Only a proxy on this very machine may say whom it speaks for.
    trustProxy: 'loopback',
    return503OnClosing: true,
    routerOptions: { maxParamLength: 64 },
  });

  acceptEmptyJson(app);
  app.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers);
    done();
  });
  app.setErrorHandler((error, request, reply) => {
    const known = toApiError(error);
    if (known.problem === 'internal') {
      request.log.error({ err: error }, 'request failed');
    } else if (known.statusCode >= 500) {
      request.log.warn({ problem: known.problem }, known.message);
    }
    if (known.retryAfterSeconds !== undefined) {
      void reply.header('retry-after', known.retryAfterSeconds);
    }
    return reply.code(known.statusCode).header('cache-control', 'no-store').send(known.toBody());
  });
  app.setNotFoundHandler((request, reply) => {
    const problem = new ApiError(
      404,
      'not_found',
      `There is nothing at ${request.method} ${request.url.split('?')[0]?.slice(0, 100) ?? ''}.`,
    );
    return reply.code(404).send(problem.toBody());
  });

  app.post('/api/token', { onRequest: limit }, async (request, reply) => {
    const wanted = parseTokenRequest(request.body);
    const link = wanted.link_id === undefined ? null : openLink(wanted.link_id);
    if (link === null && wanted.room_name !== undefined && links.findByRoom(wanted.room_name)) {
      throw new ApiError(403, 'link_required', 'This room is entered by its join link only.', {
        field: 'room_name',
      });
    }
    const room = link?.room ?? wanted.room_name ?? createRoomName();
    const identity = await turns.take(room, () => admit(room, wanted, link));
    const name = wanted.participant_name ?? link?.displayName;
    const token = await createJoinToken({
      apiKey: options.livekit.apiKey,
      apiSecret: options.livekit.apiSecret,
      room,
      identity,
      name,
      metadata: wanted.participant_metadata,
      attributes: wanted.participant_attributes,
      agentMetadata: agentMetadataOf(wanted),
      maxParticipants: link?.maxParticipants,
    });
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({
        server_url: options.livekit.url,
        participant_token: token,
        room_name: room,
        participant_name: name ?? '',
        participant_identity: identity,
        serverUrl: options.livekit.url,
        participantToken: token,
        roomName: room,
        participantName: name ?? '',
        identity,
      });
  });

  app.post('/api/links', { onRequest: limit }, async (request, reply) => {
    const wanted = parseLinkRequest(request.body);
    if (wanted.room !== undefined && links.findByRoom(wanted.room) !== null) {
      throw new ApiError(409, 'room_taken', `Another link leads into the room ${wanted.room}.`, {
        field: 'room',
      });
    }
    const link = links.create({
      room: wanted.room ?? createRoomName(),
      displayName: wanted.displayName,
      maxParticipants: wanted.maxParticipants,
      ttlSeconds: wanted.ttlSeconds ?? DEFAULT_LINK_TTL_SECONDS,
    });
    if (link === null) {
      throw new ApiError(
        503,
        'too_many_links',
        `${MAX_LINKS} join links are open, no more can be made until one expires.`,
        { retryAfterSeconds: 600 },
      );
    }
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({
        id: link.id,
        url: `${options.publicUrl}/j/${link.id}`,
        expiresAt: new Date(link.expiresAtMs).toISOString(),
      });
  });

  app.get<{ Params: { id: string } }>('/api/links/:id', { onRequest: limit }, (request, reply) => {
    const link = openLink(request.params.id);
    return reply.header('cache-control', 'no-store').send({
      id: link.id,
      displayName: link.displayName ?? null,
      maxParticipants: link.maxParticipants ?? null,
      expiresAt: new Date(link.expiresAtMs).toISOString(),
    });
  });

  app.get('/api/config', async (_request, reply) => {
    const engine = await engineState();
    return reply.header('cache-control', 'no-store').send({
      serverUrl: options.livekit.url,
      model: engine?.model ?? options.model ?? null,
      availability: availabilityOf(engine),
    });
  });

  app.get('/health', async (_request, reply) => {
    const [livekit, engine] = await Promise.all([livekitState(), engineState()]);
    const engineReport =
      engine === undefined
        ? undefined
        : engine === null
          ? { status: 'unreachable' }
          : {
              status: engine.status,
              model: engine.model.name,
              slotsTotal: engine.slotsTotal,
              slotsUsable: engine.slotsUsable,
              slotsUsed: engine.slotsUsed,
            };
    const isHealthy =
      livekit.status === 'ok' && (engineReport === undefined || engineReport.status === 'ok');
    return reply
      .code(isHealthy ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({
        status: isHealthy ? 'ok' : 'failed',
        livekit,
        ...(engineReport === undefined ? {} : { engine: engineReport }),
      });
  });

  void app.register(staticFiles, {
    root: path.join(options.pageDirectory, 'assets'),
    prefix: '/assets/',
    index: false,
    dotfiles: 'deny',
    preCompressed: true,
    // File names carry a digest of their content.
    immutable: true,
    maxAge: '365d',
  });
  for (const route of ['/', '/j/:id']) {
    app.get(route, async (_request, reply) => {
      const page = await readPage(options.pageDirectory);
      return reply.type('text/html; charset=utf-8').header('cache-control', 'no-cache').send(page);
    });
  }

  /** Refuses a caller who asks too often. */
  function limit(request: FastifyRequest, _reply: unknown, done: (error?: Error) => void): void {
    const waitSeconds = limiter.take(callerOf(request.ip));
    done(
      waitSeconds === 0
        ? undefined
        : new ApiError(429, 'too_many_requests', `Too many requests: wait ${waitSeconds} s.`, {
            retryAfterSeconds: waitSeconds,
          }),
    );
  }

  function openLink(id: string): JoinLink {
    const lookup = links.find(id);
    if (lookup.state === 'open') {
      return lookup.link;
    }
    throw lookup.state === 'expired'
      ? new ApiError(410, 'link_expired', 'This join link has expired: ask for a new one.')
      : new ApiError(404, 'not_found', 'This join link is not known: it may be mistyped or old.');
  }

  /**
   * Decides whether somebody may enter a room, sees to it that an agent is or will be there, and
   * returns the identity to enter with.
   */
  async function admit(room: string, wanted: TokenRequest, link: JoinLink | null): Promise<string> {
    const state = await rooms.describeRoom(room);
    if (
      link?.maxParticipants !== undefined &&
      (state?.humans.length ?? 0) >= link.maxParticipants
    ) {
      throw new ApiError(
        409,
        'room_full',
        `This conversation is full: ${link.maxParticipants} may take part.`,
      );
    }
    if (wanted.participant_identity !== undefined) {
      if (state?.humans.includes(wanted.participant_identity)) {
        // LiveKit would throw out the one who is inside.
        throw new ApiError(409, 'identity_taken', 'Somebody of this identity is in the room.', {
          field: 'participant_identity',
        });
      }
    }
    if (state?.hasAgent !== true) {
      const engine = await engineState();
      if (availabilityOf(engine) === 'full') {
        throw new ApiError(503, 'busy', 'All lines are in use, try again in a moment.', {
          retryAfterSeconds: 10,
        });
      }
    }
    if (state !== null && !state.hasAgent) {
      // The token's own dispatch works only if the join creates the room.
      await rooms.dispatchAgent(room, agentMetadataOf(wanted) ?? '');
    }
    return wanted.participant_identity ?? createIdentity();
  }

  /** Undefined: nobody gave us an engine to ask. Null: it does not answer. */
  async function engineState(): Promise<EngineState | null | undefined> {
    if (options.fetchEngineHealth === undefined) {
      return undefined;
    }
    try {
      return await options.fetchEngineHealth();
    } catch (error) {
      app.log.debug({ err: error }, 'the engine does not answer');
      return null;
    }
  }

  async function livekitState(): Promise<{ status: 'ok' | 'failed'; message?: string }> {
    try {
      await rooms.check();
      return { status: 'ok' };
    } catch (error) {
      return { status: 'failed', message: toApiError(error).message };
    }
  }

  return app;
}

/** Read at every request: the page may be built, or built anew, while the server runs. */
async function readPage(directory: string): Promise<string> {
  try {
    return await readFile(path.join(directory, 'index.html'), 'utf8');
  } catch (error) {
    throw new ApiError(503, 'page_not_built', 'The page is not built yet: run npm run build.', {
      cause: error,
    });
  }
}

function availabilityOf(
  engine: EngineState | null | undefined,
): 'ready' | 'full' | 'unavailable' | 'unknown' {
  if (engine === undefined) {
    return 'unknown';
  }
  if (engine?.status !== 'ok') {
    return 'unavailable';
  }
  return engine.slotsUsed >= engine.slotsUsable ? 'full' : 'ready';
}

function agentMetadataOf(wanted: TokenRequest): string | undefined {
  return wanted.room_config?.agents?.[0]?.metadata;
}

/** JSON only, and an empty body is an empty object: all fields of the token request are optional. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) {
      done(null, {});
    } else {
      void parse(request, body.toString(), done);
    }
  });
}

/** Puts any failure into the one form callers see; unknown ones say nothing of the inside. */
function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const statusCode =
    error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
      ? error.statusCode
      : 500;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new ApiError(413, 'too_large', `The body exceeds ${MAX_BODY_BYTES} bytes.`);
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new ApiError(415, 'unsupported_media_type', 'Send JSON: content-type application/json.');
  }
  if (statusCode >= 400 && statusCode < 500 && error instanceof Error) {
    return new ApiError(
      statusCode,
      'invalid_request',
      `The request is not valid: ${error.message}`,
    );
  }
  return new ApiError(500, 'internal', 'The server failed, its log says why.', { cause: error });
}
