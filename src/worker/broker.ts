/**
 * @module Broker: what a worker needs of the streams it reads and writes, and how long it waits before one that is away is tried
 * again. Redis is one; a test's or bench's own is another.
 */

import { RedisError } from "../core/errors.ts";
import type { Filled } from "../core/options.ts";
import { pause } from "../core/resource.ts";
import type { ReconnectOptions } from "./worker-config.ts";

/** One field of an entry. */
export type Field = readonly [name: string, value: string | Uint8Array];

/** A frame as it came. */
export interface StreamEntry {
  readonly stream: string;
  /** Its id on the stream. */
  readonly id: string;
  readonly fields: ReadonlyMap<string, Uint8Array>;
  /** How often it has been given to a worker, this time included. */
  readonly deliveries: number;
  /**
   * When it was asked for, and so given to this worker no earlier, by `performance.now()`; `undefined` if it has been given
   * to anyone before, who may have answered it or still may.
   */
  readonly askedAt: number | undefined;
  /** Share of this entry in the time from the first byte of the reply to its last, milliseconds. */
  readonly receiveMs: number;
}

/** What was taken over from workers that went silent. */
export interface ClaimedEntries {
  readonly entries: readonly StreamEntry[];
  /** Entries that had been trimmed off their stream before anyone answered: nobody can any more. */
  readonly lost: number;
}

/** How much of a stream waits. */
export interface StreamLag {
  readonly stream: string;
  /** Entries that no worker of the group has read, at most; `undefined` where the server cannot tell. */
  readonly unread: number | undefined;
  /** Entries that have been read and not been answered. */
  readonly pending: number;
}

/** How entries are read. */
export interface ReadOptions {
  /** Most entries. */
  readonly count: number;
  /** How long to wait where there are none, milliseconds. */
  readonly blockMs: number;
}

/** Where an answer goes. */
export interface Destination {
  readonly stream: string;
  /** About how many entries the stream keeps. */
  readonly maxLength: number;
  /** Delete the answered entry from its stream as well: right where one group alone reads it. */
  readonly deletesEntry: boolean;
  /** True: nobody else can have answered the entry, so the answer is written even if it is not pending any more. */
  readonly isOurs: boolean;
}

/**
 * Streams with a consumer group. Every method throws a `RedisError` where the server cannot be reached, and connects
 * again when it is called again.
 */
export interface Broker {
  /** True while the server answers. */
  readonly isConnected: boolean;
  /** How often a connection has been made again. */
  readonly reconnects: number;
  /** Connect, and make the group on every stream where there is none. */
  open(): Promise<void>;
  /** Entries nobody has read; before them, those that this worker was given before a connection was lost. One call at a time. */
  read(options: ReadOptions): Promise<readonly StreamEntry[]>;
  /** End a `read` that waits. */
  wake(): Promise<void>;
  /** Take over entries that have been pending for long. Not while a `read` waits. */
  claim(count: number): Promise<ClaimedEntries>;
  /**
   * Write an answer and acknowledge the entry, both or neither. What was trimmed meanwhile is answered as well.
   *
   * @returns false if somebody else had acknowledged it already; nothing is written then
   */
  answer(entry: StreamEntry, fields: readonly Field[], destination: Destination): Promise<boolean>;
  /** Acknowledge without an answer. @returns how many were pending */
  acknowledge(entries: readonly StreamEntry[]): Promise<number>;
  /** Let the entries count as just delivered, so that nobody claims them. */
  keep(entries: readonly StreamEntry[]): Promise<void>;
  /** Let the entries count as pending for long, so that others claim them at once. */
  handBack(entries: readonly StreamEntry[]): Promise<void>;
  /** How far the group is behind on each stream. */
  lag(): Promise<readonly StreamLag[]>;
  /** Leave the group where nothing is pending, and disconnect. */
  close(): Promise<void>;
}

type BackOffBounds = Filled<ReconnectOptions>;

/**
 * Waits that grow with every failure: a random time from half a bound to all of it, where the bound doubles, so that
 * workers that lost the same server do not all come back in the same moment.
 */
export class BackOff {
  /** From the next failure on. */
  bounds: BackOffBounds;
  readonly #random: () => number;
  /** Failures since the last success. */
  failures = 0;

  /** @param random numbers in [0, 1) */
  constructor(bounds: BackOffBounds, random: () => number = Math.random) {
    this.bounds = bounds;
    this.#random = random;
  }

  /** Count one more failure. @returns how long to wait after it, milliseconds */
  nextMs(): number {
    const { firstMs, mostMs } = this.bounds;
    const bound = Math.min(mostMs, firstMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    return bound * (0.5 + this.#random() / 2);
  }

  /** Wait after one more failure; ends early when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    return pause(this.nextMs(), signal);
  }

  /** It went well: the next failure counts as the first. */
  reset(): void {
    this.failures = 0;
  }
}

/** Told of every failure. @returns the bounds of the waiting */
type OnFailure = (action: string, error: RedisError, failures: number) => BackOffBounds;

/** Work that a server has refused, or could not be reached with, and that is tried again. */
export class Retries {
  readonly #signal: AbortSignal;
  readonly #onFailure: OnFailure;
  /** Pieces of work that have failed and not been done since. */
  waiting = 0;

  /** @param signal ends the trying */
  constructor(signal: AbortSignal, onFailure: OnFailure) {
    this.#signal = signal;
    this.#onFailure = onFailure;
  }

  /**
   * Try until the server takes it.
   *
   * @param action for messages: `answer frame 17-0 of "frames"`
   * @returns what the work gives; `undefined` once the signal is aborted
   */
  async until<T>(action: string, work: () => Promise<T>): Promise<T | undefined> {
    let backOff: BackOff | undefined;
    try {
      while (!this.#signal.aborted) {
        try {
          return await work();
        } catch (error) {
          if (!(error instanceof RedisError)) throw error;
          if (backOff === undefined) this.waiting += 1;
          const bounds = this.#onFailure(action, error, (backOff?.failures ?? 0) + 1);
          backOff ??= new BackOff(bounds);
          await backOff.wait(this.#signal);
        }
      }
      return undefined;
    } finally {
      if (backOff !== undefined) this.waiting -= 1;
    }
  }
}
