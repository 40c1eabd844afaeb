import { expect, test } from "bun:test";
import { ClosedError } from "../../src/core/errors.ts";
import { Ring } from "../../src/pipeline/ring.ts";

class Item {
  closed = 0;
  close(): void {
    this.closed += 1;
  }
}

test("Ring.acquire() hands out each item once, then waits in order", async () => {
  const ring = new Ring([new Item(), new Item()]);
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

test("Ring.close() waits for running and waiting frames, refuses new ones, closes every item once", async () => {
  const items = [new Item()];
  const ring = new Ring(items);
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

test("Ring.close() of an idle ring closes at once", async () => {
  const items = [new Item(), new Item()];
  await new Ring(items).close();
  expect(items.map((item) => item.closed)).toEqual([1, 1]);
});
