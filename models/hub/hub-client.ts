/**
 * Requests to Hugging Face, or whatever answers in its place: with the token where it belongs, again
 * after a hiccup, and with an explanation when the answer is no.
 */
import { HubError } from './hub-error.ts';

export type HubSettings = {
  /** Folder that holds `models--OWNER--NAME`, see `CachedRepository`. */
  readonly cacheDirectory: string;
  /** `https://huggingface.co` or a mirror, without a slash at the end. */
  readonly endpoint: string;
  /** File whose content is the token where `token` is not set. */
  readonly tokenFile: string;
  readonly token: string | undefined;
  /** Whether nothing may be asked of the network. */
  readonly isOffline: boolean;
};

/** Requests that fail like this are tried again: 0.5, 1, 2 and 4 s later. */
const MAX_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;
const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);

/** A server that sends nothing for so long has gone. */
const STALL_MS = 60_000;

export type HubRequests = {
  readonly endpoint: string;
  readonly token: string | undefined;
  /** Ends every request. */
  readonly signal: AbortSignal;
  /** Waits before the next attempt. */
  readonly pause: (milliseconds: number) => Promise<void>;
};

export class HubClient {
  readonly #requests: HubRequests;
  readonly endpoint: string;

  constructor(requests: HubRequests) {
    this.#requests = requests;
    this.endpoint = requests.endpoint;
  }

  /**
   * `fetch` for one repository. Answers with a status of success only.
   * @param patience - Ends the request, its body included, when nothing comes; made here if absent.
   * @throws HubError explaining any other answer.
   */
  async fetch(
    repository: string,
    input: string | URL | Request,
    init: RequestInit = {},
    patience: Patience = this.patience(),
  ): Promise<Response> {
    const { token, signal, pause } = this.#requests;
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init.headers);
    // The token is for the hub alone, never for the servers that it redirects to.
    if (token !== undefined && url.origin === new URL(this.endpoint).origin) {
      headers.set('authorization', `Bearer ${token}`);
    }
    for (let attempt = 1; ; attempt += 1) {
      let problem: HubError;
      try {
        patience.renew();
        const response = await fetch(url, { ...init, headers, signal: patience.signal });
        if (response.ok) return response;
        problem = this.#explain(repository, response);
        await response.body?.cancel();
        if (!RETRIED_STATUSES.has(response.status)) throw problem;
      } catch (error) {
        if (error instanceof HubError) throw error;
        signal.throwIfAborted();
        problem = new HubError(
          `${url.origin} cannot be reached (${reasonOf(error)}): check the network and HF_ENDPOINT.`,
          { cause: error },
        );
        if (patience.signal.aborted) throw problem;
      }
      if (attempt === MAX_ATTEMPTS) throw problem;
      await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1));
    }
  }

  /** @throws the reason when everything was to end. */
  throwIfEnded(): void {
    this.#requests.signal.throwIfAborted();
  }

  /** For one request. */
  patience(): Patience {
    return new Patience(this.#requests.signal);
  }

  #explain(repository: string, response: Response): HubError {
    const { status } = response;
    const code = response.headers.get('x-error-code') ?? '';
    const message = response.headers.get('x-error-message') ?? '';
    const hasToken = this.#requests.token !== undefined;
    const page = `${this.endpoint}/${repository}`;
    if (code === 'GatedRepo' || (status === 403 && /gated|access/i.test(message))) {
      const steps = hasToken
        ? `the account that HF_TOKEN belongs to has no access yet: accept the licence at ${page} with it`
        : `accept the licence at ${page}, make a token at ${this.endpoint}/settings/tokens, and set HF_TOKEN to it`;
      return new HubError(`${repository} is gated: ${steps}. Then pull again.`);
    }
    if (code === 'RevisionNotFound') {
      return new HubError(`${repository} has no such revision (${message || response.url}).`);
    }
    if (code === 'EntryNotFound') {
      return new HubError(`${repository} has no file ${new URL(response.url).pathname}.`);
    }
    if (code === 'RepoNotFound' || status === 404) {
      const hint = hasToken ? 'check its name' : 'check its name, or set HF_TOKEN if it is private';
      return new HubError(`${this.endpoint} has no repository ${repository}: ${hint}.`);
    }
    if (status === 401 || status === 403) {
      return new HubError(
        hasToken
          ? `${this.endpoint} does not accept the token for ${repository} (${status}): make a new one at ${this.endpoint}/settings/tokens and set HF_TOKEN.`
          : `${this.endpoint} wants to know who asks for ${repository} (${status}): set HF_TOKEN to a token from ${this.endpoint}/settings/tokens.`,
      );
    }
    return new HubError(
      `${this.endpoint} answered ${status} ${response.statusText} for ${repository}: try again later.`,
    );
  }
}

/** Ends a request when its server falls silent, or when everything ends. */
class Patience {
  readonly #controller = new AbortController();
  readonly #all: AbortSignal;
  readonly #end = (): void => {
    this.#controller.abort(this.#all.reason);
  };
  #timer: NodeJS.Timeout | undefined;

  constructor(all: AbortSignal) {
    this.#all = all;
    if (all.aborted) this.#end();
    else all.addEventListener('abort', this.#end, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something came: wait again. */
  renew(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new Error(`nothing came for ${STALL_MS / 1000} s`));
    }, STALL_MS).unref();
  }

  /** Lets go of the connection. */
  end(): void {
    clearTimeout(this.#timer);
    this.#all.removeEventListener('abort', this.#end);
    this.#controller.abort();
  }
}

/** fetch hides what happened ("fetch failed") in its cause. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
