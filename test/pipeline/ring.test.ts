import { expect, test } from "bun:test";
import { ClosedError } from "../../src/core/errors.ts";
import { SlotPool } from "../../src/runtime/slots.ts";

class Item {
  closed = 0;
  close(): void {
    this.closed += 1;
  }
}

test("SlotPool.acquire() hands out each item once, then waits in order", async () => {
  const ring = new SlotPool([new Item(), new Item()]);
  const a = await ring.acquire();
  const b = await ring.acquire();
  expect(a).not.toBe(b);
  const order: string[] = [];
  const third = ring.acquire().then((item) => {
    order.push("third");
    return item;
  });
  const fourth = ring.acquire().then((item) => {
    order.push("fourth");
    return item;
  });
  await Bun.sleep(1);
  expect(order).toEqual([]);
  ring.release(b);
  expect(await third).toBe(b);
  expect(order).toEqual(["third"]);
  ring.release(a);
  expect(await fourth).toBe(a);
});

test("SlotPool.stalledMs counts while all slots of devices that are not lost are taken, from the last that was given back", async () => {
  const [a, b, lost] = [new Item(), new Item(), new Item()];
  const ring = new SlotPool([a, b], [lost]);
  ring.retire(lost);
  expect(ring.stalledMs).toBe(0);
  await ring.acquire();
  expect(ring.stalledMs).toBe(0);
  await ring.acquire();
  void ring.acquire();
  await Bun.sleep(20);
  expect(ring.stalledMs).toBeGreaterThan(15);
  const releasedAt = performance.now();
  ring.release(a);
  expect(ring.stalledMs).toBeLessThanOrEqual(performance.now() - releasedAt);
  ring.release(a);
  expect(ring.stalledMs).toBe(0);
});

test("SlotPool.close() waits for running and waiting frames, refuses new ones, closes every item once", async () => {
  const items = [new Item()];
  const ring = new SlotPool(items);
  const running = await ring.acquire();
  const waiting = ring.acquire();
  let done = false;
  const closing = Promise.all([ring.close(), ring.close()]).then(() => {
    done = true;
  });
  await expect(ring.acquire()).rejects.toThrow(ClosedError);
  ring.release(running);
  const last = await waiting;
  await Bun.sleep(1);
  expect(done).toBe(false);
  expect(items[0]!.closed).toBe(0);
  ring.release(last);
  await closing;
  expect(items[0]!.closed).toBe(1);
});

test("SlotPool.close() of an idle ring closes at once", async () => {
  const items = [new Item(), new Item()];
  await new SlotPool(items).close();
  expect(items.map((item) => item.closed)).toEqual([1, 1]);
});

test("SlotPool takes slots from the device with the smallest busy share, by turns where it is equal", async () => {
  const devices = [
    [new Item(), new Item()],
    [new Item(), new Item(), new Item(), new Item()],
  ];
  const ring = new SlotPool(...devices);
  const deviceOf = (item: Item): number => devices.findIndex((slots) => slots.includes(item));
  const taken: Item[] = [];
  for (let step = 0; step < 6; step++) taken.push(await ring.acquire());
  // Busy shares before each: 0|0, 1/2|0, 1/2|1/4, 1/2|1/2, then by turns until both are full.
  expect(taken.map(deviceOf).slice(0, 3)).toEqual([0, 1, 1]);
  expect(taken.map(deviceOf).sort()).toEqual([0, 0, 1, 1, 1, 1]);
  expect(ring.busy).toBe(6);
  for (const item of taken) ring.release(item);
  const alternating: number[] = [];
  for (let step = 0; step < 4; step++) {
    const item = await ring.acquire();
    alternating.push(deviceOf(item));
    ring.release(item);
  }
  expect(alternating[0]).not.toBe(alternating[1]!);
  expect(alternating.slice(0, 2)).toEqual(alternating.slice(2));
  await ring.close();
});

test("SlotPool.retire() hands out no slot of a lost device, but keeps the last device", async () => {
  const [a, b] = [new Item(), new Item()];
  const ring = new SlotPool([a], [b]);
  const held = [await ring.acquire(), await ring.acquire()];
  const waiting = ring.acquire();
  expect(ring.retire(a)).toBe(true);
  expect(ring.retire(a)).toBe(false);
  expect(ring.retire(b)).toBe(false);
  ring.release(a);
  await Bun.sleep(1);
  expect(ring.busy).toBe(1);
  ring.release(b);
  expect(await waiting).toBe(b);
  expect(held).toContain(a);
  ring.release(b);
  expect(await ring.acquire()).toBe(b);
  ring.release(b);
  await ring.close();
  expect([a.closed, b.closed]).toEqual([1, 1]);
});

test("SlotPool.close() closes every item, also when one throws", async () => {
  const broken = new Item();
  broken.close = () => {
    throw new Error("lost device");
  };
  const items = [new Item(), broken, new Item()];
  await expect(new SlotPool([items[0]!, broken], [items[2]!]).close()).rejects.toThrow("lost device");
  expect([items[0]!.closed, items[2]!.closed]).toEqual([1, 1]);
});

test("SlotPool serves ten thousand waiting callers in order", async () => {
  const ring = new SlotPool([new Item()]);
  const first = await ring.acquire();
  const order: number[] = [];
  const all = Array.from({ length: 10_000 }, (_, index) =>
    ring.acquire().then((item) => {
      order.push(index);
      ring.release(item);
    }),
  );
  ring.release(first);
  await Promise.all(all);
  expect(order).toEqual(Array.from({ length: 10_000 }, (_, index) => index));
  await ring.close();
});
