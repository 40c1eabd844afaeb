/** @module Tracking: what trackers cost a frame, by tracker and number of objects. */

import type { Detection } from "../../src/tasks/detect/detection.ts";
import { Tracker } from "../../src/track/tracker.ts";
import { TRACKERS, type TrackerName } from "../../src/track/tracker-options.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { medianOf } from "../support/samples.ts";

const COUNTS = [20, 200] as const;
const FRAMES = 100;
const WARM_UP = 1;
const ROUNDS = 5;
/** Milliseconds a frame that are allowed. */
const MOST = { 20: 0.15, 200: 1 } as const;

/** Boxes of people's shape that cross an image of 1920x1080 with noise, and are the same in every run. A fifth have low scores. */
function crowd(count: number): Detection[][] {
  let state = 1;
  const random = (): number => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647;
  };
  const walkers = Array.from({ length: count }, () => ({
    x: random() * 1920,
    y: random() * 1080,
    width: 30 + random() * 60,
    height: 60 + random() * 120,
    alongX: random() * 6 - 3,
    alongY: random() * 4 - 2,
  }));
  const wrapped = (place: number, side: number): number => ((place % side) + side) % side;
  return Array.from({ length: FRAMES }, (_, frame) =>
    walkers.map(({ x, y, width, height, alongX, alongY }) => {
      const [cx, cy] = [
        wrapped(x + alongX * frame, 1920) + random() * 2,
        wrapped(y + alongY * frame, 1080) + random() * 2,
      ];
      const box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2] as const;
      return { label: "person", classId: 0, score: 0.1 + 0.8 * random(), box };
    }),
  );
}

/** Milliseconds a frame. */
function runOnce(tracker: TrackerName, frames: readonly (readonly Detection[])[]): number {
  const one = new Tracker({ tracker, boxes: "detected" });
  const started = performance.now();
  for (const detections of frames) one.update(detections);
  return (performance.now() - started) / frames.length;
}

async function run({ progress }: StudyContext, { measurements, checks }: StudyOutput): Promise<void> {
  let done = 0;
  for (const count of COUNTS) {
    const frames = crowd(count);
    const samples = new Map<TrackerName, number[]>(TRACKERS.map((tracker) => [tracker, []]));
    for (let round = -WARM_UP; round < ROUNDS; round++) {
      for (const tracker of TRACKERS) {
        const ms = runOnce(tracker, frames);
        if (round >= 0) samples.get(tracker)!.push(ms);
      }
      done += 1;
      progress(done / (COUNTS.length * (ROUNDS + WARM_UP)), `${count} objects`);
    }
    for (const [tracker, ms] of samples) {
      const name = `${tracker}, ${count} objects`;
      measurements.push({ id: `${tracker}-${count}`, name, unit: "ms", better: "lower", samples: ms });
      const median = medianOf(ms);
      checks.push({
        claim: `${name}: a small part of a frame's time`,
        found: `${median.toFixed(3)} ms a frame`,
        wanted: `at most ${MOST[count]} ms`,
        isMet: median <= MOST[count],
      });
    }
  }
}

/** What trackers cost. */
export const tracking: Study = {
  name: "tracking",
  title: "Tracking",
  question: "What does following 20 or 200 objects cost a frame?",
  needs: [],
  run,
};
