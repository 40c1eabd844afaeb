/** @module Drive: a detector kept busy with a number of frames in flight from one JS thread. */

import type { DetectionResult } from "../../src/detector/detection.ts";
import type { Detector } from "../../src/detector/detector.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { TimelineSpan } from "../result.ts";

/** Rates are counted in windows of this length, so that their spread shows. */
const WINDOW_MS = 50;

/** Frames whose stages are kept for a timeline. */
const TRACED = 60;

/** How a detector is driven. */
export interface DriveOptions {
  /** Calls that overlap. */
  readonly inFlight: number;
  readonly durationMs: number;
  /** Frames before the measuring begins, for each call in flight. */
  readonly warmUp: number;
}

/** What came of it. */
export interface Driven {
  /** Milliseconds from the call of `detect` to its result, every frame. */
  readonly latencies: number[];
  /** Frames a second in each window. */
  readonly rates: number[];
  /** Frames a second over the whole time. */
  readonly rate: number;
  /** What the first frames did when, in milliseconds; a lane for each call in flight. */
  readonly spans: TimelineSpan[];
}

function addSpans(
  spans: TimelineSpan[],
  at: { readonly lane: number; readonly frame: number; readonly end: number },
  { timing }: DetectionResult,
): void {
  const { lane, frame, end } = at;
  let from = end - timing.decode - timing.preprocess - timing.infer - timing.postprocess;
  for (const [name, length] of [
    ["decode", timing.decode],
    ["prepare", timing.preprocess],
    ["machine", timing.infer],
    ["read boxes", timing.postprocess],
  ] as const) {
    if (length > 0) spans.push({ lane, name, frame, start: from, end: from + length });
    from += length;
  }
}

/** Keep so many calls in flight for a while. */
export async function drive(detector: Detector, source: ImageSource, options: DriveOptions): Promise<Driven> {
  const { inFlight, durationMs, warmUp } = options;
  const lanes = Array.from({ length: inFlight }, (_, lane) => lane);
  const repeat = async (): Promise<void> => {
    for (let at = 0; at < warmUp; at++) await detector.detect(source);
  };
  await Promise.all(lanes.map(repeat));
  const latencies: number[] = [];
  const ends: number[] = [];
  const spans: TimelineSpan[] = [];
  let frames = 0;
  const started = performance.now();
  const work = async (lane: number): Promise<void> => {
    for (let now = performance.now(); now - started < durationMs; ) {
      const frame = frames++;
      const result = await detector.detect(source);
      const end = performance.now();
      latencies.push(end - now);
      ends.push(end - started);
      if (frame < TRACED) addSpans(spans, { lane, frame, end: end - started }, result);
      now = end;
    }
  };
  await Promise.all(lanes.map(work));
  const seconds = (performance.now() - started) / 1000;
  return { latencies, rates: windowRates(ends, durationMs), rate: latencies.length / seconds, spans };
}

/** Frames a second in each whole window; of a time shorter than a window, over all of it. @param ends milliseconds from the start */
export function windowRates(ends: readonly number[], durationMs: number): number[] {
  // A window of a slow machine must hold several frames, or it would count to one or none.
  const window = Math.max(WINDOW_MS, (durationMs / Math.max(1, ends.length)) * 10);
  const windows = Math.floor(durationMs / window);
  if (windows < 1) return [(ends.length * 1000) / Math.max(durationMs, ends.at(-1) ?? durationMs)];
  const counts = new Array<number>(windows).fill(0);
  for (const end of ends) {
    const at = Math.floor(end / window);
    if (at < windows) counts[at]! += 1;
  }
  return counts.map((count) => (count * 1000) / window);
}
