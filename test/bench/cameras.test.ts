import { expect, test } from "bun:test";
import { growthOf, runCameras } from "../../bench/cameras.ts";
import { childrenNamed, isFfmpegMissing } from "../support/videos.ts";

test.skipIf(isFfmpegMissing)(
  "bench/cameras.ts: cameras that drop and come back, each frame counted; nothing stays open",
  async () => {
    const descriptors: number[] = [];
    const run = { frames: 720, cameras: 3, seconds: 0.5, sampleMs: 200 };
    const onSample = (sample: { readonly descriptors: number }): void => void descriptors.push(sample.descriptors);
    const counts = await runCameras({ ...run, onSample });
    expect(counts.flatMap(({ faults }) => faults)).toEqual([]);
    const [first] = counts;
    // Two connections, and the two attempts after which a camera is given up.
    expect(first).toMatchObject({ policy: "all", sent: 240, read: 240, results: 240, dropped: 0, reconnects: 3 });
    expect(first!.tracks).toBeGreaterThanOrEqual(3);
    // Pipes of running programs, and connections, are gone.
    expect(descriptors.at(-1)!).toBeLessThan(Math.max(...descriptors));
    expect(childrenNamed("ffmpeg")).toEqual([]);
  },
  30_000,
);

test("growthOf() compares the second quarter of a run with its last", () => {
  const at = (rssMib: number): Parameters<typeof growthOf>[0][number] => ({
    elapsedMs: 0,
    frames: 0,
    rssMib,
    heapMib: 0,
    descriptors: 0,
  });
  expect(growthOf([10, 10, 10, 50, 55, 50, 90, 90, 90, 51, 51, 99].map(at))).toBe(1);
  expect(growthOf([10, 50, 60, 70].map(at))).toBe(20);
});
