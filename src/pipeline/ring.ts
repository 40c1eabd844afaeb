/** @module Ring: a fixed number of slots, on one machine or several, handed out in turn; who finds none waits. */

import { ClosedError } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";

/** Anything a ring can hold. */
export interface RingItem {
  close(): void;
}

/** Who asks a ring for a slot. Neither call may throw. */
export interface Waiter<Item> {
  /** A slot is there, maybe before `request` has returned: give it back with `release`, whatever happens. */
  take(item: Item): void;
  /** There will be none. */
  refuse(error: ClosedError): void;
}

/** The slots of one device. */
interface Lane<Item> {
  readonly items: readonly Item[];
  readonly free: Item[];
  isRetired: boolean;
}

/**
 * A fixed set of slots with back-pressure: who asks waits, first come first served, until one is released. Slots come in
 * lanes, one a device: a free one is taken from the lane with the smallest share of busy slots, by turns where it is equal.
 */
export class Ring<Item extends RingItem> {
  /** Number of slots. */
  readonly length: number;
  readonly #lanes: readonly Lane<Item>[];
  readonly #laneOf = new Map<Item, Lane<Item>>();
  readonly #waiting = new Fifo<Waiter<Item>>();
  /** The lane that is looked at first. */
  #turn = 0;
  #busy = 0;
  #drained: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @param lanes slots by device, each at least one; owned by the ring from now on */
  constructor(...lanes: readonly (readonly Item[])[]) {
    this.#lanes = lanes.map((items) => ({ items, free: [...items], isRetired: false }));
    for (const lane of this.#lanes) for (const item of lane.items) this.#laneOf.set(item, lane);
    this.length = this.#laneOf.size;
  }

  /** Number of slots that are taken. */
  get busy(): number {
    return this.#busy;
  }

  /** Ask for a slot: the waiter gets a free one before this returns, else in its turn. */
  request(waiter: Waiter<Item>): void {
    if (this.#closed !== undefined) {
      waiter.refuse(new ClosedError("start another frame", `ring of ${this.length} slots`));
      return;
    }
    const lane = this.#leastLoaded();
    if (lane === undefined) {
      this.#waiting.push(waiter);
      return;
    }
    this.#busy += 1;
    waiter.take(lane.free.pop()!);
  }

  /**
   * Take a slot; give it back with `release`, whatever happens.
   *
   * @throws {ClosedError} If the ring is closing
   */
  acquire(): Promise<Item> {
    return new Promise((take, refuse) => this.request({ take, refuse }));
  }

  /** Give a slot back; the longest waiting caller gets it. */
  release(item: Item): void {
    const lane = this.#laneOf.get(item)!;
    const next = lane.isRetired ? undefined : this.#waiting.shift();
    if (next !== undefined) {
      next.take(item);
      return;
    }
    lane.free.push(item);
    this.#busy -= 1;
    if (this.#busy === 0) this.#drained?.();
  }

  /**
   * Hand out no slot of this one's lane any more, as its device is lost. The last lane stays, so that its callers are told
   * by the device itself what is wrong with it.
   *
   * @returns true if the lane has been retired now; false if it is the last one, or was retired before
   */
  retire(item: Item): boolean {
    const lane = this.#laneOf.get(item)!;
    if (lane.isRetired || this.#lanes.every((other) => other === lane || other.isRetired)) return false;
    lane.isRetired = true;
    return true;
  }

  /** Refuse new frames, wait for those that are running or waiting, then close every slot. */
  close(): Promise<void> {
    this.#closed ??= this.#drain();
    return this.#closed;
  }

  /** The lane to take a slot from; `undefined` if none is free. */
  #leastLoaded(): Lane<Item> | undefined {
    const { length } = this.#lanes;
    let best: Lane<Item> | undefined;
    let bestShare = 0;
    let bestAt = 0;
    for (let step = 0; step < length; step++) {
      const at = (this.#turn + step) % length;
      const lane = this.#lanes[at]!;
      const share = lane.free.length / lane.items.length;
      if (lane.isRetired || share <= bestShare) continue;
      best = lane;
      bestShare = share;
      bestAt = at;
    }
    if (best !== undefined) this.#turn = (bestAt + 1) % length;
    return best;
  }

  async #drain(): Promise<void> {
    if (this.#busy > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    // What a slot of a lost device throws when it is closed does not keep the others open.
    using stack = new DisposableStack();
    for (const item of this.#laneOf.keys()) stack.defer(() => item.close());
  }
}
