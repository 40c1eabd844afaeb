/** @module Admission: so many pieces of work at once, so many waiting, and no more. */

import { createHash, timingSafeEqual } from "node:crypto";
import { logger } from "../core/log.ts";
import { untilAborted } from "../core/settle.ts";
import { ALLOW_HOST_HINT, foreignHostText, type OwnHosts } from "../service/listen.ts";
import { busyError, refusal } from "./failure.ts";

/** How much is let in. */
interface AdmissionOptions {
  /** Pieces of work at once, at least 1. */
  readonly concurrency: number;
  /** Requests that may wait, 0 or more. */
  readonly queue: number;
  /**
   * How long work may go on after its signal, in milliseconds: if it has not ended then, it may never, and somebody else
   * gets its place. At most `concurrency` such pieces are let run on, so that what they hold in memory stays bounded.
   */
  readonly graceMs: number;
}

/** Weight of the newest duration in the mean. */
const NEWEST = 0.1;

/** Lets work in, first come first served. */
export class Admission {
  readonly #options: AdmissionOptions;
  /** What lets those in that wait for their turn. */
  readonly #waiting: (() => void)[] = [];
  /** Pieces of work that run. */
  running = 0;
  /** Pieces of work whose place was given to others, and that have not ended since. */
  stray = 0;
  #endedAt = performance.now();
  /** Of the recent pieces of work, in milliseconds. */
  #meanMs = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** For how long all places have been taken without one getting free, in milliseconds; 0 while there is a free one. */
  get stalledMs(): number {
    return this.running < this.#options.concurrency ? 0 : performance.now() - this.#endedAt;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Do a piece of work in its turn. When the signal ends the wait for it, the work goes on and keeps its place until it
   * is done, or for `graceMs`: what is running stays counted.
   *
   * @param signal its reason is thrown, whether the turn had come or not
   * @throws {RequestError} 429 if too many wait already; `Retry-After` says when there may be room
   */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(signal);
    const started = performance.now();
    const { graceMs, concurrency } = this.#options;
    let isStray = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const giveUp = (): void => {
      if (this.stray >= concurrency) return;
      isStray = true;
      this.stray += 1;
      logger.error(
        `A request was still running ${Math.round(graceMs / 1000)} s after its time was up, and its place is given to others`,
      );
      this.#next();
    };
    const onAbort = (): void => {
      timer = setTimeout(giveUp, graceMs);
      timer.unref();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const running = work().finally(() => {
      signal.removeEventListener("abort", onAbort);
      clearTimeout(timer);
      if (isStray) this.stray -= 1;
      else this.#leave(performance.now() - started);
    });
    return await untilAborted(running, signal);
  }

  #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { concurrency, queue } = this.#options;
    if (this.running < concurrency) {
      this.running += 1;
      this.#endedAt = performance.now();
      return Promise.resolve();
    }
    if (this.#waiting.length >= queue) {
      const found = `${concurrency} requests are running and ${this.#waiting.length} are waiting`;
      return Promise.reject(busyError(found, { "Retry-After": String(this.#retryAfterSeconds()) }));
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1);
        reject(signal.reason);
      };
      const enter = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(enter);
    });
  }

  #leave(elapsedMs: number): void {
    this.#meanMs += (elapsedMs - this.#meanMs) * (this.#meanMs === 0 ? 1 : NEWEST);
    this.#next();
  }

  /** Give a place that is free now to who has waited longest. */
  #next(): void {
    this.#endedAt = performance.now();
    const enter = this.#waiting.shift();
    if (enter === undefined) this.running -= 1;
    else enter();
  }

  /** Until half of those that wait now have had their turn, in whole seconds. */
  #retryAfterSeconds(): number {
    const rounds = (this.#waiting.length / 2 + 1) / this.#options.concurrency;
    return Math.min(60, Math.max(1, Math.ceil((rounds * this.#meanMs) / 1000)));
  }
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
