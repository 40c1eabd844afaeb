/** @module MemoryBroker: a stream with a consumer group in memory, for tests and for machines without Redis. */

import type {
  Broker,
  ClaimedEntries,
  Destination,
  Field,
  ReadOptions,
  StreamEntry,
  StreamLag,
} from "../../src/worker/broker.ts";

const STREAM = "frames";

/** What was written. */
export interface WrittenEntry {
  readonly stream: string;
  readonly fields: ReadonlyMap<string, string | Uint8Array>;
  /** Of the frame it answers. */
  readonly entryId: string;
}

/** One stream of frames and everything that is written, without copying a byte. */
export class MemoryBroker implements Broker {
  readonly isConnected: boolean = true;
  readonly reconnects: number = 0;
  readonly written: WrittenEntry[] = [];
  readonly acknowledged: string[] = [];
  readonly kept: string[] = [];
  readonly handedBack: string[] = [];
  /** Thrown by the next `answer`s, first one first. */
  readonly faults: Error[] = [];
  /** Entries that a `claim` finds. */
  readonly stale: StreamEntry[] = [];
  readonly #unread: StreamEntry[] = [];
  readonly #pending = new Set<string>();
  #next = 1;
  #wake: (() => void) | undefined;
  #onWritten: (() => void) | undefined;

  /** Put a frame on the stream. @returns its id */
  add(fields: Readonly<Record<string, string | Uint8Array>>, deliveries: number = 1): string {
    const entry = this.entry(fields, deliveries);
    this.#unread.push(entry);
    this.#wake?.();
    return entry.id;
  }

  /** An entry that is on no stream yet. */
  entry(fields: Readonly<Record<string, string | Uint8Array>>, deliveries: number = 1): StreamEntry {
    const bytes = Object.entries(fields).map(([name, value]): [string, Uint8Array] => {
      return [name, typeof value === "string" ? new TextEncoder().encode(value) : value];
    });
    return {
      stream: STREAM,
      id: `${this.#next++}-0`,
      fields: new Map(bytes),
      deliveries,
      askedAt: undefined,
      receiveMs: 0,
    };
  }

  /** Ids that were read and not answered. */
  get pending(): readonly string[] {
    return [...this.#pending];
  }

  /** Let an entry be pending no longer, as if it had been answered by another or its consumer deleted. */
  forget(id: string): void {
    this.#pending.delete(id);
  }

  /** Number of frames that nobody has read. */
  get unread(): number {
    return this.#unread.length;
  }

  /** Wait until as many entries are written. */
  async untilWritten(count: number): Promise<void> {
    while (this.written.length < count) {
      await new Promise<void>((resolve) => {
        this.#onWritten = resolve;
      });
    }
  }

  open(): Promise<void> {
    return Promise.resolve();
  }

  async read({ count, blockMs }: ReadOptions): Promise<readonly StreamEntry[]> {
    const askedAt = performance.now();
    if (this.#unread.length === 0 && blockMs > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, blockMs);
      await promise;
      clearTimeout(timer);
    }
    const found = this.#unread.splice(0, count);
    const entries = found.map((entry) => (entry.deliveries > 1 ? entry : { ...entry, askedAt }));
    for (const { id } of entries) this.#pending.add(id);
    return entries;
  }

  wake(): Promise<void> {
    this.#wake?.();
    return Promise.resolve();
  }

  claim(count: number): Promise<ClaimedEntries> {
    const entries = this.stale.splice(0, count);
    for (const { id } of entries) this.#pending.add(id);
    return Promise.resolve({ entries, lost: 0 });
  }

  async answer(entry: StreamEntry, fields: readonly Field[], { stream, isOurs }: Destination): Promise<boolean> {
    const fault = this.faults.shift();
    if (fault !== undefined) throw fault;
    if (!this.#pending.delete(entry.id) && !isOurs) return false;
    this.written.push({ stream, fields: new Map(fields), entryId: entry.id });
    this.#onWritten?.();
    return true;
  }

  acknowledge(entries: readonly StreamEntry[]): Promise<number> {
    const before = this.#pending.size;
    for (const { id } of entries) {
      this.#pending.delete(id);
      this.acknowledged.push(id);
    }
    return Promise.resolve(before - this.#pending.size);
  }

  keep(entries: readonly StreamEntry[]): Promise<void> {
    this.kept.push(...entries.map(({ id }) => id));
    return Promise.resolve();
  }

  handBack(entries: readonly StreamEntry[]): Promise<void> {
    this.handedBack.push(...entries.map(({ id }) => id));
    return Promise.resolve();
  }

  lag(): Promise<readonly StreamLag[]> {
    return Promise.resolve([{ stream: STREAM, unread: this.#unread.length, pending: this.#pending.size }]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
