/** @module RedisReply: what is expected of a reply, and the entries in one of XREADGROUP or XAUTOCLAIM. */

import { message, RedisError } from "../../core/errors.ts";
import type { Reply } from "./resp-parser.ts";

/** An entry, and its fields; `undefined` where it was trimmed or deleted. */
export interface ReplyEntry {
  readonly id: string;
  readonly fields: ReadonlyMap<string, Uint8Array> | undefined;
}

const decoder = new TextDecoder();

function unexpected(what: string): RedisError {
  return new RedisError(message("read a reply of the Redis server", `${what} was expected`), "PROTOCOL");
}

/** A reply as a list. @throws {RedisError} If it is none */
export function listOf(reply: Reply | undefined): readonly Reply[] {
  if (!Array.isArray(reply)) throw unexpected("a list");
  return reply;
}

/** A reply as text. @throws {RedisError} If it is none */
export function textOf(reply: Reply | undefined): string {
  return typeof reply === "string" ? reply : decoder.decode(bytesOf(reply));
}

/** A reply as a number. @throws {RedisError} If it is none */
export function numberOf(reply: Reply | undefined): number {
  if (typeof reply !== "number") throw unexpected("a number");
  return reply;
}

function bytesOf(reply: Reply | undefined): Uint8Array {
  if (!(reply instanceof Uint8Array)) throw unexpected("a text");
  return reply;
}

/** `[[id, [name, value, …]], …]`. Where a name comes twice, the last value counts. */
export function entriesOf(reply: Reply | undefined): ReplyEntry[] {
  return listOf(reply).map((item) => {
    const [id, flat] = listOf(item);
    if (flat === null) return { id: textOf(id), fields: undefined };
    const pairs = listOf(flat);
    const fields = new Map<string, Uint8Array>();
    for (let at = 0; at + 1 < pairs.length; at += 2) fields.set(textOf(pairs[at]), bytesOf(pairs[at + 1]));
    return { id: textOf(id), fields };
  });
}

/** `[[stream, entries], …]`, or null where nothing came in time. */
export function streamsOf(reply: Reply): { readonly stream: string; readonly entries: readonly ReplyEntry[] }[] {
  if (reply === null) return [];
  return listOf(reply).map((item) => {
    const [stream, entries] = listOf(item);
    return { stream: textOf(stream), entries: entriesOf(entries) };
  });
}
