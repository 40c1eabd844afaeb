import { expect, test } from "bun:test";
import { swapFigures } from "../../bench/support/swap-figures.ts";

test("the longest gap is found in the part of the run in which it ends", () => {
  const frames = Array.from({ length: 40 }, (_, at) => ({ ms: 500 + at * 100, isFull: false }));
  // The full engine's first result comes 300 ms after the last of the quick one.
  for (let at = 0; at < 30; at++) frames.push({ ms: 4700 + at * 50, isFull: true });
  // One hold is behind the gap for the most part, another before it.
  const { firstMs, swapMs, spans } = swapFigures(frames, [
    [4100, 4350],
    [4500, 4950],
  ]);
  expect([firstMs, swapMs]).toEqual([500, 4700]);
  expect(spans.map(({ name, longestMs, p50Ms }) => [name, longestMs, p50Ms])).toEqual([
    ["before", 100, 100],
    ["around the swap", 300, 50],
    ["after", 50, 50],
  ]);
  expect([spans[1]!.longestAtMs, spans[1]!.heldMs, spans[2]!.heldMs]).toEqual([4400, 200, 0]);
  expect(spans.reduce((sum, { frames: count }) => sum + count, 0)).toBe(frames.length - 1);
  expect(spans[0]!.perSecond).toBeCloseTo(10, 9);
});

test("without a swap all gaps are before it", () => {
  const { swapMs, spans } = swapFigures([0, 10, 40].map((ms) => ({ ms, isFull: false })));
  expect([swapMs, spans.map(({ name, longestMs }) => [name, longestMs])]).toEqual([undefined, [["before", 30]]]);
  expect(() => swapFigures([])).toThrow("no frame came");
});
