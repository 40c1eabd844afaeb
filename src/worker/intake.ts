/** @module Intake: reads frames as long as there is room for them, and claims those of workers that died. */

import { inShort, message, RedisError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { untilAborted } from "../core/resource.ts";
import { BackOff, type Broker } from "./broker.ts";
import type { Dispatcher, DispatcherParts } from "./dispatcher.ts";
import type { DispatchRules } from "./held-frame.ts";
import { redisAddress } from "./redis/redis-connection.ts";
import type { WorkerConfig } from "./worker-config.ts";

/** What an intake works with; all of it stays its owner's. */
interface IntakeParts extends Pick<DispatcherParts, "broker" | "metrics"> {
  readonly dispatcher: Dispatcher;
  /** Aborted when nothing more is to be read. */
  readonly signal: AbortSignal;
}

/** Longest wait in a read: what is due meanwhile waits for it. */
const BLOCK_MS = 1_000;
/** With the policy `latest`, how many frames are read at once to get to the newest ones. */
const READ_AHEAD = 32;

/** What the server says while it comes up, changes its role, or has no room: it will pass. */
const PASSING: ReadonlySet<string> = new Set(
  "CONNECTION LOADING MASTERDOWN CLUSTERDOWN READONLY TRYAGAIN BUSY OOM MISCONF NOREPLICAS MAXCLIENTS".split(" "),
);

/**
 * Connect, and try again for as long as `connectTimeoutMs` says; with 0 nothing is done, as the loop itself waits for a server. One
 * that is there and not ready is waited for by the loop as well.
 *
 * @throws {RedisError} If the server cannot be reached, or refuses the password, the database or the group
 * @throws the signal's reason
 */
export async function connect(
  broker: Broker,
  { connectTimeoutMs, reconnect, redis }: Pick<WorkerConfig, "connectTimeoutMs" | "reconnect" | "redis">,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (connectTimeoutMs === 0) return;
  const late = AbortSignal.timeout(connectTimeoutMs);
  const ending = signal === undefined ? late : AbortSignal.any([late, signal]);
  const backOff = new BackOff(reconnect);
  let last: RedisError | undefined;
  while (!ending.aborted) {
    try {
      return await untilAborted(broker.open(), ending);
    } catch (error) {
      if (ending.aborted) break;
      if (!(error instanceof RedisError)) throw error;
      if (error.code !== "CONNECTION" && PASSING.has(error.code)) return;
      if (error.code !== "CONNECTION") throw error;
      last = error;
      await backOff.wait(ending);
    }
  }
  signal?.throwIfAborted();
  const hint =
    "start the server, correct the address, or wait for it without end: `connectTimeoutMs: 0` (`--connect-timeout-ms 0`)";
  const text =
    last === undefined
      ? message(
          `use the Redis server ${redisAddress(redis).shown}`,
          `it has not answered in ${connectTimeoutMs} ms`,
          hint,
        )
      : `${inShort(last)}, tried for ${connectTimeoutMs} ms\nHint: ${hint}`;
  throw new RedisError(text, "CONNECTION", last === undefined ? {} : { cause: last });
}

/** The loop that reads. */
export class Intake {
  readonly #parts: IntakeParts;
  #rules: DispatchRules;
  readonly #backOff: BackOff;
  #nextClaimAt = 0;
  #turnAt = performance.now();

  constructor(parts: IntakeParts, rules: DispatchRules) {
    this.#parts = parts;
    this.#rules = rules;
    this.#backOff = new BackOff(rules.config.reconnect);
    parts.signal.addEventListener("abort", () => parts.dispatcher.nudge(), { once: true });
  }

  /** For how long the loop has not begun a new turn, milliseconds. */
  get stalledMs(): number {
    return performance.now() - this.#turnAt;
  }

  /** True while the server refuses what the loop asks, or does not answer. */
  get isFailing(): boolean {
    return this.#backOff.failures > 0;
  }

  /** Take other rules with the next turn. */
  setRules(rules: DispatchRules): void {
    this.#rules = rules;
    this.#backOff.bounds = rules.config.reconnect;
  }

  /**
   * Tell the server, three times within `claim.idleMs`, which frames are still worked on.
   *
   * @throws {RedisError} If it cannot be told
   */
  async keepHeld(): Promise<void> {
    const { broker, dispatcher } = this.#parts;
    const silent = dispatcher.takeSilent(this.#rules.config.claim.idleMs / 3);
    if (silent.length === 0) return;
    const at = performance.now();
    await broker.keep(silent);
    dispatcher.heard(silent, at);
  }

  /**
   * Connect; a server that cannot be reached is tried again until the signal.
   *
   * @throws {RedisError} If the server refuses the password, the database or the group
   */
  async open(): Promise<void> {
    const { broker, signal } = this.#parts;
    while (!signal.aborted) {
      try {
        await broker.open();
        await this.#checkRights();
        this.#backOff.reset();
        return;
      } catch (error) {
        if (!(error instanceof RedisError) || !PASSING.has(error.code)) throw error;
        await this.#waitAfter(error);
      }
    }
  }

  /** Acknowledge what is on no stream: a user who may not would read frames, and answer none. @throws {RedisError} NOPERM */
  async #checkRights(): Promise<void> {
    const { broker } = this.#parts;
    const nothing = { id: "0-0", fields: new Map(), deliveries: 0, askedAt: undefined, receiveMs: 0 };
    try {
      await broker.acknowledge(this.#rules.config.input.map((stream) => ({ ...nothing, stream })));
    } catch (error) {
      // Anything else the loop meets as well, and deals with.
      if (!(error instanceof RedisError) || error.code === "NOPERM") throw error;
      logger.debug(error.message);
    }
  }

  /** Read until the signal. Whatever the server says, it is tried again. */
  async run(): Promise<void> {
    const { signal } = this.#parts;
    while (!signal.aborted) {
      this.#turnAt = performance.now();
      try {
        await this.#turn();
        this.#backOff.reset();
      } catch (error) {
        if (!(error instanceof RedisError)) throw error;
        if (!signal.aborted) await this.#waitAfter(error);
      }
    }
  }

  async #turn(): Promise<void> {
    const { broker, dispatcher, signal } = this.#parts;
    const { config, book } = this.#rules;
    const { idleMs, intervalMs } = config.claim;
    const restMs = Math.max(1, Math.min(BLOCK_MS, intervalMs, Math.floor(idleMs / 3)));
    dispatcher.giveUpLate();
    await this.keepHeld();
    if (dispatcher.isStalled) {
      const waiting = dispatcher.dropWaiting();
      if (waiting.length > 0) {
        logger.error(`The detector is stalled; handing back the ${waiting.length} frames that wait for it`);
        await broker.handBack(waiting);
      }
      await dispatcher.changed(restMs);
      return;
    }
    const isMoreStale = await this.#claim();
    const { room } = dispatcher;
    // A read gives one entry a stream at least.
    if (room < config.input.length) {
      await dispatcher.changed(restMs);
      return;
    }
    if (signal.aborted) return;
    const count = book.hasLatest ? Math.max(room, READ_AHEAD) : room;
    dispatcher.admit(await broker.read({ count, blockMs: isMoreStale ? 0 : restMs }));
  }

  /**
   * Claim what is due, no more at once than the detector takes: a frame its workers die of is not to take along, delivery
   * by delivery, all others that were held with it. @returns true if the next turn is to go on with it
   */
  async #claim(): Promise<boolean> {
    const { broker, dispatcher, metrics } = this.#parts;
    const count = Math.min(dispatcher.room, this.#rules.concurrency);
    if (count < 1 || performance.now() < this.#nextClaimAt) return false;
    const { entries, lost } = await broker.claim(count);
    const isMore = entries.length >= count;
    if (!isMore) this.#nextClaimAt = performance.now() + this.#rules.config.claim.intervalMs;
    if (entries.length + lost === 0) return isMore;
    metrics.claimed.inc(entries.length);
    metrics.trimmed.inc(lost);
    if (lost > 0) logger.error(`${lost} frames were trimmed off their stream before they were answered`);
    dispatcher.admit(entries);
    return isMore;
  }

  async #waitAfter(error: RedisError): Promise<void> {
    const { metrics, signal } = this.#parts;
    metrics.service.error("redis");
    if (this.#backOff.failures === 0) logger.warn(error.message);
    else logger.debug(error.message);
    await this.#backOff.wait(signal);
  }
}
