/**
 * @module FrameSelection: which frames of a video are wanted, by their number or their time: as a filter of ffmpeg, and as code; and
 * when each is shown.
 */

import type { VideoInfo } from "./probe.ts";
import { rationalValue } from "./video-frame.ts";
import type { VideoConfig } from "./video-options.ts";

/** What decides which frames are wanted. */
export interface SelectionRules {
  readonly config: Pick<VideoConfig, "every" | "fps" | "startMs" | "durationMs">;
  /** The clock of a live source begins anew with each connection: the reader watches for its end. */
  readonly isLive: boolean;
  /** Where the clock of the times begins, in seconds from the beginning of the file. */
  readonly zeroSeconds: number;
  /** True where the file is sought: the first frame comes even in front of the start, to tell that nothing is missed. */
  readonly isSought: boolean;
}

/** Seconds by which a time may be rounded. */
const ROUNDED = 1e-6;
/** This much of a slot of 1 / fps seconds: far below a frame, far above the rounding of a sum of times. */
const SLACK = 1e-4;

/** Frames that are wanted of a video, about; `undefined` where nobody knows. */
export function expectedFrames(
  { frames, durationMs: wholeMs }: Pick<VideoInfo, "frames" | "durationMs">,
  { every, fps, startMs, durationMs }: SelectionRules["config"],
): number | undefined {
  if (frames === undefined) return undefined;
  if (wholeMs === undefined) return every === 1 && fps === undefined ? frames : undefined;
  const partMs = Math.max(0, Math.min(wholeMs - startMs, durationMs ?? Number.POSITIVE_INFINITY));
  const kept = Math.ceil(Math.round((frames * partMs) / wholeMs) / every);
  return fps === undefined ? kept : Math.min(kept, Math.ceil((partMs / 1000) * fps));
}

/** Start and end in seconds of the clock. */
function spanOf({ config, isLive, zeroSeconds }: SelectionRules): readonly [start: number, end: number] {
  const { startMs, durationMs = Number.POSITIVE_INFINITY } = config;
  const start = isLive ? 0 : startMs / 1000 - zeroSeconds;
  return [start, isLive ? Number.POSITIVE_INFINITY : start + durationMs / 1000];
}

/**
 * Filters that keep frames by their number or their time: the first one of each slot of 1 / fps seconds. Where the file is
 * sought, nothing comes before a key frame.
 */
export function selectionFilters(rules: SelectionRules): string[] {
  const { every, fps } = rules.config;
  const [start, end] = spanOf(rules);
  const parts: string[] = [];
  // Variables of the expression live as long as the filter.
  if (every > 1) parts.push(`not(mod(st(0,ld(0)+1)-1,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor((${time}-${start.toFixed(6)})*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  const kept = parts.length === 0 ? "1" : parts.join("*");
  const isEarly = `lt(t,${(start - ROUNDED).toFixed(6)})`;
  let wanted = kept;
  if (rules.isSought) {
    wanted = `if(key*not(ld(1)),st(1,1)*if(${isEarly},1,${kept}),ld(1)*if(${isEarly},0,${kept}))`;
  } else if (start > 0) wanted = `if(${isEarly},0,${kept})`;
  return [
    ...(end === Number.POSITIVE_INFINITY ? [] : [`trim=end=${Math.max(0, end - ROUNDED).toFixed(6)}`]),
    ...(wanted === "1" ? [] : [`select='${wanted}'`]),
  ];
}

/** The same of frames that come one after the other, the first of which is a key frame. */
export class FrameSelection {
  readonly #every: number;
  readonly #fps: number | undefined;
  readonly #start: number;
  readonly #end: number;
  readonly #isSought: boolean;
  #isFirst = true;
  #count = 0;
  #slot = Number.NEGATIVE_INFINITY;

  constructor(rules: SelectionRules) {
    const [start, end] = spanOf(rules);
    this.#every = rules.config.every;
    this.#fps = rules.config.fps;
    this.#start = start;
    this.#end = end;
    this.#isSought = rules.isSought;
  }

  /** What becomes of the next frame. @param microseconds of the clock */
  next(microseconds: number): "keep" | "skip" | "end" {
    const time = microseconds / 1e6;
    if (time >= this.#end - ROUNDED) return "end";
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (time < this.#start - ROUNDED) {
      if (!(isFirst && this.#isSought)) return "skip";
      return "keep";
    }
    if (this.#count++ % this.#every !== 0) return "skip";
    if (this.#fps === undefined) return "keep";
    const slot = Math.floor((time - this.#start) * this.#fps + SLACK);
    if (slot <= this.#slot) return "skip";
    this.#slot = slot;
    return "keep";
  }
}

/** When the frames of a source are shown. A live source's clock begins anew with each connection; this one goes on. */
export class SourceClock {
  /** How long a frame is shown, by the average rate; 0 where that is not known. */
  readonly frameMs: number;
  readonly #isLive: boolean;
  readonly #endMs: number;
  /** Added to the times of this connection, so that they go on where those of the last one ended. */
  #offsetMs = 0;
  #firstAt: number | undefined;
  #lastMs: number | undefined;

  constructor(
    { rate, isLive }: Pick<VideoInfo, "rate" | "isLive">,
    { fps, every, durationMs }: SelectionRules["config"],
  ) {
    const perSecond = fps ?? (rate === undefined ? 0 : rationalValue(rate) / every);
    this.frameMs = perSecond === 0 ? 0 : 1000 / perSecond;
    this.#isLive = isLive;
    this.#endMs = isLive ? (durationMs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
  }

  /**
   * Milliseconds in the video.
   *
   * @param microseconds in the connection; NaN where it does not tell
   * @param zeroMs       of the connection's first frame: where its clock begins
   */
  timeOf(microseconds: number, zeroMs: number | undefined): number {
    const now = performance.now();
    this.#firstAt ??= now;
    const inRun = Number.isNaN(microseconds) ? undefined : microseconds / 1000;
    if (zeroMs !== undefined) {
      // A server may have sent more than its time: the next connection must not begin before what was seen.
      const soonestMs = this.#lastMs === undefined ? 0 : this.#nextMs;
      this.#offsetMs = this.#isLive ? Math.max(now - this.#firstAt, soonestMs) - (inRun ?? 0) : zeroMs;
    }
    return inRun === undefined ? this.#nextMs : inRun + this.#offsetMs;
  }

  /** A frame was handed out, or would have been. */
  shown(timestampMs: number): void {
    this.#lastMs = timestampMs;
  }

  /** True from the end on that a live source was given. @param nextMs when the next frame is due */
  isPastEnd(nextMs: number = this.#nextMs): boolean {
    return nextMs >= this.#endMs;
  }

  get #nextMs(): number {
    return (this.#lastMs ?? 0) + this.frameMs;
  }
}
