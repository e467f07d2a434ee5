// The way to the API. Every answer is asked for anew, with the ETag of the one that is known: the page never shows what
// is not published any more, and what has not changed is answered 304 without a body.

import {begin} from "./log.js";

const PATIENCE_MS = 15_000; // the server answers within 5 s, with 503 if need be
const KEPT = 100;
const BASE = new URL("..", import.meta.url).pathname.slice(0, -1); // "/shop" of /shop/page/api.js

const known = new Map(); // path → {etag, body, links, total}, the one used last behind the others

// Why there is no answer. `kind`: "missing" (404), "refused" (another 4xx), "busy" (429, 5xx) or "away" (nothing came).
export class Failure extends Error {
  constructor(kind, detail, status, retryAfter) {
    super(detail);
    Object.assign(this, {kind, status, retryAfter});
  }
}

// The answer at `resource`, as /products/5: {body, links, total}, the latter two of Link and X-Total-Count. Throws a Failure, or an
// AbortError when `signal` says that nobody wants it any more.
export async function get(resource, signal) {
  const path = BASE + resource;
  const before = known.get(path);
  const end = begin(path);
  let response, text;
  try {
    response = await fetch(path, {
      cache: "no-store", // the browser's own would hide what the server says
      headers: before ? {"If-None-Match": before.etag} : {},
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
    });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) {
      end("cancelled");
      throw error;
    }
    end("no answer");
    throw new Failure("away", "nothing came back");
  }
  end(response.status, response.headers.get("Server-Timing"));
  if (response.status === 304 && before) return keep(path, before);
  if (!response.ok) throw failure(response, text);
  const body = parse(text);
  if (body === undefined) throw new Failure("busy", "what came back is not an answer of this API", response.status, 0);
  return keep(path, {
    body,
    etag: response.headers.get("ETag") ?? "",
    links: pages(response.headers.get("Link") ?? ""),
    total: Number(response.headers.get("X-Total-Count")),
  });
}

function keep(path, answer) {
  known.delete(path);
  known.set(path, answer);
  if (known.size > KEPT) known.delete(known.keys().next().value);
  return answer;
}

function failure(response, text) {
  const {status} = response;
  const detail = parse(text)?.detail ?? `status ${status} ${response.statusText}`;
  if (status === 404) return new Failure("missing", detail, status);
  if (status === 429 || status >= 500) {
    return new Failure("busy", detail, status, Number(response.headers.get("Retry-After")) || 0);
  }
  return new Failure("refused", detail, status);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// </products?page=2&count=12>; rel="next", … → {next: 2, …}
function pages(link) {
  const found = [...link.matchAll(/<[^>]*[?&]page=(\d+)[^>]*>;\s*rel="(\w+)"/g)];
  return Object.fromEntries(found.map(([, page, rel]) => [rel, Number(page)]));
}
