/** @module Memory: host, page-locked and device memory over a long run, and over loading and closing again and again. */

import { ledger } from "../../src/core/resource.ts";
import { formatBytes } from "../../src/core/units.ts";
import { Device } from "../../src/cuda/device.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { promise } from "../support/keep.ts";
import { pinnedBytes } from "../support/pinned-bytes.ts";

/** Growth that still counts as flat: caches of the allocators settle late. */
const FLAT_BYTES = 16 * 1024 * 1024;
/** What the driver takes and gives back at a time: a smaller change is none that can be seen. */
const GRANULE_BYTES = 2 * 1024 * 1024;
const POINTS = 100;
/** How often a frame comes as a file. */
const FILE_EVERY = 10;
/** Rounds of loads that fill caches of the libraries before device memory is compared. */
const SETTLING_ROUNDS = 3;
/** Loads at a time on a GPU, where most of one is waiting. */
const SIDE_BY_SIDE = 4;

/** What is looked at, and how. */
function gauges(device: Device | undefined): ReadonlyMap<string, () => number> {
  return new Map([
    ["resident (host)", () => process.memoryUsage.rss()],
    ["JS heap", () => process.memoryUsage().heapUsed],
    ...(device === undefined
      ? []
      : [
          ["page-locked", () => pinnedBytes(ledger.labels())] as const,
          ["device, all processes", () => device.memory().totalBytes - device.memory().freeBytes] as const,
        ]),
  ]);
}

type Point = { x: number; y: number };

/** Decoded frames with a JPEG file among them now and then. */
function* mixed({ image, bytes }: StudyContext["image"], count: number): Generator<ImageSource, void, undefined> {
  for (let at = 0; at < count; at++) yield at % FILE_EVERY === 0 ? bytes : image;
}

async function longRun(context: StudyContext, output: StudyOutput, device: Device | undefined): Promise<void> {
  const { options, kind, image } = context;
  const frames = options.frames ?? (kind === "gpu" ? (options.isQuick ? 1000 : 10_000) : options.isQuick ? 20 : 300);
  await using detector = await context.load({});
  const lines = new Map([...gauges(device).keys()].map((name) => [name, [] as Point[]]));
  const step = Math.max(1, Math.floor(frames / POINTS));
  let done = 0;
  while (done < frames && !(context.isOver() && done > 0)) {
    for await (const _ of detector.stream(mixed(image, step)));
    done += step;
    Bun.gc(true);
    for (const [name, read] of gauges(device)) lines.get(name)!.push({ x: done, y: read() });
    context.progress((done / frames) * 0.8, `${done} of ${frames} frames`);
  }
  output.blocks.push({
    kind: "lines",
    title: "Over a long run",
    note: `${done} frames, every ${FILE_EVERY}th of them a JPEG file, with as many in flight as the detector chooses; looked at after a collection of the JS heap each time. Flat is what it should be after the first tenth.`,
    x: { label: "frames", scale: "linear" },
    y: { label: "memory", unit: "bytes" },
    lines: [...lines].map(([name, points]) => ({ name, points })),
  });
  for (const [name, points] of lines) {
    if (points.length < 2) continue;
    const early = points[Math.floor(points.length / 10)]!;
    const growth = points.at(-1)!.y - early.y;
    promise(output, `${name} over ${done - early.x} frames after the first tenth: growth`, growth, {
      most: FLAT_BYTES,
      unit: "bytes",
    });
  }
}

async function cycle(context: StudyContext): Promise<void> {
  await using detector = await context.load({ inFlight: 2 });
  await detector.detect(context.image.image);
}

async function cycles(context: StudyContext, output: StudyOutput, device: Device | undefined): Promise<void> {
  const count = context.options.cycles ?? (context.options.isQuick ? 3 : 20);
  const sideBySide = device === undefined ? 1 : SIDE_BY_SIDE;
  const free: Point[] = [];
  const resident: Point[] = [];
  for (let round = 1, x = 0; x < count && !(context.isOver() && round > 1); round++) {
    await Promise.all(Array.from({ length: sideBySide }, () => cycle(context)));
    Bun.gc(true);
    if (round <= SETTLING_ROUNDS) continue;
    x = (round - SETTLING_ROUNDS) * sideBySide;
    resident.push({ x, y: process.memoryUsage.rss() });
    if (device !== undefined) free.push({ x, y: device.memory().totalBytes - device.memory().freeBytes });
    context.progress(0.8 + (x / count) * 0.2, `load and close, ${x} of ${count}`);
  }
  const lines = [
    { name: "resident (host)", points: resident },
    ...(free.length === 0 ? [] : [{ name: "device, all processes", points: free }]),
  ].filter(({ points }) => points.length > 0);
  if (lines.length === 0) return;
  output.blocks.push({
    kind: "lines",
    title: "Loading and closing",
    note: `The model is loaded, detects once and is closed, ${resident.at(-1)!.x} times, ${sideBySide} at a time; ${SETTLING_ROUNDS} rounds before that let the libraries fill their caches.`,
    x: { label: "times loaded and closed", scale: "linear" },
    y: { label: "memory afterwards", unit: "bytes" },
    lines,
  });
  if (free.length > 1) {
    promise(output, `device memory lost over ${free.at(-1)!.x} loads and closes`, free.at(-1)!.y - free[0]!.y, {
      most: GRANULE_BYTES,
      unit: "bytes",
    });
  }
  output.findings.push(
    `Open resources afterwards: ${ledger.size - (device === undefined ? 0 : 1)}; resident ${formatBytes(resident.at(-1)!.y)}.`,
  );
}

/** Memory over time. */
export const memory: Study = {
  name: "memory",
  title: "Memory over time",
  question: "Does anything grow, over many frames or over many loads and closes?",
  needs: ["model"],
  async run(context, output) {
    using stack = new DisposableStack();
    const device = context.kind === "gpu" ? stack.use(Device.open(0)) : undefined;
    await longRun(context, output, device);
    await cycles(context, output, device);
  },
};
