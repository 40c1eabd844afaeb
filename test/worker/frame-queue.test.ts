import { expect, test } from "bun:test";
import { FrameQueue, type HeldFrame, isOlder, keyOf } from "../../src/worker/held-frame.ts";
import { UNREADABLE_FRAME } from "../../src/worker/messages.ts";

function frame(sourceId: string, id: string, policy: "all" | "latest"): HeldFrame {
  const entry = { stream: "frames", id, fields: new Map(), deliveries: 1, askedAt: 0, receiveMs: 0 };
  const message = { ...UNREADABLE_FRAME, sourceId };
  const rule = { policy, threshold: 0, classIds: undefined, edgeMargin: undefined, detectOptions: undefined };
  return { key: keyOf(entry), entry, message, rule, readyAt: 0, receiveMs: 0, keptAt: 0, heardAt: 0 };
}

function drain(queue: FrameQueue): string[] {
  const ids: string[] = [];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) ids.push(next.entry.id);
  return ids;
}

test("FrameQueue keeps the order of frames with the policy all", () => {
  const queue = new FrameQueue();
  for (const id of ["1-0", "2-0", "3-0"]) expect(queue.push(frame("a", id, "all"))).toBeUndefined();
  expect(queue.fixedLength).toBe(3);
  expect(drain(queue)).toEqual(["1-0", "2-0", "3-0"]);
});

test("FrameQueue with the policy latest keeps the newest frame of each source", () => {
  const queue = new FrameQueue();
  queue.push(frame("a", "1-0", "latest"));
  queue.push(frame("b", "2-0", "latest"));
  queue.push(frame("c", "2-1", "all"));
  expect(queue.push(frame("a", "3-0", "latest"))?.entry.id).toBe("1-0");
  expect([queue.length, queue.fixedLength]).toEqual([3, 1]);
  // Claimed from a dead worker, and older than what waits.
  expect(queue.push(frame("a", "0-5", "latest"))?.entry.id).toBe("0-5");
  expect(drain(queue)).toEqual(["2-0", "2-1", "3-0"]);
  expect(queue.push(frame("a", "4-0", "latest"))).toBeUndefined();
});

test("isOlder() compares ids as numbers", () => {
  expect(isOlder("9-0", "10-0")).toBe(true);
  expect(isOlder("10-2", "10-11")).toBe(true);
  expect(isOlder("10-11", "10-2")).toBe(false);
  expect(isOlder("10-2", "10-2")).toBe(false);
  // Nanoseconds, as some producers number their frames: more than a float64 holds.
  expect(isOlder("1795283389611000001-0", "1795283389611000002-0")).toBe(true);
  expect(isOlder("1795283389611000002-0", "1795283389611000001-5")).toBe(false);
});
