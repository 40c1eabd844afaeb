import { expect, test } from "bun:test";
import { type PooledStream, StreamPool } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import type { Stream } from "../../../src/cuda/stream.ts";

/** StreamPool only carry streams about: what they are does not count. */
function lanesOf(count: number): StreamPool {
  return new StreamPool(Array.from({ length: count }, (_, at) => ({ at }) as unknown as Stream));
}

function numberOf(lane: PooledStream): number {
  return (lane.stream as unknown as { at: number }).at;
}

test("StreamPool.take() gives every lane a batch before any gets a second", () => {
  const lanes = lanesOf(3);
  const taken = Array.from({ length: 7 }, () => numberOf(lanes.take()));
  expect(taken).toEqual([0, 1, 2, 0, 1, 2, 0]);
});

test("StreamPool.take() prefers the lane that was given back", () => {
  const lanes = lanesOf(4);
  const taken = Array.from({ length: 8 }, () => lanes.take());
  lanes.giveBack(taken[2]!);
  expect(numberOf(lanes.take())).toBe(2);
  lanes.giveBack(taken[3]!);
  lanes.giveBack(taken[7]!);
  expect([lanes.take(), lanes.take(), lanes.take()].map(numberOf)).toEqual([3, 3, 0]);
  expect(lanes.first.batches).toBe(3);
});

test("StreamPool.take() of a single lane is that lane", () => {
  const lanes = lanesOf(1);
  expect([lanes.take(), lanes.take()].map(numberOf)).toEqual([0, 0]);
  expect(lanes.first.batches).toBe(2);
});
