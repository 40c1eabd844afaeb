/** @module RedisBroker: streams of a Redis server, read by a consumer group. */

import { RedisError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import type { Broker, ClaimedEntries, Destination, Field, ReadOptions, StreamEntry, StreamLag } from "../broker.ts";
import { ANSWER_SCRIPT } from "./answer-script.ts";
import { entriesOf, listOf, numberOf, type ReplyEntry, streamsOf, textOf } from "./entry-reply.ts";
import type { RedisAddress } from "./redis-address.ts";
import { RedisWriter } from "./redis-writer.ts";
import { RespConnection } from "./resp-connection.ts";

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

/** Reads with a connection of its own, as a read that waits blocks it, and writes with Bun's client. */
export class RedisBroker implements Broker {
  readonly #options: RedisBrokerOptions;
  readonly #writer: RedisWriter;
  #reader: RespConnection | undefined;
  #readers = 0;
  /** What the server calls the reading connection. */
  #readerId = 0;
  /** By stream: from where this worker's own pending entries are still to be read again. */
  readonly #history = new Map<string, string>();
  /** By stream: where the next XAUTOCLAIM goes on. */
  readonly #cursors = new Map<string, string>();

  constructor(options: RedisBrokerOptions) {
    this.#options = options;
    this.#writer = new RedisWriter(options.address, options.timeoutMs);
  }

  get isConnected(): boolean {
    return this.#writer.isConnected && this.#reader !== undefined && !this.#reader.closed;
  }

  get reconnects(): number {
    return Math.max(0, this.#readers - 1) + Math.max(0, this.#writer.connections - 1);
  }

  async open(): Promise<void> {
    // First the connection that tells a refused password from a server that is not there.
    await this.#connected();
    await this.#makeGroups(this.#options.start === "first" ? "0" : "$");
  }

  async read({ count, blockMs }: ReadOptions): Promise<readonly StreamEntry[]> {
    const reader = await this.#connected();
    const { streams, group, consumer } = this.#options;
    const [again] = this.#history;
    if (again !== undefined) return this.#readAgain(reader, again[0], again[1], count);
    // COUNT holds for each stream.
    const each = Math.max(1, Math.floor(count / streams.length));
    const block = blockMs > 0 ? ["BLOCK", String(blockMs)] : [];
    const sources = ["STREAMS", ...streams, ...streams.map(() => ">")];
    const command = ["XREADGROUP", "GROUP", group, consumer, "COUNT", String(each), ...block, ...sources];
    const reply = await this.#orMakeGroups(() => reader.command(command, blockMs));
    const found = streamsOf(reply ?? null);
    const total = found.reduce((sum, { entries }) => sum + entries.length, 0);
    const receiveMs = reader.receiveMs / Math.max(1, total);
    return found.flatMap(({ stream, entries }) =>
      entries.flatMap(({ id, fields }) => {
        return fields === undefined ? [] : [{ stream, id, fields, deliveries: 1, receiveMs }];
      }),
    );
  }

  async wake(): Promise<void> {
    if (this.#reader === undefined || this.#reader.closed) return;
    await this.#writer.command("CLIENT", ["UNBLOCK", String(this.#readerId)]);
  }

  async claim(count: number): Promise<ClaimedEntries> {
    const reader = await this.#connected();
    const { streams, group, consumer, claimIdleMs } = this.#options;
    const entries: StreamEntry[] = [];
    let lost = 0;
    for (const stream of streams) {
      const left = count - entries.length;
      if (left <= 0) break;
      const cursor = this.#cursors.get(stream) ?? WHOLE;
      const command = ["XAUTOCLAIM", stream, group, consumer, String(claimIdleMs), cursor, "COUNT", String(left)];
      const reply = await this.#orMakeGroups(() => reader.command(command));
      if (reply === undefined) continue;
      const [next, claimed, deleted = []] = listOf(reply);
      this.#cursors.set(stream, textOf(next));
      const found = entriesOf(claimed);
      lost += listOf(deleted).length + (await this.#forgetDeleted(stream, found));
      entries.push(...(await this.#withDeliveries(reader, stream, found)));
    }
    return { entries, lost };
  }

  async answer(entry: StreamEntry, fields: readonly Field[], destination: Destination): Promise<boolean> {
    const { stream, maxLength, deletesEntry } = destination;
    const { group } = this.#options;
    const options = [group, entry.id, String(maxLength), deletesEntry ? "1" : "0"];
    const args = [ANSWER_SCRIPT, "2", entry.stream, stream, ...options, ...fields.flat()];
    return (await this.#writer.command("EVAL", args)) === 1;
  }

  async acknowledge(entries: readonly StreamEntry[]): Promise<void> {
    await this.#byStream(entries, (stream, ids) => ["XACK", stream, this.#options.group, ...ids]);
  }

  async keep(entries: readonly StreamEntry[]): Promise<void> {
    const { group, consumer } = this.#options;
    await this.#byStream(entries, (stream, ids) => ["XCLAIM", stream, group, consumer, "0", ...ids, "JUSTID"]);
  }

  async handBack(entries: readonly StreamEntry[]): Promise<void> {
    const { group, consumer } = this.#options;
    const idle = ["IDLE", String(LONG_IDLE_MS), "JUSTID"];
    await this.#byStream(entries, (stream, ids) => ["XCLAIM", stream, group, consumer, "0", ...ids, ...idle]);
  }

  async lag(): Promise<readonly StreamLag[]> {
    const { streams, group } = this.#options;
    return Promise.all(
      streams.map(async (stream) => {
        const groups = (await this.#writer.command("XINFO", ["GROUPS", stream])) as readonly GroupInfo[];
        const { lag, pending = 0 } = groups.find(({ name }) => name === group) ?? {};
        return { stream, unread: lag ?? undefined, pending };
      }),
    );
  }

  async close(): Promise<void> {
    const { streams, group, consumer } = this.#options;
    try {
      if (!this.isConnected) return;
      for (const stream of streams) {
        const pending = await this.#writer.command("XPENDING", [stream, group, "-", "+", "1", consumer]);
        // Whoever leaves the group takes along what is pending, so only a worker that has answered everything does.
        if (Array.isArray(pending) && pending.length === 0) {
          await this.#writer.command("XGROUP", ["DELCONSUMER", stream, group, consumer]);
        }
      }
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      logger.warn(`The worker stays in the list of its group. ${error.message}`);
    } finally {
      this.#reader?.close();
      this.#writer.close();
    }
  }

  /** The connection for reading; a new one where it is lost. */
  async #connected(): Promise<RespConnection> {
    if (this.#reader !== undefined && !this.#reader.closed) return this.#reader;
    const { address, timeoutMs, consumer, streams } = this.#options;
    const reader = await RespConnection.open(address, { timeoutMs, name: `bun-tensorrt-${consumer}` });
    this.#readerId = numberOf(await reader.command(["CLIENT", "ID"]));
    this.#reader = reader;
    this.#readers += 1;
    // What the server gave to the former connection may never have arrived.
    for (const stream of streams) this.#history.set(stream, "0");
    return reader;
  }

  /** Entries of this worker that are pending: all of them were given to it before. */
  async #readAgain(reader: RespConnection, stream: string, from: string, count: number): Promise<StreamEntry[]> {
    const { group, consumer } = this.#options;
    const command = ["XREADGROUP", "GROUP", group, consumer, "COUNT", String(count), "STREAMS", stream, from];
    const reply = await this.#orMakeGroups(() => reader.command(command));
    const found = streamsOf(reply ?? null)[0]?.entries ?? [];
    const last = found.at(-1);
    if (last === undefined) this.#history.delete(stream);
    else this.#history.set(stream, last.id);
    await this.#forgetDeleted(stream, found);
    return this.#withDeliveries(reader, stream, found);
  }

  /** Strike off entries that were trimmed before anyone answered. @returns how many */
  async #forgetDeleted(stream: string, found: readonly ReplyEntry[]): Promise<number> {
    const ids = found.flatMap(({ id, fields }) => (fields === undefined ? [id] : []));
    if (ids.length > 0) await this.#writer.command("XACK", [stream, this.#options.group, ...ids]);
    return ids.length;
  }

  async #withDeliveries(reader: RespConnection, stream: string, found: readonly ReplyEntry[]): Promise<StreamEntry[]> {
    const [first] = found;
    const last = found.at(-1);
    if (first === undefined || last === undefined) return [];
    const { group, consumer } = this.#options;
    const receiveMs = reader.receiveMs / found.length;
    const range = [first.id, last.id, String(LONG_IDLE_MS), consumer];
    const counts = new Map<string, number>();
    for (const item of listOf(await reader.command(["XPENDING", stream, group, ...range]))) {
      const [id, , , deliveries] = listOf(item);
      counts.set(textOf(id), numberOf(deliveries));
    }
    return found.flatMap(({ id, fields }) => {
      return fields === undefined ? [] : [{ stream, id, fields, deliveries: counts.get(id) ?? 2, receiveMs }];
    });
  }

  async #byStream(
    entries: readonly StreamEntry[],
    command: (stream: string, ids: readonly string[]) => readonly string[],
  ): Promise<void> {
    for (const [stream, of] of Map.groupBy(entries, (entry) => entry.stream)) {
      const [name = "", ...args] = command(
        stream,
        of.map(({ id }) => id),
      );
      await this.#writer.command(name, args);
    }
  }

  /** Run a command that needs the group; `undefined` after making it anew, where somebody has deleted the stream. */
  async #orMakeGroups<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RedisError) || error.code !== "NOGROUP") throw error;
      logger.warn(`Making the group ${JSON.stringify(this.#options.group)} anew, as its stream was deleted`);
      // Whatever is on the stream by now has come after it was deleted.
      await this.#makeGroups("0");
      return undefined;
    }
  }

  async #makeGroups(from: string): Promise<void> {
    const { streams, group } = this.#options;
    for (const stream of streams) {
      try {
        await this.#writer.command("XGROUP", ["CREATE", stream, group, from, "MKSTREAM"]);
      } catch (error) {
        if (!(error instanceof RedisError) || error.code !== "BUSYGROUP") throw error;
      }
    }
  }
}

/** What is used of a reply of XINFO GROUPS. */
interface GroupInfo {
  readonly name?: string;
  readonly lag?: number | null;
  readonly pending?: number;
}
