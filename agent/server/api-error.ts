/** Short machine-readable reasons; the page shows a text of its own for those it knows. */
export type ApiProblem =
  | 'invalid_request'
  | 'too_large'
  | 'unsupported_media_type'
  | 'too_many_requests'
  | 'not_found'
  | 'link_expired'
  | 'link_required'
  | 'room_taken'
  | 'room_full'
  | 'identity_taken'
  | 'busy'
  | 'too_many_links'
  | 'livekit_unreachable'
  | 'livekit_refused'
  | 'page_not_built'
  | 'internal';

/** A failure that the caller is told about, as `{error, message, field?}` with an HTTP status. */
export class ApiError extends Error {
  readonly statusCode: number;
  readonly problem: ApiProblem;
  /** The offending field as the caller spelt it, for example `room_config.agents.0.agent_name`. */
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    statusCode: number,
    problem: ApiProblem,
    message: string,
    details: { field?: string; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
    this.name = 'ApiError';
    this.statusCode = statusCode;
    this.problem = problem;
    this.field = details.field;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }

  /** What the caller reads; never a stack, never a cause. */
  toBody(): { error: ApiProblem; message: string; field?: string } {
    return {
      error: this.problem,
      message: this.message,
      ...(this.field === undefined ? {} : { field: this.field }),
    };
  }
}
