/**
 * Stands in for Hugging Face on loopback: the requests that `models pull` makes, answered as the hub
 * does (api/models/…/revision, …/tree, …/resolve with a redirect of large files to another host), and
 * the accidents that a test asks for.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export type HubFile = { readonly content: Buffer; readonly isLarge: boolean };

export type Accidents = {
  /** Large files break off after so many bytes of each connection, as often as this says. */
  breaks: { afterBytes: number; times: number } | null;
  /** Answers instead of files and lists, as `status x-error-code`. */
  refusal: { status: number; code: string; message?: string } | null;
  /** Statuses of the next answers. */
  hiccups: number[];
  /** Whether the content differs from its announced checksum. */
  isDamaged: boolean;
  /** Whether the server of large files ignores ranges. */
  ignoresRanges: boolean;
};

export type SeenRequest = { host: 'hub' | 'cdn'; url: string; range?: string; token?: string };

export class HubStandIn {
  readonly commit = createHash('sha1').update('a commit').digest('hex');
  readonly repositories = new Map<string, Map<string, HubFile>>();
  readonly requests: SeenRequest[] = [];
  readonly accidents: Accidents = {
    breaks: null,
    refusal: null,
    hiccups: [],
    isDamaged: false,
    ignoresRanges: false,
  };
  readonly #hub = http.createServer((request, response) => {
    this.#answerHub(request, response);
  });
  readonly #cdn = http.createServer((request, response) => {
    this.#answerFile(request, response, 'cdn');
  });

  static async start(): Promise<HubStandIn> {
    const standIn = new HubStandIn();
    for (const server of [standIn.#hub, standIn.#cdn]) {
      await new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', resolve);
      });
    }
    return standIn;
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Adds a file; large ones are stored apart and named by their SHA-256, as Git LFS does. */
  add(repository: string, path: string, content: Buffer | string, isLarge = false): void {
    const files = this.repositories.get(repository) ?? new Map<string, HubFile>();
    files.set(path, { content: Buffer.from(content), isLarge });
    this.repositories.set(repository, files);
  }

  #answerHub(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '', this.endpoint);
    this.#note('hub', request);
    const hiccup = this.accidents.hiccups.shift();
    if (hiccup !== undefined) {
      response.writeHead(hiccup).end();
      return;
    }
    const { refusal } = this.accidents;
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname);
    const resolved = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const repository = decodeURIComponent(api?.[1] ?? resolved?.[1] ?? '');
    const revision = decodeURIComponent(api?.[3] ?? resolved?.[2] ?? '');
    const files = this.repositories.get(repository);
    if (files === undefined) {
      refuse(response, 401, 'RepoNotFound');
      return;
    }
    if (revision !== 'main' && revision !== this.commit) {
      refuse(response, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
      return;
    }
    // Anybody may list what a gated repository has.
    if (refusal !== null && (resolved !== null || refusal.code !== 'GatedRepo')) {
      refuse(response, refusal.status, refusal.code, refusal.message);
      return;
    }
    if (api?.[2] === 'revision') {
      sendJson(response, { _id: '1', id: repository, sha: this.commit, lastModified: 0 });
    } else if (api !== null) {
      sendJson(response, [...files].map(listed));
    } else {
      const path = decodeURIComponent(resolved?.[3] ?? '');
      const file = files.get(path);
      if (file === undefined) {
        refuse(response, 404, 'EntryNotFound');
        return;
      }
      if (!file.isLarge) {
        this.#answerFile(request, response, null);
        return;
      }
      response.writeHead(302, { location: `${addressOf(this.#cdn)}${url.pathname}` }).end();
    }
  }

  #answerFile(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    host: 'cdn' | null,
  ): void {
    if (host !== null) this.#note(host, request);
    const [, owner, name, , , ...path] = (request.url ?? '').split('/').map(decodeURIComponent);
    const file = this.repositories.get(`${owner}/${name}`)?.get(path.join('/'));
    if (file === undefined) {
      refuse(response, 404, 'EntryNotFound');
      return;
    }
    const { accidents } = this;
    const content = Buffer.from(file.content);
    if (accidents.isDamaged && file.isLarge) content.writeUInt8(content.readUInt8(5) ^ 1, 5);
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? NaN);
    const isPart = !Number.isNaN(start) && !accidents.ignoresRanges;
    const body = isPart ? content.subarray(start) : content;
    response.writeHead(isPart ? 206 : 200, {
      'content-length': body.length,
      ...(isPart && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
    });
    const { breaks } = accidents;
    if (breaks !== null && breaks.times > 0 && file.isLarge) {
      breaks.times -= 1;
      response.write(body.subarray(0, breaks.afterBytes), () => response.destroy());
    } else {
      response.end(body);
    }
  }

  #note(host: SeenRequest['host'], request: http.IncomingMessage): void {
    const { range, authorization } = request.headers;
    this.requests.push({
      host,
      url: request.url ?? '',
      ...(range !== undefined && { range }),
      ...(authorization !== undefined && { token: authorization }),
    });
  }
}

function addressOf(server: http.Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function sendJson(response: http.ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function refuse(response: http.ServerResponse, status: number, code: string, message = code): void {
  response.writeHead(status, { 'x-error-code': code, 'x-error-message': message }).end(message);
}

function listed([path, { content, isLarge }]: [string, HubFile]): unknown {
  const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const large = { oid: createHash('sha256').update(content).digest('hex'), size: content.length };
  return {
    type: 'file',
    path,
    size: content.length,
    oid: isLarge ? createHash('sha1').update('a pointer').digest('hex') : oid,
    ...(isLarge && { lfs: { ...large, pointerSize: 130 }, xetHash: 'f'.repeat(64) }),
  };
}
