/** @module RequestBody: the bytes of a request, never more than allowed and never later. */

import { formatBytes, formatDuration } from "../core/units.ts";
import type { BodyHold } from "./body-budget.ts";
import { refusal } from "./failure.ts";

/** What a body may be. */
export interface BodyLimits {
  /** In bytes. */
  readonly maxBodyBytes: number;
  /** From the head of the request to the end of the body, in milliseconds. */
  readonly bodyTimeoutMs: number;
}

function tooLarge(maxBodyBytes: number): Error {
  const found = `a body may have at most ${formatBytes(maxBodyBytes)}`;
  return refusal(413, "body-too-large", found, "send a smaller or more strongly compressed picture");
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
    const found = `the body is packed: Content-Encoding is ${JSON.stringify(encoding)}`;
    throw refusal(415, "packed-body", found, "send it as it is: pictures are compressed already");
  }
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > maxBodyBytes) throw tooLarge(maxBodyBytes);
  if (request.body === null) return new Uint8Array(0);
  hold.add(declared === null ? 0 : Number(declared));
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const found = `the body must arrive within ${formatDuration(bodyTimeoutMs)}`;
    const hint = "send a smaller picture, or look at the connection";
    reject(refusal(408, "body-too-slow", found, hint, { Connection: "close" }));
  }, bodyTimeoutMs);
  const onEnd = (): void => reject(signal.reason);
  signal.addEventListener("abort", onEnd, { once: true });
  // With a length in the head Bun's parser takes no more than that.
  const bytes = declared === null ? readStream(request.body, maxBodyBytes, hold) : request.bytes();
  // Once the time is up nobody waits for it: that the connection then closes is no news.
  bytes.catch(() => {});
  try {
    return await Promise.race([bytes, late]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onEnd);
  }
}
