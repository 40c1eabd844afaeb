/** @module SlotPool: a fixed number of slots, on one machine or several, handed out in turn; who finds none waits. */

import { BunTensorRtError, ClosedError, message } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";
import { logger } from "../core/log.ts";
import { createTensor, type Shape, type Tensor } from "../core/tensor.ts";
import type { SizeInput } from "../heads/head.ts";
import type { SourceBytes } from "../image/source.ts";
import type { DecodeOutcome, Size, StageTimings } from "./backend.ts";

/** Who asks a pool for a slot. Neither call may throw. */
export interface Waiter<Item> {
  /** A slot is there, maybe before `request` has returned: give it back with `release`, whatever happens. */
  take(item: Item): void;
  /** There will be none. */
  refuse(error: ClosedError): void;
}

interface DeviceSlots<Item> {
  /** How many there are. */
  readonly count: number;
  readonly free: Item[];
  isRetired: boolean;
}

/** What takes the place of a slot that is busy. */
interface Successor<Item> {
  readonly item: Item;
  /** The slot is closed. */
  readonly onClosed: () => void;
}

/**
 * A fixed set of slots with back-pressure: who asks waits, first come first served, until one is released. Slots come by
 * device: a free one is taken from the device with the smallest share of busy slots, by turns where it is equal.
 */
export class SlotPool<Item extends { close(): void }> {
  /** Number of slots. */
  readonly length: number;
  readonly #devices: readonly DeviceSlots<Item>[];
  readonly #deviceOf = new Map<Item, DeviceSlots<Item>>();
  readonly #waiting = new Fifo<Waiter<Item>>();
  /** The device that is looked at first. */
  #turn = 0;
  #busy = 0;
  /** When a slot was last handed out of the free ones, or given back. */
  #movedAt = 0;
  #drained: (() => void) | undefined;
  /** What takes the place of slots that are busy. */
  readonly #successors = new Map<Item, Successor<Item>>();
  #closed: Promise<void> | undefined;

  /** @param slots by device, each at least one; owned by the pool from now on */
  constructor(...slots: readonly (readonly Item[])[]) {
    this.#devices = slots.map((items) => ({ count: items.length, free: [...items], isRetired: false }));
    for (const [at, device] of this.#devices.entries()) {
      for (const item of slots[at]!) this.#deviceOf.set(item, device);
    }
    this.length = this.#deviceOf.size;
  }

  /** Number of slots that are taken. */
  get busy(): number {
    return this.#busy;
  }

  /** For how long all slots have been taken without one being given back, in milliseconds; 0 while one is free. */
  get stalledMs(): number {
    const isFull = this.#devices.every((device) => device.isRetired || device.free.length === 0);
    return isFull ? performance.now() - this.#movedAt : 0;
  }

  /** Ask for a slot: the waiter gets a free one before this returns, else in its turn. */
  request(waiter: Waiter<Item>): void {
    if (this.#closed !== undefined) {
      waiter.refuse(new ClosedError("start another frame", `pool of ${this.length} slots`));
      return;
    }
    const device = this.#leastLoaded();
    if (device === undefined) {
      this.#waiting.push(waiter);
      return;
    }
    this.#busy += 1;
    this.#movedAt = performance.now();
    waiter.take(device.free.pop()!);
  }

  /** Take a slot; give it back with `release`, whatever happens. @throws {ClosedError} If the pool is closing */
  acquire(): Promise<Item> {
    return new Promise((take, refuse) => this.request({ take, refuse }));
  }

  /** Give a slot back; the longest waiting caller gets it. */
  release(item: Item): void {
    this.#movedAt = performance.now();
    const successor = this.#successors.size === 0 ? undefined : this.#successors.get(item);
    if (successor !== undefined) {
      this.#successors.delete(item);
      this.#exchange(item, successor.item);
      item = successor.item;
      successor.onClosed();
    }
    const device = this.#deviceOf.get(item)!;
    const next = device.isRetired ? undefined : this.#waiting.shift();
    if (next !== undefined) {
      next.take(item);
      return;
    }
    device.free.push(item);
    this.#busy -= 1;
    if (this.#busy === 0) this.#drained?.();
  }

  /**
   * Hand out no slot of this one's device any more, as it is lost. The last device stays, so that its callers are told by
   * the device itself what is wrong with it.
   *
   * @returns whether it was retired now
   */
  retire(item: Item): boolean {
    const device = this.#deviceOf.get(item)!;
    if (device.isRetired || this.#devices.every((other) => other === device || other.isRetired)) return false;
    device.isRetired = true;
    return true;
  }

  /**
   * Put other slots in the place of some of one device, which are closed: at once where they are free, else when they are given
   * back. No more are busy at a time than before, so that frames keep their order.
   *
   * @param others as many; owned by the pool from now on
   * @returns once all that were replaced are closed
   */
  async replace(items: readonly Item[], others: readonly Item[]): Promise<void> {
    const closed = items.map((item, at) => {
      const successor = others[at]!;
      const device = this.#deviceOf.get(item)!;
      const place = device.free.indexOf(item);
      if (place >= 0) {
        device.free[place] = successor;
        this.#exchange(item, successor);
        return undefined;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#successors.set(item, { item: successor, onClosed: resolve });
      this.#deviceOf.set(successor, device);
      return promise;
    });
    await Promise.all(closed);
  }

  #exchange(item: Item, successor: Item): void {
    this.#deviceOf.set(successor, this.#deviceOf.get(item)!);
    this.#deviceOf.delete(item);
    try {
      item.close();
    } catch (error) {
      // What the last batch did to its device has been told by that.
      logger.error(`A slot that was replaced cannot be closed: ${(error as Error).message}`);
    }
  }

  /** Refuse new frames, wait for those that are running or waiting, then close every slot. */
  close(): Promise<void> {
    this.#closed ??= this.#drain();
    return this.#closed;
  }

  /** The device to take a slot from; `undefined` if none is free. */
  #leastLoaded(): DeviceSlots<Item> | undefined {
    const { length } = this.#devices;
    let best: DeviceSlots<Item> | undefined;
    let bestShare = 0;
    let bestAt = 0;
    for (let step = 0; step < length; step++) {
      const at = (this.#turn + step) % length;
      const device = this.#devices[at]!;
      const share = device.free.length / device.count;
      if (device.isRetired || share <= bestShare) continue;
      best = device;
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
    for (const item of this.#deviceOf.keys()) stack.defer(() => item.close());
  }
}

/** What is made once for a batch size and an input size. */
interface ShapeBinding {
  readonly batch: number;
  readonly size: Size;
  close(): void;
}

/** Shapes that are kept: a few for mixed batches, not one for every image of a folder. */
const MOST = 4;

/** Bindings by shape; the one that was not used for longest makes room. Owns them. */
export class BindingCache<Binding extends ShapeBinding> {
  /** Newest last. */
  readonly #kept: Binding[] = [];

  /** The binding of a shape, which becomes the current one; `undefined` if it has to be made. */
  find(batch: number, [width, height]: Size): Binding | undefined {
    const kept = this.#kept;
    const last = kept.length - 1;
    for (let at = last; at >= 0; at--) {
      const binding = kept[at]!;
      if (binding.batch !== batch || binding.size[0] !== width || binding.size[1] !== height) continue;
      // In place: frames of mixed batches come by here each time.
      for (let next = at; next < last; next++) kept[next] = kept[next + 1]!;
      kept[last] = binding;
      return binding;
    }
    return undefined;
  }

  /** Keep a new binding, which becomes the current one. */
  add(binding: Binding): Binding {
    this.#kept.push(binding);
    if (this.#kept.length > MOST) this.#kept.shift()!.close();
    return binding;
  }

  /** The one that was found or added last. @throws {BunTensorRtError} If there is none yet */
  current(action: string): Binding {
    const binding = this.#kept.at(-1);
    if (binding === undefined) throw new BunTensorRtError(message(action, "nothing has been pre-processed yet"));
    return binding;
  }

  /** Close them all, each whatever happens to the others. */
  close(): void {
    using stack = new DisposableStack();
    for (const binding of this.#kept) stack.defer(() => binding.close());
    this.#kept.length = 0;
  }
}

/** Decode files side by side, each into memory of its own; one that cannot be decoded fails alone. */
export async function decodeAll<Picture>(
  files: readonly SourceBytes[],
  decode: (file: SourceBytes, index: number) => Promise<Picture>,
  timings: StageTimings,
): Promise<DecodeOutcome<Picture>[]> {
  const started = performance.now();
  // Async, so that what one throws at once leaves none of the others running unseen.
  const settled = await Promise.allSettled(files.map(async (file, index) => decode(file, index)));
  timings.decode = performance.now() - started;
  return settled.map((result) =>
    result.status === "fulfilled" ? { image: result.value } : { error: result.reason as unknown },
  );
}

/** Fill an input that wants the size of the images: it gets the input's own, so that boxes come out in input pixels. */
export function sizeTensor(input: SizeInput, declared: Shape, batch: number, [width, height]: Size): Tensor {
  if (input.content === "mask") {
    const [, rows = -1, columns = -1] = declared;
    return filled(createTensor(input.dtype, [batch, rows < 0 ? height : rows, columns < 0 ? width : columns]), [1]);
  }
  const row = { "width-height": [width, height], "height-width": [height, width], ones: [1, 1] }[input.content];
  return filled(createTensor(input.dtype, [batch, 2]), row);
}

function filled(tensor: Tensor, pattern: readonly number[]): Tensor {
  const { dtype, data } = tensor;
  for (let at = 0; at < data.length; at++) {
    const value = pattern[at % pattern.length]!;
    data[at] = dtype === "i64" ? BigInt(value) : value;
  }
  return tensor;
}
