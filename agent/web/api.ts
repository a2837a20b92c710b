/** What the page asks its own server. */
import { z } from 'zod';
import { CallError, type Problem } from './problems.ts';

const pageConfig = z.object({
  model: z.object({ name: z.string(), isDemo: z.boolean() }).nullable(),
  availability: z.enum(['ready', 'full', 'unavailable', 'unknown']),
});
export type PageConfig = z.infer<typeof pageConfig>;

const linkDescription = z.object({ displayName: z.string().nullable() });

const ticket = z.object({ server_url: z.string(), participant_token: z.string() });
export type Ticket = z.infer<typeof ticket>;

const failure = z.object({ error: z.string() });

const PROBLEMS: Partial<Record<string, Problem>> = {
  link_expired: 'link_expired',
  not_found: 'link_unknown',
  busy: 'busy',
  room_full: 'room_full',
  too_many_requests: 'too_many_requests',
};

/** The id of the join link this page was opened by: `/j/<id>`. */
export function linkIdOf(pathname: string): string | undefined {
  return /^\/j\/([^/]+)\/?$/.exec(pathname)?.[1];
}

/** @throws {CallError} */
export async function fetchPageConfig(): Promise<PageConfig> {
  return pageConfig.parse(await request('/api/config', {}));
}

/** What the visitor is called, if the link knows. @throws {CallError} when the link leads nowhere. */
export async function fetchDisplayName(linkId: string): Promise<string | null> {
  const link = await request(`/api/links/${encodeURIComponent(linkId)}`, {});
  return linkDescription.parse(link).displayName;
}

/** A token for a fresh room, or for the link's. @throws {CallError} */
export async function fetchTicket(
  linkId: string | undefined,
  signal: AbortSignal,
): Promise<Ticket> {
  const body = await request('/api/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(linkId === undefined ? {} : { link_id: linkId }),
    signal,
  });
  return ticket.parse(body);
}

async function request(path: string, options: RequestInit): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new CallError('service_down', error);
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) {
    return body;
  }
  const reason = failure.safeParse(body).data?.error ?? '';
  throw new CallError(PROBLEMS[reason] ?? 'service_down', body);
}
