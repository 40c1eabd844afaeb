import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import type { Handle } from "../../src/core/units.ts";
import type { WaitMode } from "../../src/cuda/event.ts";
import { EventBoard, type EventCalls, EventWaits, type HeldEvent } from "../../src/cuda/event-waits.ts";

const NOT_READY = 600;

/** A machine with events that are done when the test says so. */
class FakeDriver implements EventCalls {
  readonly events: FakeEvent[] = [];
  readonly status = new Map<number, number>();
  queries = 0;
  watches = 0;
  #wake: (() => void) | undefined;

  query(handle: number): number {
    this.queries += 1;
    return this.status.get(handle) ?? NOT_READY;
  }

  watch(board: EventBoard): Promise<void> {
    this.watches += 1;
    return new Promise((resolve) => {
      this.#wake = () => {
        // Places are given in the order of the events.
        const done = this.events.filter((event) => event.waits > 0 && this.status.has(event.handle));
        for (const { handle } of done) board.finish(handle - 1);
        if (done.length > 0) resolve();
      };
      this.#wake();
    });
  }

  finish(handle: number, status = 0): void {
    this.status.set(handle, status);
    this.#wake?.();
  }
}

class FakeEvent implements HeldEvent {
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
  const events = driver.events;
  for (let at = 0; at < count; at++) events.push(new FakeEvent(at + 1));
  return { driver, waits: new EventWaits(mode, driver), events };
}

test('EventWaits "off-thread" watches all events by one call, and settles each that is done', async () => {
  const { driver, waits, events } = setUp("off-thread", 3);
  const settled: number[] = [];
  const all = events.map((event) =>
    waits
      .of(event)
      .done()
      .then(() => settled.push(event.handle)),
  );
  expect([waits.length, driver.watches]).toEqual([3, 1]);
  driver.status.set(3, 0);
  driver.finish(2);
  await all[1];
  await all[2];
  expect(settled).toEqual([2, 3]);
  expect(events.map((event) => event.waits)).toEqual([1, 0, 0]);
  driver.finish(1);
  await Promise.all(all);
  expect([waits.length, driver.watches]).toEqual([0, 2]);
});

test('EventWaits "poll" never sleeps', async () => {
  const { driver, waits, events } = setUp("poll", 2);
  const all = Promise.all(events.map((event) => waits.of(event).done()));
  while (driver.queries <= 2) await Bun.sleep(1);
  driver.finish(1);
  driver.finish(2);
  await all;
  expect(driver.watches).toBe(0);
});

test('EventWaits "auto" polls for one short event, and sleeps where several are under way or waits are long', async () => {
  const { driver, waits, events } = setUp("auto", 2);
  const [first, second] = events.map((event) => waits.of(event));
  const alone = first!.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(driver.watches).toBe(0);
  const joined = second!.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(driver.watches).toBe(1);
  driver.finish(1);
  await alone;
  driver.finish(2);
  await joined;

  driver.status.clear();
  events[0]!.averageWaitMs = 5;
  const long = first!.done();
  const watches = driver.watches;
  driver.finish(1);
  await long;
  expect(watches).toBeGreaterThan(1);
});

test('EventWaits "auto" gives up polling where a wait is longer than those before', async () => {
  const { driver, waits, events } = setUp("auto", 1);
  const wait = waits.of(events[0]!).done();
  while (driver.watches === 0) await Bun.sleep(1);
  await Bun.sleep(10);
  expect(driver.watches).toBe(1);
  driver.finish(1);
  await wait;
  expect(events[0]!.averageWaitMs).toBeGreaterThan(2);
});

test('EventWaits "auto" goes on polling after a single long wait, and leaves it where waits stay long', async () => {
  const { driver, waits, events } = setUp("auto", 1);
  const [event] = events as [FakeEvent];
  const wait = waits.of(event);
  event.averageWaitMs = 0.5;
  const long = async (): Promise<number> => {
    driver.status.clear();
    const watches = driver.watches;
    const ended = wait.done();
    while (driver.watches === watches) await Bun.sleep(1);
    // Longer than twice any average here.
    await Bun.sleep(4);
    driver.finish(1);
    await ended;
    return event.averageWaitMs;
  };
  expect(await long()).toBeCloseTo(0.5625, 9);
  driver.status.clear();
  const watches = driver.watches;
  const next = wait.done();
  expect(driver.watches).toBe(watches);
  driver.finish(1);
  await next;
  for (let times = 0; times < 8; times++) await long();
  expect(event.averageWaitMs).toBeGreaterThan(1);
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

test("EventWaits rejects all where the watching itself fails, and serves the next", async () => {
  const { driver, waits, events } = setUp("off-thread", 2);
  driver.watch = () => Promise.reject(new Error("no thread"));
  const [first, second] = events.map((event) => waits.of(event));
  const both = await Promise.allSettled([first!.done(), second!.done()]);
  expect(both.map((outcome) => String((outcome as PromiseRejectedResult).reason))).toEqual(
    Array(2).fill("Error: no thread"),
  );
  driver.watch = async (board) => board.finish(0);
  driver.status.set(1, 0);
  await first!.done();
});

test("EventBoard gives places back, and refuses more events than it has places", () => {
  const board = new EventBoard();
  const handle = 1 as Handle<"cudaEvent_t">;
  const places = Array.from({ length: 512 }, () => board.add(handle));
  expect(new Set(places).size).toBe(512);
  expect(() => board.add(handle)).toThrow(ArgumentError);
  board.remove(7);
  expect(board.add(handle)).toBe(7);
});

test("EventWaits serves 20,000 waits that begin again as soon as they end", async () => {
  const { driver, waits, events } = setUp("off-thread", 8);
  driver.watch = async (board) => events.forEach((_, place) => void board.finish(place));
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

test("EventWaits asks once a turn of the event loop, and without a pause where waits are short or the end is near", async () => {
  const { driver, waits, events } = setUp("poll", 1);
  const [event] = events as [FakeEvent];
  const ended = waits.of(event).done();
  const queriesOf = async (turns: number): Promise<number> => {
    const before = driver.queries;
    for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    return driver.queries - before;
  };
  event.averageWaitMs = 1e6;
  expect(await queriesOf(100)).toBeLessThanOrEqual(102);
  event.averageWaitMs = 0;
  expect(await queriesOf(100)).toBeGreaterThan(500);
  driver.finish(1);
  await ended;
  // From the first turn on, by the waits before it.
  driver.status.clear();
  event.averageWaitMs = 0.9;
  const again = waits.of(event).done();
  expect(await queriesOf(100)).toBeGreaterThan(500);
  driver.finish(1);
  await again;
});

test("EventWaits lets timers and another's short waits through, and asks nothing of many at once", async () => {
  const both = [setUp("poll", 1), setUp("poll", 1)];
  const ended = both.map(({ waits, events }) => waits.of(events[0]!).done());
  const turns = async (count: number): Promise<void> => {
    for (let at = 0; at < count; at++) await new Promise<void>((resolve) => setImmediate(resolve));
  };
  await Promise.all([turns(20), new Promise((resolve) => setTimeout(resolve, 1))]);
  for (const { driver, waits } of both) {
    expect(waits.length).toBe(1);
    // Each turn asks without a pause, and then once more.
    expect(driver.queries).toBeGreaterThanOrEqual(38);
    driver.finish(1);
  }
  await Promise.all(ended);

  const { driver, waits, events } = setUp("auto", 16);
  const all = events.map((event) => waits.of(event).done());
  await turns(20);
  // The first one was alone when it came.
  expect([driver.queries, driver.watches]).toEqual([16, 1]);
  for (const { handle } of events) driver.finish(handle);
  await Promise.all(all);
  expect(driver.queries).toBeLessThanOrEqual(32);
});
