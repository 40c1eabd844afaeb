import { expect, test } from "bun:test";
import { addressOf } from "../../src/ffi/memory.ts";
import { shim, shimOffThread } from "../../src/ffi/shim.ts";

/** `cudaErrorNotReady`: an event of this value answers so, as the query is an echo. */
const NOT_READY = 600n;

function board(...events: readonly bigint[]): { events: BigUint64Array; marks: Int32Array } {
  const own = new BigUint64Array(new ArrayBuffer(8 * events.length));
  own.set(events);
  return { events: own, marks: new Int32Array(new ArrayBuffer(4 * events.length)).fill(1) };
}

function wait({ events, marks }: ReturnType<typeof board>): Promise<number> {
  const echo = shim().bt_echo_i32.ptr;
  return shimOffThread("bt_wait_any")(-1, echo, addressOf(events), addressOf(marks), events.length, 20);
}

test("bt_wait_any() marks what is done, and returns at once where nothing is waited for", async () => {
  const own = board(NOT_READY, 0n, NOT_READY);
  expect(await wait(own)).toBe(1);
  expect([...own.marks]).toEqual([1, 2, 1]);
  const idle = board(NOT_READY);
  idle.marks[0] = 0;
  expect(await wait(idle)).toBe(0);
});

test("bt_wait_any() counts a failed event as done", async () => {
  const own = board(700n, NOT_READY);
  expect(await wait(own)).toBe(1);
  expect([...own.marks]).toEqual([2, 1]);
});

test("bt_wait_any() sees what becomes done, and what is added, while it waits", async () => {
  const own = board(NOT_READY, 0n);
  own.marks[1] = 0;
  const waiting = wait(own);
  await Bun.sleep(5);
  Atomics.store(own.marks, 1, 1);
  expect(await waiting).toBe(1);
  expect([...own.marks]).toEqual([1, 2]);

  const other = board(NOT_READY);
  const later = wait(other);
  await Bun.sleep(5);
  other.events[0] = 0n;
  expect(await later).toBe(1);
});
