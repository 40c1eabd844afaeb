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
  /** When the longest gap began. */
  readonly longestAtMs: number;
  /** How much of it the JS thread was held up for, by what took it longest there. */
  readonly heldMs: number;
}

/** When the JS thread took no turn of its event loop. */
export type Hold = readonly [fromMs: number, toMs: number];

/** Results so long before and after the first one of the full engine belong to the swap. */
const AROUND_MS = 1000;

/**
 * What a run shows: the time of the first result and of the full engine's first, and the gaps of each part.
 *
 * @param holds of the JS thread, on the clock of the frames
 */
export function swapFigures(
  frames: readonly FrameTime[],
  holds: readonly Hold[] = [],
): {
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
    const ends = frames.flatMap(({ ms }, at) => (at > 0 && ms > from && ms <= to ? [at] : []));
    if (ends.length === 0) return [];
    const gapOf = (at: number): number => frames[at]!.ms - frames[at - 1]!.ms;
    const gaps = ends.map(gapOf);
    const total = gaps.reduce((sum, gap) => sum + gap, 0);
    const longest = ends.reduce((most, at) => (gapOf(at) > gapOf(most) ? at : most));
    const [longestAtMs, endMs] = [frames[longest - 1]!.ms, frames[longest]!.ms];
    const held = holds.map(([start, end]) => Math.min(end, endMs) - Math.max(start, longestAtMs));
    return [
      {
        ...{ name, frames: gaps.length, perSecond: (gaps.length / total) * 1000, p50Ms: medianOf(gaps) },
        ...{ longestMs: gapOf(longest), longestAtMs, heldMs: Math.max(0, ...held) },
      },
    ];
  });
  return { firstMs: frames[0]!.ms, swapMs, spans };
}
