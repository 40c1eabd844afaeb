import { expect, test } from "bun:test";
import { type PooledStream, StreamPool } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import type { Stream } from "../../../src/cuda/stream.ts";

/** A StreamPool only carries streams about: what they are does not count. */
function poolOf(count: number): StreamPool {
  return new StreamPool(Array.from({ length: count }, (_, at) => ({ at }) as unknown as Stream));
}

function numberOf(pooled: PooledStream): number {
  return (pooled.stream as unknown as { at: number }).at;
}

test("StreamPool.take() gives every stream a batch before any gets a second", () => {
  const pool = poolOf(3);
  const taken = Array.from({ length: 7 }, () => numberOf(pool.take()));
  expect(taken).toEqual([0, 1, 2, 0, 1, 2, 0]);
});

test("StreamPool.take() prefers the stream that was given back", () => {
  const pool = poolOf(4);
  const taken = Array.from({ length: 8 }, () => pool.take());
  pool.giveBack(taken[2]!);
  expect(numberOf(pool.take())).toBe(2);
  pool.giveBack(taken[3]!);
  pool.giveBack(taken[7]!);
  expect([pool.take(), pool.take(), pool.take()].map(numberOf)).toEqual([3, 3, 0]);
  expect(pool.first.batches).toBe(3);
});

test("StreamPool.take() gives a batch that is alone the first stream, whatever ran before it", () => {
  const pool = poolOf(4);
  for (const last of [3, 1, 2, 0]) {
    const taken = Array.from({ length: 4 }, () => pool.take());
    for (const pooled of taken) if (pooled !== taken[last]) pool.giveBack(pooled);
    pool.giveBack(taken[last]!);
    const alone = pool.take();
    expect([numberOf(alone), pool.batches]).toEqual([0, 1]);
    pool.giveBack(alone);
  }
});

test("StreamPool.take() of a single stream is that stream", () => {
  const pool = poolOf(1);
  expect([pool.take(), pool.take()].map(numberOf)).toEqual([0, 0]);
  expect(pool.first.batches).toBe(2);
});
