/** @module Access: who may ask, under which name, and whose pages may do so and read the answers. */

import { createHash, timingSafeEqual } from "node:crypto";
import { ALLOW_HOST_HINT, foreignHostText, type OwnHosts } from "../service/own-hosts.ts";
import { refusal } from "./failure.ts";

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Checks the bearer token of requests, in a time that does not depend on what was sent. */
export class TokenCheck {
  readonly #expected: Buffer;

  constructor(token: string) {
    this.#expected = digest(token);
  }

  /** @throws {RequestError} 401 if the request does not carry the token */
  check(request: Request): void {
    const sent = /^bearer +(\S+) *$/i.exec(request.headers.get("authorization") ?? "")?.[1];
    if (timingSafeEqual(digest(sent ?? ""), this.#expected) && sent !== undefined) return;
    const found =
      sent === undefined ? "Unauthorized: a bearer token is required" : "Unauthorized: the bearer token does not match";
    const headers = { "WWW-Authenticate": 'Bearer realm="bun-tensorrt"' };
    throw refusal(401, "unauthorized", found, "send it as Authorization: Bearer TOKEN", headers);
  }
}

/**
 * Refuse what a page of elsewhere makes a browser send: requests under a name that is not this server's (a name of the
 * page's owner that leads to this machine), and such from another origin, which a browser sends without asking if they look
 * like those of a form.
 *
 * @param origins of the config: whose pages may ask
 * @throws {RequestError} 421 for a foreign `Host`, 403 for a foreign `Origin`
 */
export function checkSite({ method, headers }: Request, hosts: OwnHosts, origins: readonly string[]): void {
  const host = headers.get("host");
  if (!hosts.has(host)) throw refusal(421, "foreign-host", foreignHostText(host), ALLOW_HOST_HINT);
  const origin = headers.get("origin");
  if (method !== "POST" || origin === null || origins.includes("*") || origins.includes(origin)) return;
  // A browser's own word, which no page can set; the host may have been changed on the way by a proxy.
  if (headers.get("sec-fetch-site") === "same-origin" || hosts.hasOrigin(origin, host)) return;
  const found = `Pages of ${JSON.stringify(origin.slice(0, 100))} may not send requests to this server`;
  throw refusal(403, "cross-site", found, "name the origin with --cors (option cors) if they may");
}

/** Header fields that pages of other origins may read and send. */
const EXPOSED = "Inference-Header-Content-Length, Retry-After";
const ALLOWED = "Authorization, Content-Type, Inference-Header-Content-Length";

/** Let pages of the allowed origins read an answer. @param origins of the config; with `"*"` all are */
export function addCors(headers: Headers, request: Request, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const isOpen = origins.includes("*");
  if (!isOpen) headers.append("Vary", "Origin");
  const origin = request.headers.get("origin");
  if (origin === null || !(isOpen || origins.includes(origin))) return;
  headers.set("Access-Control-Allow-Origin", isOpen ? "*" : origin);
  headers.set("Access-Control-Expose-Headers", EXPOSED);
}

/** The answer to a browser's question before a request, or `undefined` if it is none. */
export function preflight(request: Request, origins: readonly string[], methods: string): Response | undefined {
  if (origins.length === 0 || request.method !== "OPTIONS") return undefined;
  if (!request.headers.has("access-control-request-method")) return undefined;
  return new Response(null, {
    status: 204,
    headers: {
      "Access-Control-Allow-Methods": methods,
      "Access-Control-Allow-Headers": ALLOWED,
      "Access-Control-Max-Age": "600",
    },
  });
}
