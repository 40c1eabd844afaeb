/** @module RequestBody: the bytes of a request, never more than allowed and never later. */

import { untilAborted } from "../core/settle.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { busyError, refusal } from "./failure.ts";

/** What a body may be. */
export interface BodyLimits {
  /** In bytes. */
  readonly maxBodyBytes: number;
  /** From the head of the request to the end of the body, in milliseconds. */
  readonly bodyTimeoutMs: number;
}

function tooLarge(maxBodyBytes: number): Error {
  const found = `a body may have at most ${formatBytes(maxBodyBytes)}`;
  return refusal(413, "body-too-large", found, "send a smaller or more strongly compressed image");
}

async function readStream(body: ReadableStream<Uint8Array>, maxBodyBytes: number, hold: BodyHold): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let byteLength = 0;
  for await (const chunk of body) {
    byteLength += chunk.length;
    if (byteLength > maxBodyBytes) throw tooLarge(maxBodyBytes);
    hold.add(chunk.length);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, byteLength);
}

/**
 * Read the whole body. What comes after a refusal is read and forgotten by Bun, so that the client gets the answer.
 *
 * @param hold   counts its bytes: all at once where the head says how many there are, else as they come
 * @param signal its reason is thrown as soon as it is aborted
 * @throws {RequestError} 413 if it is too long, by its head or by what comes; 408 if it is too slow; 415 if it is packed;
 *   429 if there is no room for it
 * @throws {DOMException} `AbortError` if the client has gone
 */
export async function readRequestBody(
  request: Request,
  limits: BodyLimits,
  hold: BodyHold,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { maxBodyBytes, bodyTimeoutMs } = limits;
  signal.throwIfAborted();
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity") {
    const found = `the body must not be compressed, got Content-Encoding ${JSON.stringify(encoding)}`;
    throw refusal(415, "packed-body", found, "send it as it is; images are compressed already");
  }
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > maxBodyBytes) throw tooLarge(maxBodyBytes);
  if (request.body === null) return new Uint8Array(0);
  hold.add(declared === null ? 0 : Number(declared));
  const late = new AbortController();
  const timer = setTimeout(() => {
    const found = `the body must arrive within ${formatDuration(bodyTimeoutMs)}`;
    const hint = "send a smaller image, or look at the connection";
    late.abort(refusal(408, "body-too-slow", found, hint, { Connection: "close" }));
  }, bodyTimeoutMs);
  // With a length in the head Bun's parser takes no more than that.
  const bytes = declared === null ? readStream(request.body, maxBodyBytes, hold) : request.bytes();
  // Once the time is up nobody waits for it: that the connection then closes is no news.
  bytes.catch(() => {});
  try {
    return await untilAborted(bytes, AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** Counts the bytes of bodies that are on their way, waiting or worked on. */
export class BodyBudget {
  readonly #mostBytes: number;
  readonly #holds = new Set<BodyHold>();
  /** Those that are held. */
  bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** A body of no bytes yet. @param giveWay called with the refusal if its bytes are needed for smaller bodies */
  hold(giveWay: (refusal: Error) => void): BodyHold {
    const hold = new BodyHold(this, giveWay);
    this.#holds.add(hold);
    return hold;
  }

  /** @internal called by a hold. @throws {RequestError} 429 if there is no room, and no larger body to make some */
  add(hold: BodyHold, bytes: number): void {
    hold.bytes += bytes;
    this.bytes += bytes;
    while (this.bytes > this.#mostBytes) {
      let largest = hold;
      for (const other of this.#holds) if (!other.isPinned && other.bytes > largest.bytes) largest = other;
      const found = `request bodies in memory may have at most ${formatBytes(this.#mostBytes)} together`;
      const error = busyError(found, { Connection: "close" });
      this.drop(largest);
      if (largest === hold) throw error;
      largest.giveWay(error);
    }
  }

  /** @internal called by a hold. */
  drop(hold: BodyHold): void {
    if (!this.#holds.delete(hold)) return;
    this.bytes -= hold.bytes;
  }
}

/** The bytes of one body. Whoever made it releases it. */
export class BodyHold {
  readonly #budget: BodyBudget;
  readonly giveWay: (refusal: Error) => void;
  bytes = 0;
  /** True once it is worked on: it stays then. */
  isPinned = false;

  constructor(budget: BodyBudget, giveWay: (refusal: Error) => void) {
    this.#budget = budget;
    this.giveWay = giveWay;
  }

  /** Count bytes before they are there. @throws {RequestError} 429 if there is no room for them */
  add(bytes: number): void {
    this.#budget.add(this, bytes);
  }

  /** Its bytes are nobody's any more. */
  release(): void {
    this.#budget.drop(this);
  }
}
