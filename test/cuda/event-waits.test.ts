import { expect, test } from "bun:test";
import type { Handle } from "../../src/core/units.ts";
import { type EventCalls, EventWaits, type WaitedEvent } from "../../src/cuda/event-waits.ts";
import type { WaitMode } from "../../src/cuda/wait.ts";

const NOT_READY = 600;

/** A machine with events that are done when the test says so. */
class FakeDriver implements EventCalls {
  readonly status = new Map<number, number>();
  readonly sleepers = new Map<number, (status: number) => void>();
  queries = 0;
  sleeps = 0;

  query(handle: number): number {
    this.queries += 1;
    return this.status.get(handle) ?? NOT_READY;
  }

  synchronize(handle: number): Promise<number> {
    this.sleeps += 1;
    const status = this.status.get(handle);
    if (status !== undefined) return Promise.resolve(status);
    return new Promise((resolve) => this.sleepers.set(handle, resolve));
  }

  finish(handle: number, status = 0): void {
    this.status.set(handle, status);
    this.sleepers.get(handle)?.(status);
    this.sleepers.delete(handle);
  }
}

class FakeEvent implements WaitedEvent {
  readonly handle: Handle<"cudaEvent_t">;
  averageWaitMs = 0;
  waits = 0;

  constructor(handle: number) {
    this.handle = handle as Handle<"cudaEvent_t">;
  }

  checkWaited(status: number, call: string): void {
    if (status !== 0) throw new Error(`${call} ${status}`);
  }

  noteWait(): void {
    this.waits += 1;
  }

  noteWaitEnd(): void {
    this.waits -= 1;
  }
}

function setUp(mode: WaitMode, count: number): { driver: FakeDriver; waits: EventWaits; events: FakeEvent[] } {
  const driver = new FakeDriver();
  return {
    driver,
    waits: new EventWaits(mode, driver),
    events: Array.from({ length: count }, (_, at) => new FakeEvent(at + 1)),
  };
}

test('EventWaits "off-thread" sleeps once for the oldest and settles what is done with it', async () => {
  const { driver, waits, events } = setUp("off-thread", 3);
  const settled: number[] = [];
  const all = events.map((event) =>
    waits
      .of(event)
      .done()
      .then(() => settled.push(event.handle)),
  );
  expect([waits.length, driver.sleeps]).toEqual([3, 1]);
  driver.status.set(3, 0);
  driver.finish(1);
  await all[0];
  await all[2];
  expect(settled).toEqual([1, 3]);
  expect(events.map((event) => event.waits)).toEqual([0, 1, 0]);
  driver.finish(2);
  await Promise.all(all);
  expect([waits.length, driver.sleeps]).toEqual([0, 2]);
});

test('EventWaits "poll" never sleeps', async () => {
  const { driver, waits, events } = setUp("poll", 2);
  const all = Promise.all(events.map((event) => waits.of(event).done()));
  await Bun.sleep(2);
  expect(driver.queries).toBeGreaterThan(2);
  driver.finish(1);
  driver.finish(2);
  await all;
  expect(driver.sleeps).toBe(0);
});

test('EventWaits "auto" polls for one short event, and sleeps where several are under way or waits are long', async () => {
  const { driver, waits, events } = setUp("auto", 2);
  const [first, second] = events.map((event) => waits.of(event));
  const alone = first!.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(driver.sleeps).toBe(0);
  const joined = second!.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(driver.sleeps).toBe(1);
  driver.finish(1);
  await alone;
  driver.finish(2);
  await joined;

  driver.status.clear();
  events[0]!.averageWaitMs = 5;
  const long = first!.done();
  const { sleeps } = driver;
  driver.finish(1);
  await long;
  expect(sleeps).toBeGreaterThan(1);
});

test('EventWaits "auto" gives up polling where a wait is longer than those before', async () => {
  const { driver, waits, events } = setUp("auto", 1);
  const wait = waits.of(events[0]!).done();
  await Bun.sleep(10);
  expect(driver.sleeps).toBe(1);
  driver.finish(1);
  await wait;
  expect(events[0]!.averageWaitMs).toBeGreaterThan(2);
});

test.each(["poll", "off-thread", "auto"] as const)("EventWaits %p rejects the failed event alone", async (mode) => {
  const { driver, waits, events } = setUp(mode, 3);
  const all = Promise.allSettled(events.map((event) => waits.of(event).done()));
  driver.finish(2, 700);
  driver.finish(3);
  driver.finish(1);
  expect((await all).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(waits.length).toBe(0);
});

test("EventWaits rejects the oldest where the sleeping thread itself fails, and goes on with the others", async () => {
  const { driver, waits, events } = setUp("off-thread", 2);
  driver.synchronize = (handle) => (handle === 1 ? Promise.reject(new Error("no thread")) : Promise.resolve(0));
  const [first, second] = events.map((event) => waits.of(event).done());
  driver.status.set(2, 0);
  await expect(first).rejects.toThrow("no thread");
  await second;
});

test("EventWaits serves 20,000 waits that begin again as soon as they end", async () => {
  const { driver, waits, events } = setUp("off-thread", 8);
  driver.synchronize = () => Promise.resolve(0);
  driver.query = () => 0;
  let count = 0;
  const loops = events.map(async (event) => {
    const wait = waits.of(event);
    while (count < 20_000) {
      count += 1;
      await wait.done();
    }
  });
  await Promise.all(loops);
  expect(count).toBe(20_000);
});
