import { expect, test } from "bun:test";
import { Candidates } from "../../src/model/rows.ts";

test("Candidates grow, keep their rows and their memory", () => {
  const candidates = new Candidates(0);
  for (let row = 0; row < 100; row++) candidates.push(row, 0, row + 1, 2, row / 100, row, 1000 + row);
  expect(candidates.count).toBe(100);
  expect([...candidates.boxes.subarray(396, 400)]).toEqual([99, 0, 100, 2]);
  expect(candidates.classIds[99]).toBe(99);
  expect([candidates.sources[0], candidates.sources[99]]).toEqual([1000, 1099]);
  const { boxes } = candidates;
  candidates.clear();
  expect(candidates.count).toBe(0);
  candidates.push(0, 0, 1, 1, 1, 0, 0);
  expect(candidates.boxes).toBe(boxes);
});

test("Candidates.push() drops and counts NaN and infinities, also those that only f32 has", () => {
  const candidates = new Candidates();
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e300];
  for (const value of bad) {
    for (let at = 0; at < 5; at++) {
      const row = [0, 0, 1, 1, 0.5];
      row[at] = value;
      candidates.push(row[0]!, row[1]!, row[2]!, row[3]!, row[4]!, 0, 0);
    }
  }
  expect(candidates.count).toBe(0);
  expect(candidates.dropped).toBe(20);
  // Large f32 whose sum f32 could not hold are kept.
  candidates.push(-3e38, -3e38, 3e38, 3e38, 0.5, 0, 0);
  expect(candidates.count).toBe(1);
  candidates.clear();
  expect(candidates.dropped).toBe(0);
});

test("Candidates.push() leaves boxes without area out, silently", () => {
  const candidates = new Candidates();
  for (const [x1, y1, x2, y2] of [
    [0, 0, 0, 0],
    [5, 5, 5, 9],
    [5, 5, 9, 5],
    [9, 5, 5, 9],
    [5, 9, 9, 5],
    // The same number in f32.
    [100_000_000, 0, 100_000_001, 1],
  ] as const) {
    candidates.push(x1, y1, x2, y2, 0.5, 0, 0);
  }
  expect(candidates.count).toBe(0);
  expect(candidates.dropped).toBe(0);
});
