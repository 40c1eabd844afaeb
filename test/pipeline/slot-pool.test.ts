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
  const pool = new SlotPool([new Item(), new Item()]);
  const a = await pool.acquire();
  const b = await pool.acquire();
  expect(a).not.toBe(b);
  const order: string[] = [];
  const third = pool.acquire().then((item) => {
    order.push("third");
    return item;
  });
  const fourth = pool.acquire().then((item) => {
    order.push("fourth");
    return item;
  });
  await Bun.sleep(1);
  expect(order).toEqual([]);
  pool.release(b);
  expect(await third).toBe(b);
  expect(order).toEqual(["third"]);
  pool.release(a);
  expect(await fourth).toBe(a);
});

test("SlotPool.stalledMs counts while all slots of devices that are not lost are taken, from the last that was given back", async () => {
  const [a, b, lost] = [new Item(), new Item(), new Item()];
  const pool = new SlotPool([a, b], [lost]);
  pool.retire(lost);
  expect(pool.stalledMs).toBe(0);
  await pool.acquire();
  expect(pool.stalledMs).toBe(0);
  await pool.acquire();
  void pool.acquire();
  await Bun.sleep(20);
  expect(pool.stalledMs).toBeGreaterThan(15);
  const releasedAt = performance.now();
  pool.release(a);
  expect(pool.stalledMs).toBeLessThanOrEqual(performance.now() - releasedAt);
  pool.release(a);
  expect(pool.stalledMs).toBe(0);
});

test("SlotPool.close() waits for running and waiting frames, refuses new ones, closes every item once", async () => {
  const items = [new Item()];
  const pool = new SlotPool(items);
  const running = await pool.acquire();
  const waiting = pool.acquire();
  let done = false;
  const closing = Promise.all([pool.close(), pool.close()]).then(() => {
    done = true;
  });
  await expect(pool.acquire()).rejects.toThrow(ClosedError);
  pool.release(running);
  const last = await waiting;
  await Bun.sleep(1);
  expect(done).toBe(false);
  expect(items[0]!.closed).toBe(0);
  pool.release(last);
  await closing;
  expect(items[0]!.closed).toBe(1);
});

test("SlotPool.close() of an idle pool closes at once", async () => {
  const items = [new Item(), new Item()];
  await new SlotPool(items).close();
  expect(items.map((item) => item.closed)).toEqual([1, 1]);
});

test("SlotPool takes slots from the device with the smallest busy share, by turns where it is equal", async () => {
  const devices = [
    [new Item(), new Item()],
    [new Item(), new Item(), new Item(), new Item()],
  ];
  const pool = new SlotPool(...devices);
  const deviceOf = (item: Item): number => devices.findIndex((slots) => slots.includes(item));
  const taken: Item[] = [];
  for (let step = 0; step < 6; step++) taken.push(await pool.acquire());
  // Busy shares before each: 0|0, 1/2|0, 1/2|1/4, 1/2|1/2, then by turns until both are full.
  expect(taken.map(deviceOf).slice(0, 3)).toEqual([0, 1, 1]);
  expect(taken.map(deviceOf).sort()).toEqual([0, 0, 1, 1, 1, 1]);
  expect(pool.busy).toBe(6);
  for (const item of taken) pool.release(item);
  const alternating: number[] = [];
  for (let step = 0; step < 4; step++) {
    const item = await pool.acquire();
    alternating.push(deviceOf(item));
    pool.release(item);
  }
  expect(alternating[0]).not.toBe(alternating[1]!);
  expect(alternating.slice(0, 2)).toEqual(alternating.slice(2));
  await pool.close();
});

test("SlotPool.retire() hands out no slot of a lost device, but keeps the last device", async () => {
  const [a, b] = [new Item(), new Item()];
  const pool = new SlotPool([a], [b]);
  const held = [await pool.acquire(), await pool.acquire()];
  const waiting = pool.acquire();
  expect(pool.retire(a)).toBe(true);
  expect(pool.retire(a)).toBe(false);
  expect(pool.retire(b)).toBe(false);
  pool.release(a);
  await Bun.sleep(1);
  expect(pool.busy).toBe(1);
  pool.release(b);
  expect(await waiting).toBe(b);
  expect(held).toContain(a);
  pool.release(b);
  expect(await pool.acquire()).toBe(b);
  pool.release(b);
  await pool.close();
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
  const pool = new SlotPool([new Item()]);
  const first = await pool.acquire();
  const order: number[] = [];
  const all = Array.from({ length: 10_000 }, (_, index) =>
    pool.acquire().then((item) => {
      order.push(index);
      pool.release(item);
    }),
  );
  pool.release(first);
  await Promise.all(all);
  expect(order).toEqual(Array.from({ length: 10_000 }, (_, index) => index));
  await pool.close();
});
