import { expect, test } from "bun:test";
import { coveredMs, idleShareOf, overlapOf, traceTimeline } from "../../bench/gpu/traced-run.ts";
import { readTrtexecReport } from "../../bench/peers/trtexec.ts";
import { linearScale, logScale, stepOf } from "../../bench/report/scale.ts";
import { windowRates } from "../../bench/support/drive.ts";
import { kneeOf } from "../../bench/support/knee.ts";
import { pinnedBytes } from "../../bench/support/pinned-bytes.ts";
import { inRounds } from "../../bench/support/rounds.ts";
import { driftOf, medianOf, quantileOf, Samples, summarise, tailFigures } from "../../bench/support/samples.ts";
import { stageNames } from "../../bench/support/stage-names.ts";
import { startLoad } from "../../bench/support/thread-time.ts";
import { digits, formatWithUnit } from "../../bench/support/units.ts";
import type { FrameRecord } from "../../src/runtime/backend.ts";

test("percentiles are nearest ranks of all samples, whatever their order", () => {
  const samples = Array.from({ length: 1000 }, (_, at) => ((at * 7919) % 1000) + 1);
  expect(summarise(samples)).toEqual({ count: 1000, min: 1, p50: 500, p90: 900, p99: 990, max: 1000, mean: 500.5 });
  expect(medianOf([3])).toBe(3);
  expect(quantileOf([1, 2], 0.51)).toBe(2);
  expect(medianOf([])).toBeNaN();
});

test("one slow frame in ten thousand is the maximum and nothing else", () => {
  const samples = Array.from({ length: 10_000 }, (_, at) => (at === 4321 ? 99 : 1));
  const { p99, max } = summarise(samples);
  expect([p99, max]).toEqual([1, 99]);
});

test("Samples.row() has median, 90th and 99th percentile and the slowest in columns", () => {
  const samples = new Samples();
  for (let at = 1; at <= 1000; at++) samples.all.push(at);
  expect(samples.row()).toBe("  500.000  900.000  990.000 1000.000");
});

test("the tail of a rate is its low end", () => {
  const rates = Array.from({ length: 100 }, (_, at) => at + 1);
  expect(tailFigures(rates, "higher")).toEqual([
    ["p50", 50],
    ["p10", 10],
    ["p1", 1],
    ["min", 1],
  ]);
  expect(tailFigures(rates, "lower").at(-1)).toEqual(["max", 100]);
});

test("drift is what the medians of ten parts scatter by", () => {
  expect(driftOf(Array.from({ length: 100 }, (_, at) => at % 10))).toBe(0);
  expect(driftOf(Array.from({ length: 100 }, (_, at) => Math.floor(at / 50)))).toBeCloseTo(0.527, 3);
  expect(driftOf([5])).toBe(0);
});

test("the knee is where a step brings less than a quarter of scaling in proportion", () => {
  const at = (...values: number[]): number | undefined => kneeOf(values.map((y, index) => ({ x: 2 ** index, y })));
  expect(at(100, 200, 400, 410, 415)).toBe(4);
  expect(at(100, 101, 102)).toBe(1);
  expect(at(100, 200, 400)).toBe(4);
  // A dip that is made good is no knee.
  expect(at(100, 95, 400, 401)).toBe(4);
  expect(at(100)).toBeUndefined();
});

test("rounds take turns and go backwards every second time", async () => {
  const order: string[] = [];
  const contestant = (name: string) => ({ run: () => void order.push(name) });
  await inRounds([contestant("a"), contestant("b")], 3, (round) => round < 2);
  expect(order.join("")).toBe("abba");
});

test("rates are of groups of frames, and a slow machine's are not rounded to whole frames", () => {
  const steady = Array.from({ length: 100 }, (_, at) => at * 2 + 2);
  expect(windowRates(steady, 200)).toEqual([500, 500, 500, 500]);
  expect(windowRates([200, 430], 400).map(Math.round)).toEqual([5, 4]);
  expect(windowRates([5, 10], 20)).toEqual([200]);
  expect(windowRates([], 400)).toEqual([]);
  // Two in flight that end together are one group: alone, the second would have taken no time.
  expect(windowRates([100, 100, 200, 200], 200, 2)).toEqual([20, 20]);
});

test("overlapping spans count once, and idle is what none covers", () => {
  expect(
    coveredMs([
      [0, 2],
      [1, 3],
      [5, 6],
      [5.2, 5.4],
    ]),
  ).toBe(4);
  const record = (slot: number, start: number): FrameRecord => ({
    slot,
    batch: 1,
    isGraph: true,
    submittedMs: start - 1,
    enqueuedMs: start - 0.9,
    settledMs: start + 2.5,
    copyInMs: [start - 0.5, start],
    computeMs: [start, start + 2],
    copyOutMs: [start + 2, start + 2.1],
  });
  const records = [record(0, 10), record(1, 11), record(0, 14)];
  expect(idleShareOf(records)).toBeCloseTo(1 / 6);
  expect(idleShareOf([])).toBeUndefined();
  const { lanes, spans } = traceTimeline(records, 3);
  expect(lanes).toHaveLength(7);
  expect(spans).toHaveLength(12);
  expect(Math.min(...spans.map(({ start }) => start))).toBe(0);
  expect(spans.every(({ lane, start, end }) => lane < lanes.length && end >= start)).toBe(true);
});

test("copies overlap with the computing of other frames, each moment counted once, and not with their own", () => {
  const record = (copyInMs: FrameRecord["copyInMs"], computeMs: FrameRecord["computeMs"]): FrameRecord => ({
    ...{ slot: 0, batch: 1, submittedMs: 0, enqueuedMs: 0, settledMs: 0, isGraph: true },
    ...{ copyInMs, computeMs, copyOutMs: [computeMs[1], computeMs[1]] },
  });
  // Of the first copy 2 of 4 ms lie within the others' computing, of the others none, and of their own nothing counts.
  const records = [record([2, 6], [4, 9]), record([0, 1], [1, 3]), record([0, 1], [2.5, 4])];
  expect(overlapOf(records)).toBeCloseTo(2 / 6);
  expect(overlapOf([])).toBeUndefined();
});

test("what trtexec prints is read, and a report without a figure refused", () => {
  const text = `[I] Throughput: 2179.33 qps
[I] Latency: min = 0.59 ms, max = 0.7 ms, mean = 0.6 ms, median = 0.600 ms, percentile(90%) = 0.61 ms
[I] GPU Compute Time: min = 0.44 ms, max = 0.5 ms, mean = 0.45 ms, median = 0.451 ms, percentile(90%) = 0.46 ms`;
  expect(readTrtexecReport(text)).toEqual({ rate: 2179.33, computeMs: 0.451, latencyMs: 0.6 });
  expect(() => readTrtexecReport("&&&& FAILED")).toThrow("Throughput");
});

test("page-locked buffers are summed by their labels", () => {
  expect(pinnedBytes(["PinnedBuffer u8 [10, 3]", "PinnedBuffer f32 [2]", "Device 0 (a card)"])).toBe(38);
});

test("stages of several bars stand in the order of a frame's way", () => {
  const bar = (...stages: string[]) => ({ name: "", parts: stages.map((stage) => ({ stage, value: 1 })) });
  expect(stageNames({ bars: [bar("launch", "infer", "boxes"), bar("decode", "launch", "wait", "boxes")] })).toEqual([
    "decode",
    "launch",
    "wait",
    "infer",
    "boxes",
  ]);
  expect(stageNames({ bars: [] })).toEqual([]);
});

test("axes have round marks inside their range", () => {
  expect([stepOf(10, 6), stepOf(0.9, 6), stepOf(7000, 5)]).toEqual([2, 0.2, 2000]);
  const { at, ticks } = linearScale({ from: 0, to: 10 }, { from: 100, to: 200 });
  expect([at(0), at(5), ticks.at(-1)]).toEqual([100, 150, 10]);
  expect(logScale({ from: 0.9, to: 30 }, { from: 0, to: 1 }).ticks).toEqual([1, 2, 5, 10, 20]);
});

test("numbers keep what can be read", () => {
  expect([0.00312, 0.4531, 12.345, 234.56, 12345.6, 30, Number.NaN].map(digits)).toEqual([
    "0.0031",
    "0.453",
    "12.35",
    "234.6",
    "12\u202f346",
    "30",
    "–",
  ]);
  expect(formatWithUnit(0.713, "share")).toBe("71.3 %");
  expect(formatWithUnit(1536, "bytes")).toBe("1.50 KiB");
});

test("a load counts the JS thread by itself, and all threads", () => {
  const readLoad = startLoad();
  for (const started = performance.now(); performance.now() - started < 20; );
  const { elapsedMs, busy, cores } = readLoad();
  expect(elapsedMs).toBeGreaterThanOrEqual(20);
  expect(busy).toBeGreaterThan(0);
  expect(cores).toBeGreaterThan(0);
});
