/** @module Failure: who may ask, by token, host and origin; and from whatever went wrong with a request to what is answered. */

import { createHash, timingSafeEqual } from "node:crypto";
import {
  ClosedError,
  DecodeStalledError,
  DecodeTimeoutError,
  ImageError,
  ImageSizeError,
  OptionError,
  RequestError,
} from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { formatDuration } from "../core/units.ts";
import { ALLOW_HOST_HINT, foreignHostText, type OwnHosts } from "../service/listen.ts";

/** What a client is told. */
interface Failure {
  /** HTTP status, 400–599. */
  readonly status: number;
  /** A word for programs: `not-an-image`. */
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
  /** How to mend it, where the message does not say it. */
  readonly hint: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** A refusal. @param found what was found, a sentence of its own; its first letter becomes a capital */
export function refusal(
  status: number,
  code: string,
  found: string,
  hint: string,
  headers: Readonly<Record<string, string>> = {},
): RequestError {
  const text = `${found.slice(0, 1).toUpperCase()}${found.slice(1)}\nHint: ${hint}`;
  return new RequestError(text, status, code, { headers });
}

/** The server is going: said to whoever comes, or is still waiting. */
export function drainingError(): RequestError {
  const headers = { "Retry-After": "5", Connection: "close" };
  return refusal(503, "draining", "the server is shutting down", "ask again in a moment, or another server", headers);
}

/** The model was closed under the server: no later request fares better. */
export function closedModelError(): RequestError {
  const hint = "give the server a new model: only its operator can";
  return refusal(503, "model-closed", "the model of this server has been closed", hint);
}

/** Too much is on its way, waiting or in memory already. */
export function busyError(found: string, headers: Readonly<Record<string, string>> = {}): RequestError {
  return refusal(429, "busy", found, "ask again after the time in Retry-After", { "Retry-After": "1", ...headers });
}

/** Nothing has come to an end for a while, though everything is taken: said to probes. */
export function stalledError(stalledMs: number): RequestError {
  const found = `nothing has been finished for ${formatDuration(Math.floor(stalledMs / 1000) * 1000)}`;
  return refusal(503, "stalled", found, "restart the server if this lasts", { "Retry-After": "5" });
}

function described(error: Error, status: number, code: string, headers: Failure["headers"] = {}): Failure {
  const [first = "", hint] = error.message.split("\nHint: ");
  return { status, code, message: first, hint, headers };
}

/** The answer to an error. Errors that are not the request's own are logged, and the client learns no more than that. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RequestError) return described(error, error.status, error.code, error.headers);
  if (error instanceof ImageSizeError) return described(error, 413, "too-many-pixels");
  if (error instanceof DecodeTimeoutError) return described(error, 422, "decode-timeout");
  if (error instanceof ImageError) return described(error, 422, "not-an-image");
  if (error instanceof DecodeStalledError) return described(error, 503, "decode-stalled", { "Retry-After": "5" });
  if (error instanceof OptionError) return described(error, 400, "invalid-option");
  if (error instanceof ClosedError) return failureOf(closedModelError());
  if (error instanceof Error && error.name === "AbortError") {
    return { status: 499, code: "client-gone", message: "The client has gone", hint: undefined, headers: {} };
  }
  logger.error(`A request failed. ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return failureOf(refusal(500, "internal", "something failed inside the server", "see the server's log"));
}

/** What DeepStack calls failures of these codes, and with which status; its clients know no other. */
const DEEPSTACK: Readonly<Record<string, readonly [status: number, error: string]>> = {
  "no-image": [400, "No valid image file found"],
  "not-an-image": [400, "invalid image file"],
  "decode-timeout": [400, "invalid image file"],
  unauthorized: [401, "Incorrect api key"],
  "timed-out": [500, "failed to process request before timeout"],
};

/**
 * The answer: `{"error": {code, message, hint}}`; in the Open Inference Protocol, whose routes begin with `/v2`, one text; below
 * `/v1/vision` what DeepStack says, with our own words as `message`.
 */
export function failureResponse(failure: Failure, path: string): Response {
  const { status, code, message, hint, headers } = failure;
  const text = hint === undefined ? message : `${message}. Hint: ${hint}`;
  if (/^\/v1\/vision(?:\/|$)/.test(path)) {
    const [itsStatus, error] = DEEPSTACK[code] ?? [status, message];
    const body = { success: false, error, message: text, code: itsStatus, duration: 0 };
    return Response.json(body, { status: itsStatus, headers });
  }
  return Response.json({ error: /^\/v2(?:\/|$)/.test(path) ? text : { code, message, hint } }, { status, headers });
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** What a request says as `Authorization: Bearer …`. */
export function bearerOf({ headers }: Request): string | undefined {
  return /^bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/**
 * Compare what was sent with the token, in a time that does not depend on what was sent.
 *
 * @throws {RequestError} 401 if it is another, or none
 */
export function checkToken(token: string, sent: string | undefined): void {
  if (timingSafeEqual(digest(sent ?? ""), digest(token)) && sent !== undefined) return;
  const found = `Unauthorized: ${sent === undefined ? "a bearer token is required" : "the bearer token does not match"}`;
  const challenge = { "WWW-Authenticate": 'Bearer realm="bun-tensorrt"' };
  throw refusal(401, "unauthorized", found, "send it as Authorization: Bearer TOKEN", challenge);
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
