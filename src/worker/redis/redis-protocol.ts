/**
 * @module RedisProtocol: the replies of a Redis server from the bytes as they come, with every bulk string in memory of its own;
 * what is expected of a reply; and scripts, which the server runs as one command.
 */

import { message, RedisError } from "../../core/errors.ts";

/** One reply. A bulk string stays bytes, and an error reply is a value here. */
export type Reply = string | number | Uint8Array | null | RedisError | readonly Reply[];

const CR = 13;
const LF = 10;
/** A line is a number or a short text; what is longer is no Redis server. */
const MAX_LINE = 65_536;
/** Bytes: four times what a server takes for one value unless it is told otherwise. */
const MAX_BULK = 2 ** 31;
/** Replies to what is asked here are three deep. */
const MAX_DEPTH = 32;

interface OpenArray {
  readonly items: Reply[];
  left: number;
}

/** How a server before 7.0 wraps what a command inside a script was refused with. */
const IN_SCRIPT = /^ERR Error running script .*@user_script: ?\d+: -?([A-Z][A-Z0-9_]+) /;

/** What a server says to a connection it has no room for, and nothing else. */
const FULL = /^ERR max number of clients/;

/**
 * The first word of what a server says when it refuses a command: `NOGROUP`, `READONLY`, `OOM` …; `MAXCLIENTS`, `ERR`
 * where there is none.
 *
 * @param text as the server sent it, without the minus
 */
export function errorCode(text: string): string {
  if (FULL.test(text)) return "MAXCLIENTS";
  return IN_SCRIPT.exec(text)?.[1] ?? /^[A-Z][A-Z0-9_]*/.exec(text)?.[0] ?? "ERR";
}

/** Text of what was read a character a byte. */
function decoded(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString();
}

function errorReply(text: string): RedisError {
  return new RedisError(message("run a Redis command", `the server answered ${text}`), errorCode(text));
}

/**
 * Reads RESP2. A bulk string is copied once, from the chunks into an array of exactly its length: what a frame's bytes
 * are from then on.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export class RespParser {
  readonly #onReply: (reply: Reply) => void;
  readonly #open: OpenArray[] = [];
  /** Start of a line whose end has not come yet, a character a byte. */
  #line = "";
  #bulk: Uint8Array | undefined;
  #filled = 0;
  /** How many bytes are still to come of the line end after a bulk string. */
  #endLeft = 0;

  constructor(onReply: (reply: Reply) => void) {
    this.#onReply = onReply;
  }

  /**
   * Take the next bytes; they are not kept.
   *
   * @throws {RedisError} With the code `PROTOCOL`, if they are no RESP2
   */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#bulk !== undefined) at = this.#fill(this.#bulk, chunk, at);
      else if (this.#endLeft > 0) this.#endBulk(chunk[at++]!);
      else at = this.#readLine(chunk, at);
    }
  }

  #endBulk(byte: number): void {
    if (byte !== (this.#endLeft === 2 ? CR : LF)) throw protocolError("a bulk string does not end with CR LF");
    this.#endLeft -= 1;
  }

  #fill(bulk: Uint8Array, chunk: Buffer, at: number): number {
    const length = chunk.copy(bulk, this.#filled, at);
    this.#filled += length;
    if (this.#filled === bulk.length) {
      this.#bulk = undefined;
      this.#endLeft = 2;
      this.#deliver(bulk);
    }
    return at + length;
  }

  #readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(LF, at);
    const line = this.#line + chunk.toString("latin1", at, end < 0 ? chunk.length : end);
    if (line.length > MAX_LINE) throw protocolError(`a line has more than ${MAX_LINE} bytes`);
    if (end < 0) {
      this.#line = line;
      return chunk.length;
    }
    this.#line = "";
    if (!line.endsWith("\r")) throw protocolError("a line does not end with CR LF");
    this.#take(line.slice(0, -1));
    return end + 1;
  }

  #take(line: string): void {
    const rest = line.slice(1);
    const kind = line[0];
    if (kind === "+") this.#deliver(decoded(rest));
    else if (kind === "-") this.#deliver(errorReply(decoded(rest)));
    else if (kind === ":") this.#deliver(integer(rest));
    else if (kind === "$") this.#startBulk(integer(rest));
    else if (kind === "*") this.#startArray(integer(rest));
    else throw protocolError(`a reply starts with ${JSON.stringify(line.slice(0, 20))}`);
  }

  #startBulk(byteLength: number): void {
    if (byteLength < 0) {
      this.#deliver(null);
      return;
    }
    if (byteLength > MAX_BULK) throw protocolError(`a bulk string has ${byteLength} bytes`);
    // Every byte is overwritten before anyone sees it.
    const bulk = Buffer.allocUnsafeSlow(byteLength);
    if (byteLength > 0) {
      this.#bulk = bulk;
      this.#filled = 0;
      return;
    }
    this.#endLeft = 2;
    this.#deliver(bulk);
  }

  #startArray(length: number): void {
    if (length < 0) this.#deliver(null);
    else if (length === 0) this.#deliver([]);
    else if (this.#open.length === MAX_DEPTH) throw protocolError(`lists are more than ${MAX_DEPTH} deep`);
    else this.#open.push({ items: [], left: length });
  }

  #deliver(reply: Reply): void {
    let value = reply;
    for (let top = this.#open.at(-1); top !== undefined; top = this.#open.at(-1)) {
      top.items.push(value);
      top.left -= 1;
      if (top.left > 0) return;
      value = top.items;
      this.#open.pop();
    }
    this.#onReply(value);
  }
}

function integer(text: string): number {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw protocolError(`${JSON.stringify(text.slice(0, 30))} is no whole number`);
  return value;
}

function protocolError(found: string): RedisError {
  const hint = "check that the address is that of a Redis server, and whether it wants TLS (rediss://)";
  return new RedisError(message("read the reply of a Redis server", `it is not RESP2, ${found}`, hint), "PROTOCOL");
}

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

/** Commands that the server runs as one. */
export interface Script {
  readonly text: string;
  /** SHA-1 of the text: what the server knows it by. */
  readonly digest: string;
  /** How many of its arguments are keys. */
  readonly keys: string;
}

function scriptOf(keys: number, text: string): Script {
  return { text, digest: new Bun.CryptoHasher("sha1").update(text).digest("hex"), keys: String(keys) };
}

/**
 * Keys: the frame's stream, the answer's. Arguments: group, entry id, about how many answers are kept, `1` to delete the
 * entry, `1` if nobody else can have answered, then the answer's fields. Returns 1, or 0 where somebody else has answered.
 *
 * A frame that is not pending any more has been answered by somebody, or the server has forgotten who has it: it was
 * trimmed, its consumer or group deleted. It is written then where nobody else can have answered, or will.
 *
 * A script and no MULTI/EXEC, which would go on after a failed XADD (an answer stream that is no stream, WRONGTYPE) and
 * acknowledge a frame without an answer: a script ends with the first command that fails. It is written to the
 * append-only file as one transaction. Nothing may fail after XADD either, so whether this user may acknowledge and delete
 * is tried before it, with an id no entry has.
 */
export const ANSWER: Script = scriptOf(
  2,
  `
local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
local gone = found.err and (string.find(found.err, 'NOGROUP') or string.find(found.err, 'WRONGTYPE'))
if found.err and not gone then return found end
if ARGV[5] == '0' and (gone or #found == 0) then
  if ARGV[4] == '1' then return 0 end
  if #redis.pcall('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then return 0 end
end
if not gone then redis.call('XACK', KEYS[1], ARGV[1], '0-0') end
if ARGV[4] == '1' and not gone then redis.call('XDEL', KEYS[1], '0-0') end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 6))
if gone then return 1 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1`,
);

/**
 * Key: a stream. Arguments: group, consumer. Whoever leaves a group takes along what is pending, so only a worker that
 * has answered everything does; returns whether it did.
 */
export const LEAVE: Script = scriptOf(
  1,
  `
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1`,
);

/**
 * Key: a stream. Argument: group. Returns how many entries are pending, and how many are unread, where it can be told;
 * nothing where there is no such group.
 *
 * The lag the server tells counts, for good, also what was trimmed before it was read, and servers before 7.0 tell none.
 * So it is asked for only where something is unread, and not all of the stream; it is too high then rather than too low.
 */
export const LAG: Script = scriptOf(
  1,
  `
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #info, 2 do group[info[at]] = info[at + 1] end
  if group['name'] == ARGV[1] then
    local lag, pending = group['lag'], group['pending']
    if lag == 0 then return {pending, 0} end
    local next = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', 1)
    if #next == 0 then return {pending, 0} end
    local length = redis.call('XLEN', KEYS[1])
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    if first[1][1] == next[1][1] then return {pending, length} end
    if not lag then return {pending} end
    return {pending, math.min(lag, length)}
  end
end
return {}`,
);
