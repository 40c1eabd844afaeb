/** @module SwapFigures: gaps between the results of frames, before, around and after the full engine takes over. */

import { medianOf } from "./samples.ts";

/** When a frame's result came, and whether the full engine ran by then. */
export interface FrameTime {
  readonly ms: number;
  readonly isFull: boolean;
}

/** A part of the run. */
export interface SwapSpan {
  readonly name: string;
  readonly frames: number;
  readonly perSecond: number;
  /** Between two results, as is the next. */
  readonly p50Ms: number;
  readonly longestMs: number;
}

/** Results so long before and after the first one of the full engine belong to the swap. */
const AROUND_MS = 1000;

/** What a run shows: the time of the first result and of the full engine's first, and the gaps of each part. */
export function swapFigures(frames: readonly FrameTime[]): {
  readonly firstMs: number;
  readonly swapMs: number | undefined;
  readonly spans: readonly SwapSpan[];
} {
  if (frames.length === 0) throw new Error("Cannot tell of gaps: no frame came");
  const swapMs = frames.find(({ isFull }) => isFull)?.ms;
  const swap = swapMs ?? Number.POSITIVE_INFINITY;
  const parts = [
    ["before", Number.NEGATIVE_INFINITY, swap - AROUND_MS],
    ["around the swap", swap - AROUND_MS, swap + AROUND_MS],
    ["after", swap + AROUND_MS, Number.POSITIVE_INFINITY],
  ] as const;
  const spans = parts.flatMap(([name, from, to]): SwapSpan[] => {
    // A gap belongs to the part in which it ends.
    const gaps = frames.flatMap(({ ms }, at) => (at > 0 && ms > from && ms <= to ? [ms - frames[at - 1]!.ms] : []));
    if (gaps.length === 0) return [];
    const total = gaps.reduce((sum, gap) => sum + gap, 0);
    const [frameCount, longestMs] = [gaps.length, gaps.reduce((most, gap) => Math.max(most, gap), 0)];
    return [{ name, frames: frameCount, perSecond: (frameCount / total) * 1000, p50Ms: medianOf(gaps), longestMs }];
  });
  return { firstMs: frames[0]!.ms, swapMs, spans };
}
