import { expect, test } from "bun:test";
import { addressOf } from "../../src/ffi/pointer.ts";
import { shim, shimOffThread } from "../../src/ffi/shim.ts";

/** `cudaErrorNotReady`: an event of this value answers so, as the query is an echo. */
const NOT_READY = 600n;

function board(...events: readonly bigint[]): { events: BigUint64Array; marks: Int32Array } {
  const own = new BigUint64Array(new ArrayBuffer(8 * events.length));
  own.set(events);
  return { events: own, marks: new Int32Array(new ArrayBuffer(4 * events.length)).fill(1) };
}

function wait({ events, marks }: ReturnType<typeof board>, wanted: number, lingerUs = 0): Promise<number> {
  const echo = shim().bt_echo_i32.ptr;
  const [from, of] = [addressOf(events), addressOf(marks)];
  return shimOffThread("bt_wait_any")(-1, echo, from, of, events.length, wanted, lingerUs, 20);
}

test("bt_wait_any() returns at once where enough is done, and where nothing is waited for", async () => {
  expect(await wait(board(NOT_READY, 0n, NOT_READY), 1)).toBe(1);
  expect(await wait(board(0n, 0n), 5)).toBe(2);
  const idle = board(NOT_READY);
  idle.marks[0] = 0;
  expect(await wait(idle, 1)).toBe(0);
});

test("bt_wait_any() counts a failed event as done", async () => {
  expect(await wait(board(NOT_READY, 700n), 1)).toBe(1);
});

test("bt_wait_any() sees what becomes done, and what is added, while it waits", async () => {
  const own = board(NOT_READY, 0n);
  own.marks[1] = 0;
  const waiting = wait(own, 1);
  await Bun.sleep(5);
  Atomics.store(own.marks, 1, 1);
  expect(await waiting).toBe(1);

  const other = board(NOT_READY);
  const later = wait(other, 1);
  await Bun.sleep(5);
  other.events[0] = 0n;
  expect(await later).toBe(1);
});

test("bt_wait_any() lingers for more, and no longer than it is told", async () => {
  const started = performance.now();
  expect(await wait(board(NOT_READY, 0n), 2, 20_000)).toBe(1);
  expect(performance.now() - started).toBeGreaterThan(15);
});
