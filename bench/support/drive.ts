/** @module Drive: a detector kept busy with a number of frames in flight from one JS thread. */

import type { Detector } from "../../src/api/detector.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { DetectionResult } from "../../src/tasks/detect/detection.ts";
import type { TimelineSpan } from "../result.ts";

/** Rates are those of so many frames as come in this time, so that their spread shows. */
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
  /** Frames per second in each window. */
  readonly rates: number[];
  /** Frames per second over the whole time. */
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
    ["preprocess", timing.preprocess],
    ["infer", timing.infer],
    ["postprocess", timing.postprocess],
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
  return { latencies, rates: windowRates(ends, durationMs, inFlight), rate: latencies.length / seconds, spans };
}

/** Frames that one rate is made of, where there are enough: fewer would show the pairs in which frames in flight end. */
const LEAST_FRAMES = 5;

/**
 * Frames per second, one figure for each 50 ms worth of frames: so many frames by the time they took.
 *
 * @param ends     when each frame ended, in milliseconds from the start
 * @param inFlight frames that may end at the same moment: of fewer than these a rate would be nonsense
 * @returns at least one figure; none of no frames
 */
export function windowRates(ends: readonly number[], durationMs: number, inFlight = 1): number[] {
  if (ends.length === 0) return [];
  const sorted = ends.toSorted((a, b) => a - b);
  const perWindow = Math.round((sorted.length * WINDOW_MS) / durationMs);
  const wanted = Math.max(1, perWindow, Math.min(LEAST_FRAMES, Math.max(inFlight, Math.floor(sorted.length / 3))));
  // A run shorter than a window is one group.
  const frames = Math.min(wanted, sorted.length);
  const rates: number[] = [];
  for (let from = 0; from + frames <= sorted.length; from += frames) {
    const started = from === 0 ? 0 : sorted[from - 1]!;
    rates.push((frames * 1000) / Math.max(1e-3, sorted[from + frames - 1]! - started));
  }
  return rates;
}
