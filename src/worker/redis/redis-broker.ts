/** @module RedisBroker: streams of a Redis server, read by a consumer group. */

import { message, RedisError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import type { Broker, ClaimedEntries, Destination, Field, ReadOptions, StreamEntry, StreamLag } from "../broker.ts";
import { type RedisAddress, type RedisConnection, RedisLink } from "./redis-connection.ts";
import {
  ANSWER,
  entriesOf,
  LAG,
  LEAVE,
  listOf,
  numberOf,
  type Reply,
  type ReplyEntry,
  type Script,
  streamsOf,
  textOf,
} from "./redis-protocol.ts";

/** Who reads what, and how. */
export interface RedisBrokerOptions {
  readonly address: RedisAddress;
  readonly streams: readonly string[];
  readonly group: string;
  /** Name of this worker in the group: no two may share one. */
  readonly consumer: string;
  /** Where a group that is made starts: at the first entry, or behind the last. */
  readonly start: "first" | "new";
  /** Entries that have been pending for longer are claimed; milliseconds. */
  readonly claimIdleMs: number;
  /** How long connecting and each command may take, milliseconds. */
  readonly timeoutMs: number;
}

/** Idle time of an entry that is handed back, milliseconds: longer than anyone waits before claiming. */
const LONG_IDLE_MS = 2 ** 31 - 1;
/** Where XAUTOCLAIM starts, and what it returns at the end. */
const WHOLE = "0-0";
/** Most XAUTOCLAIM of a stream in one claim: each looks at ten times as many entries as it may take, and ends there. */
const MOST_SCANS = 64;
/** How long a key that holds no stream is left alone, milliseconds. */
const ASIDE_MS = 5_000;
/** What the server says where a stream, or the group on it, is not there any more: nothing of it is pending. */
const GONE: ReadonlySet<string> = new Set(["NOGROUP", "WRONGTYPE"]);

/** Entries of a reply that were not trimmed meanwhile. */
function withFields(found: readonly ReplyEntry[], shared: Omit<StreamEntry, "id" | "fields">): StreamEntry[] {
  return found.flatMap(({ id, fields }) => (fields === undefined ? [] : [{ ...shared, id, fields }]));
}

/** Reads over a connection of its own, as a read that waits blocks it. */
export class RedisBroker implements Broker {
  readonly #options: RedisBrokerOptions;
  /** Group and consumer, as most commands name them. */
  readonly #member: readonly [group: string, consumer: string];
  readonly #reader: RedisLink;
  readonly #writer: RedisLink;
  /** What the server calls the reading connection. */
  #readerId = 0;
  /** By stream: from where this worker's own pending entries are still to be read again. */
  readonly #history = new Map<string, string>();
  /** Streams of which a former process of this name may have left entries: that one may have died of them. */
  readonly #inherited: Set<string>;
  /** By stream: where the next XAUTOCLAIM goes on. */
  readonly #cursors = new Map<string, string>();
  /** By stream: until when it is left out, by `performance.now()`, as its key holds something else. */
  readonly #aside = new Map<string, number>();
  /** Entries found trimmed that no `claim` has told of. */
  #lost = 0;

  constructor(options: RedisBrokerOptions) {
    this.#options = options;
    this.#member = [options.group, options.consumer];
    this.#inherited = new Set(options.streams);
    const { address, timeoutMs, consumer } = options;
    const link = { timeoutMs, name: `bun-tensorrt-${consumer}` };
    this.#writer = new RedisLink(address, link);
    this.#reader = new RedisLink(address, link, (connection) => this.#restart(connection));
  }

  get isConnected(): boolean {
    return this.#writer.isConnected && this.#reader.isConnected;
  }

  get reconnects(): number {
    return Math.max(0, this.#reader.connections - 1) + Math.max(0, this.#writer.connections - 1);
  }

  async open(): Promise<void> {
    await this.#reader.connection();
    const { start, streams } = this.#options;
    await this.#makeGroups(start === "first" ? "0" : "$", streams);
  }

  async read({ count, blockMs }: ReadOptions): Promise<readonly StreamEntry[]> {
    const reader = await this.#reader.connection();
    const streams = this.#streams();
    const [again] = this.#history;
    if (again !== undefined) return this.#readAgain(reader, again[0], again[1], count);
    // COUNT holds for each stream.
    const each = Math.max(1, Math.floor(count / streams.length));
    const block = blockMs > 0 ? ["BLOCK", String(blockMs)] : [];
    const sources = ["STREAMS", ...streams, ...streams.map(() => ">")];
    const args = ["GROUP", ...this.#member, "COUNT", String(each), ...block, ...sources];
    const askedAt = performance.now();
    const reply = await this.#ask(reader, "XREADGROUP", args, blockMs);
    const found = streamsOf(reply ?? null);
    const total = found.reduce((sum, { entries }) => sum + entries.length, 0);
    const receiveMs = reader.receiveMs / Math.max(1, total);
    return found.flatMap(({ stream, entries }) => withFields(entries, { stream, deliveries: 1, askedAt, receiveMs }));
  }

  async wake(): Promise<void> {
    if (!this.#reader.isConnected) return;
    await this.#write("CLIENT", ["UNBLOCK", String(this.#readerId)]);
  }

  async claim(count: number): Promise<ClaimedEntries> {
    const reader = await this.#reader.connection();
    const entries: StreamEntry[] = [];
    for (const stream of this.#streams()) {
      for (let scan = 0; scan < MOST_SCANS && entries.length < count; scan++) {
        const from = [String(this.#options.claimIdleMs), this.#cursors.get(stream) ?? WHOLE];
        const most = ["COUNT", String(count - entries.length)];
        const reply = await this.#ask(reader, "XAUTOCLAIM", [stream, ...this.#member, ...from, ...most]);
        if (reply === undefined) break;
        const [next, claimed, deleted = []] = listOf(reply);
        const cursor = textOf(next);
        this.#cursors.set(stream, cursor);
        const found = listOf(claimed).filter((item) => item !== null);
        // Before 7.0 a trimmed entry is claimed as well, and named only to whoever reads again what it has.
        if (found.length < listOf(claimed).length) this.#history.set(stream, "0");
        this.#lost += listOf(deleted).length;
        entries.push(...(await this.#withDeliveries(reader, stream, entriesOf(found))));
        if (cursor === WHOLE) break;
      }
    }
    const lost = this.#lost;
    this.#lost = 0;
    return { entries, lost };
  }

  async answer(entry: StreamEntry, fields: readonly Field[], destination: Destination): Promise<boolean> {
    const { stream, maxLength, deletesEntry, isOurs } = destination;
    const { group } = this.#options;
    const options = [group, entry.id, String(maxLength), deletesEntry ? "1" : "0", isOurs ? "1" : "0"];
    return (await this.#evaluate(ANSWER, [entry.stream, stream, ...options, ...fields.flat()])) === 1;
  }

  async acknowledge(entries: readonly StreamEntry[]): Promise<number> {
    const counts = await this.#byStream(entries, (stream, ids) => ["XACK", stream, this.#options.group, ...ids]);
    return counts.reduce<number>((sum, count) => sum + Number(count), 0);
  }

  async keep(entries: readonly StreamEntry[]): Promise<void> {
    await this.#setIdle(entries, 0);
  }

  async handBack(entries: readonly StreamEntry[]): Promise<void> {
    await this.#setIdle(entries, LONG_IDLE_MS);
  }

  async lag(): Promise<readonly StreamLag[]> {
    const { streams, group } = this.#options;
    const lags = streams.map(async (stream): Promise<StreamLag[]> => {
      try {
        const [pending = 0, unread] = (await this.#evaluate(LAG, [stream, group])) as readonly number[];
        return [{ stream, unread, pending }];
      } catch (error) {
        // A stream that is deleted, or that the server does not tell of, hides none of the others.
        if (!(error instanceof RedisError) || error.code === "CONNECTION") throw error;
        return [];
      }
    });
    return (await Promise.all(lags)).flat();
  }

  async close(): Promise<void> {
    try {
      if (!this.isConnected) return;
      for (const stream of this.#options.streams) {
        await this.#unlessGone(() => this.#evaluate(LEAVE, [stream, ...this.#member]));
      }
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      logger.warn(`The worker stays on the list of its group. ${error.message}`);
    } finally {
      this.#reader.close();
      this.#writer.close();
    }
  }

  async #setIdle(entries: readonly StreamEntry[], idleMs: number): Promise<void> {
    const idle = ["IDLE", String(idleMs), "JUSTID"];
    await this.#byStream(entries, (stream, ids) => ["XCLAIM", stream, ...this.#member, "0", ...ids, ...idle]);
  }

  async #write(name: string, args: readonly string[]): Promise<Reply> {
    return (await this.#writer.connection()).command(name, args);
  }

  async #evaluate(script: Script, args: readonly (string | Uint8Array)[]): Promise<Reply> {
    return (await this.#writer.connection()).evaluate(script, args);
  }

  /** Begin with a new connection for reading. */
  async #restart(reader: RedisConnection): Promise<void> {
    this.#readerId = numberOf(await reader.command("CLIENT", ["ID"]));
    // What the server gave to the former connection may never have arrived.
    for (const stream of this.#options.streams) this.#history.set(stream, "0");
  }

  /** Read entries of this worker that are pending: all of them were given to it before. @param from id of the last one read */
  async #readAgain(reader: RedisConnection, stream: string, from: string, count: number): Promise<StreamEntry[]> {
    const args = ["GROUP", ...this.#member, "COUNT", String(count), "STREAMS", stream, from];
    const reply = await this.#ask(reader, "XREADGROUP", args);
    const found = streamsOf(reply ?? null)[0]?.entries ?? [];
    const last = found.at(-1);
    const isInherited = this.#inherited.has(stream);
    if (last !== undefined) this.#history.set(stream, last.id);
    else if (this.#history.delete(stream)) this.#inherited.delete(stream);
    const trimmed = found.flatMap(({ id, fields }) => (fields === undefined ? [id] : []));
    if (trimmed.length > 0)
      this.#lost += numberOf(await reader.command("XACK", [stream, this.#options.group, ...trimmed]));
    const entries = await this.#withDeliveries(reader, stream, found);
    return isInherited ? entries : this.#uncounted(reader, entries);
  }

  /**
   * The server counts what is read again as one more delivery; but where the connection alone was lost, no process has
   * died of the frame, and a line that is cut often must not make it a dead letter.
   */
  async #uncounted(reader: RedisConnection, entries: readonly StreamEntry[]): Promise<StreamEntry[]> {
    const former = entries.map((entry) => ({ ...entry, deliveries: Math.max(1, entry.deliveries - 1) }));
    for (const [deliveries, alike] of Map.groupBy(former, (entry) => entry.deliveries)) {
      const ids = alike.map(({ id }) => id);
      const count = ["RETRYCOUNT", String(deliveries), "JUSTID"];
      await reader.command("XCLAIM", [alike[0]!.stream, ...this.#member, "0", ...ids, ...count]);
    }
    return former;
  }

  async #withDeliveries(reader: RedisConnection, stream: string, found: readonly ReplyEntry[]): Promise<StreamEntry[]> {
    const [first] = found;
    const last = found.at(-1);
    if (first === undefined || last === undefined) return [];
    const { group, consumer } = this.#options;
    const receiveMs = reader.receiveMs / found.length;
    const range = [first.id, last.id, String(LONG_IDLE_MS), consumer];
    const counts = new Map<string, number>();
    for (const item of listOf(await reader.command("XPENDING", [stream, group, ...range]))) {
      const [id, , , deliveries] = listOf(item);
      counts.set(textOf(id), numberOf(deliveries));
    }
    const entries = withFields(found, { stream, deliveries: 2, askedAt: undefined, receiveMs });
    return entries.map((entry) => ({ ...entry, deliveries: counts.get(entry.id) ?? entry.deliveries }));
  }

  /** Run one command a stream, on those entries that are of it. @returns the replies of the streams that are there */
  async #byStream(
    entries: readonly StreamEntry[],
    command: (stream: string, ids: readonly string[]) => readonly string[],
  ): Promise<unknown[]> {
    const replies: unknown[] = [];
    for (const [stream, alike] of Map.groupBy(entries, (entry) => entry.stream)) {
      const ids = alike.map(({ id }) => id);
      const [name = "", ...args] = command(stream, ids);
      replies.push(await this.#unlessGone(() => this.#write(name, args)));
    }
    return replies.filter((reply) => reply !== undefined);
  }

  /** Run a command on a stream; `undefined` where the stream or its group is not there. */
  async #unlessGone(work: () => Promise<unknown>): Promise<unknown> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RedisError) || !GONE.has(error.code)) throw error;
      return undefined;
    }
  }

  /** Streams that are read now: those that are not left out. */
  #streams(): readonly string[] {
    const { streams } = this.#options;
    if (this.#aside.size === 0) return streams;
    const now = performance.now();
    for (const [stream, until] of this.#aside) if (until <= now) this.#aside.delete(stream);
    return streams.filter((stream) => !this.#aside.has(stream));
  }

  /** Leave out streams whose keys hold something else: one would keep all from being read. @returns whether any is left */
  async #setAside(reader: RedisConnection): Promise<boolean> {
    const { streams } = this.#options;
    const until = performance.now() + ASIDE_MS;
    const types = await Promise.all(streams.map((stream) => reader.command("TYPE", [stream])));
    for (const [at, stream] of streams.entries()) {
      const type = textOf(types[at]);
      if (type === "stream" || type === "none" || this.#aside.has(stream)) continue;
      logger.error(`Skipped ${JSON.stringify(stream)} for ${ASIDE_MS / 1000} s: its key holds a ${type}, not a stream`);
      this.#aside.set(stream, until);
    }
    if (this.#aside.size < streams.length) return true;
    this.#aside.clear();
    return false;
  }

  /**
   * Run a command that needs the group; `undefined` after making it anew, where somebody has deleted it or its stream, and
   * after leaving out a key that holds no stream.
   */
  async #ask(
    reader: RedisConnection,
    name: string,
    args: readonly string[],
    blockMs: number = 0,
  ): Promise<Reply | undefined> {
    try {
      return await reader.command(name, args, blockMs);
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      if (error.code === "WRONGTYPE" && (await this.#setAside(reader))) return undefined;
      if (error.code !== "NOGROUP") throw error;
      logger.warn(`Creating the group ${JSON.stringify(this.#options.group)} again, as somebody has deleted it`);
      // Whatever is on the stream by now has come after it was deleted.
      await this.#makeGroups("0", this.#streams());
      return undefined;
    }
  }

  async #makeGroups(from: string, streams: readonly string[]): Promise<void> {
    const { group } = this.#options;
    for (const stream of streams) {
      try {
        await this.#write("XGROUP", ["CREATE", stream, group, from, "MKSTREAM"]);
      } catch (error) {
        if (!(error instanceof RedisError)) throw error;
        if (error.code === "WRONGTYPE") {
          const text = message(`read ${JSON.stringify(stream)}`, "its key holds no stream", "choose another name");
          throw new RedisError(text, "WRONGTYPE");
        }
        if (error.code !== "BUSYGROUP") throw error;
      }
    }
  }
}
