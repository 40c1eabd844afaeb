/** @module DetectVideo: the frames of a video, or of several at once, through a detector, each with what was found in it. */

import type { DetectOptions } from "../api/detector-config.ts";
import { isDeviceFrameSource } from "../api/stream.ts";
import { inShort, UnsupportedVideoError, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { givenOf } from "../core/options.ts";
import { pause } from "../core/resource.ts";
import { formatDuration } from "../core/units.ts";
import type { BackendInfo } from "../runtime/backend.ts";
import type { DetectionResult } from "../tasks/detect/detection.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { type TrackedResult, trackResult } from "../track/tracked-stream.ts";
import { Tracker } from "../track/tracker.ts";
import type { TrackerName, TrackerOptions } from "../track/tracker-options.ts";
import { videoAddress } from "./address.ts";
import type { VideoFrame } from "./video-frame.ts";
import { parseVideoOptions, type VideoOptions } from "./video-options.ts";
import { VideoSource } from "./video-source.ts";

/** What is asked of a detector here. */
export interface FrameDetector<Result extends TaskResult = DetectionResult> {
  /** Results of frames, in their order. */
  stream(
    frames: AsyncIterable<VideoFrame>,
    options?: DetectOptions & { readonly onError?: (error: unknown, index: number) => void },
  ): AsyncIterable<Result>;
  /** Frames of a stream that are on their way at once; several videos share as many. Default: no limit. */
  readonly streamAhead?: number | undefined;
  /** What runs it. A single GPU decodes the frames itself, where it can. */
  readonly backends?: readonly Pick<BackendInfo, "device">[] | undefined;
}

/** Options of {@linkcode detectVideo}. */
export interface DetectVideoOptions extends DetectOptions {
  /** Called with the error of one frame, which is left out; without it the first one ends the whole. */
  readonly onError?: ((error: unknown, index: number) => void) | undefined;
}

/** What was found in one frame. */
export type VideoResult<Result extends TaskResult = DetectionResult> = Result & {
  /** That of the frame. */
  readonly index: number;
  /** Its pixels may be drawn on, and stay until the next result is asked for; `retain` keeps them longer. */
  readonly frame: VideoFrame;
};

/**
 * Find the objects in every frame, in order; as many are in flight as the detector has slots, and their memory is used
 * again.
 *
 * @param detector such as a `Detector`
 * @param video    such as a `VideoSource`; it is closed with the loop
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { detectVideo, VideoSource } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n");
 * await using video = await VideoSource.open("street.mp4");
 * for await (const { frame, detections } of detectVideo(detector, video)) {
 *   console.log(frame.timestampMs, detections.length);
 * }
 * ```
 */
export function detectVideo<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  video: AsyncIterable<VideoFrame>,
  options: DetectVideoOptions = {},
): AsyncGenerator<VideoResult<Result>, void, undefined> {
  return detectInLine(detector, video, options, new FrameLine());
}

/** Frames of several videos on their way to one detector: together no more than it takes, and of each the newest. */
export class FrameLine {
  readonly #limit: number;
  #waiting: (() => void)[] = [];
  #onTheirWay = 0;

  /** @param limit frames from which on no video is asked for a further one */
  constructor(limit: number = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
  }

  /** Resolves when there is room. Each video that waits gets some then: there may be a frame of each more than the limit. */
  async room(): Promise<void> {
    while (this.#onTheirWay >= this.#limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  enter(): void {
    this.#onTheirWay += 1;
  }

  leave(): void {
    this.#onTheirWay -= 1;
    if (this.#onTheirWay >= this.#limit) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

/** As {@linkcode detectVideo}. @param line that of all videos which the detector has */
export async function* detectInLine<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  video: AsyncIterable<VideoFrame>,
  { onError, ...detect }: DetectVideoOptions,
  line: FrameLine,
): AsyncGenerator<VideoResult<Result>, void, undefined> {
  if (isDeviceFrameSource(video)) video.offerDevices(detector.backends?.map(({ device }) => device) ?? []);
  const waiting: VideoFrame[] = [];
  async function* feed(): AsyncGenerator<VideoFrame, void, undefined> {
    await line.room();
    for await (const frame of video) {
      waiting.push(frame);
      line.enter();
      yield frame;
      await line.room();
    }
  }
  const onFrameError = (error: unknown, index: number): void => {
    if (onError === undefined) throw error;
    using _ = waiting.shift();
    line.leave();
    onError(error, index);
  };
  try {
    for await (const result of detector.stream(feed(), { ...detect, onError: onFrameError })) {
      // Results come in the order of the frames.
      using frame = waiting.shift()!;
      line.leave();
      yield Object.assign(result, { index: frame.index, frame });
    }
  } finally {
    for (const frame of waiting) {
      frame.release();
      line.leave();
    }
  }
}

/**
 * The items of several sources as they come. A source is asked for its next one when its last has been dealt with.
 *
 * @param stop ends what the sources wait for, where nobody wants more of them
 */
export async function* merged<T>(
  sources: readonly AsyncGenerator<T, void, undefined>[],
  stop: () => void,
): AsyncGenerator<T, void, undefined> {
  type Source = (typeof sources)[number];
  const open = new Set(sources);
  const ready: { readonly source: Source; readonly result: Promise<IteratorResult<T, void>> }[] = [];
  let wake = (): void => {};
  // No race of promises: that of a silent source would keep whatever it was raced against.
  const ask = (source: Source): void => {
    const result = source.next();
    const onSettled = (): void => {
      ready.push({ source, result });
      wake();
    };
    result.then(onSettled, onSettled);
  };
  sources.forEach(ask);
  try {
    while (open.size > 0) {
      for (let one = ready.shift(); one !== undefined; one = ready.shift()) {
        const { done, value } = await one.result;
        if (done === true) open.delete(one.source);
        else {
          yield value;
          ask(one.source);
        }
      }
      if (open.size > 0 && ready.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    if (open.size > 0) stop();
    await Promise.allSettled([...open].map((source) => source.return()));
  }
}

/** Open a source; one that is said to be live is tried again, as one that has stopped is. */
async function openPatiently(
  source: string | URL,
  options: VideoOptions & { signal: AbortSignal },
): Promise<VideoSource> {
  const { live, signal } = options;
  const { reconnect } = parseVideoOptions(options);
  for (let tries = 1; ; tries++) {
    try {
      return await VideoSource.open(source, options);
    } catch (error) {
      if (live !== true || reconnect === false || tries > reconnect.attempts || !(error instanceof VideoError))
        throw error;
      const delayMs = Math.min(reconnect.firstDelayMs * 2 ** (tries - 1), reconnect.longestDelayMs);
      logger.warn(`${inShort(error)}; opening it again in ${formatDuration(delayMs)}`);
      await pause(delayMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** One of several videos, with options of its own. Where `live` is true, it is tried again also before it has been there. */
export interface VideoInput extends VideoOptions {
  /** Path, `file:` URL, address or camera: see `VideoSource.open`. */
  readonly source: string | URL;
  /** What results and errors call it. Default: the path or address, without a password. */
  readonly name?: string | undefined;
  /** Another tracker than that of the others. */
  readonly tracker?: TrackerOptions | TrackerName | undefined;
}

/** Options of {@linkcode detectVideos}. */
export interface DetectVideosOptions extends DetectOptions {
  /** Follow objects, in each video by itself. The `threshold` is then the tracker's `lowThreshold`, unless it is given. */
  readonly tracker?: TrackerOptions | TrackerName | undefined;
  /**
   * Called with the error of a video that cannot be opened or read, and with that of one frame: it is left out, and the
   * others go on. Without it the first error ends the whole.
   *
   * @param source name of the video
   * @param index  place of the frame among those that were run; `undefined` if the video itself has failed
   */
  readonly onError?: ((error: unknown, source: string, index: number | undefined) => void) | undefined;
}

/** What was found in one frame of one of several videos. */
export type VideosResult<Result extends TaskResult = DetectionResult> = VideoResult<Result> & {
  /** Name of the video. */
  readonly source: string;
};

/**
 * Find the objects in the frames of several videos at once: files, streams and cameras. Each has its own policy, tracker and
 * reconnects, and its frames come in order; frames of different videos share batches. Together no more are on their way than
 * the detector takes, so that the newest frames of slow and fast cameras alike are run.
 *
 * @param detector such as a `Detector`
 * @param videos   addresses, with options where they have some, or sources that are open; all are closed with the loop
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { detectVideos } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n", { batch: 8 });
 * const cameras = ["street.mp4", { source: "street.mp4", name: "slow", fps: 5 }];
 * const onError = (error: unknown, source: string) => console.error(source, error);
 * for await (const { source, index, detections } of detectVideos(detector, cameras, { tracker: "bytetrack", onError })) {
 *   console.log(source, index, detections.map(({ trackId, label }) => `${label} ${trackId}`));
 * }
 * ```
 */
export function detectVideos<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  videos: readonly (string | URL | VideoInput | VideoSource)[],
  options: DetectVideosOptions & { readonly tracker: TrackerOptions | TrackerName },
): AsyncGenerator<TrackedResult<VideosResult<Result>>, void, undefined>;
/** Without a tracker. */
export function detectVideos<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  videos: readonly (string | URL | VideoInput | VideoSource)[],
  options?: DetectVideosOptions,
): AsyncGenerator<VideosResult<Result>, void, undefined>;
/** Both of them. */
export async function* detectVideos<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  videos: readonly (string | URL | VideoInput | VideoSource)[],
  { tracker: tracking, onError, ...detect }: DetectVideosOptions = {},
): AsyncGenerator<VideosResult<Result>, void, undefined> {
  const line = new FrameLine(detector.streamAhead);
  const closing = new AbortController();
  const opened = new Set<VideoSource>();
  const { signal } = detect;
  const end = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);

  async function* resultsOf(
    source: VideoSource,
    name: string,
    tracker: Tracker | undefined,
  ): AsyncGenerator<VideosResult<Result>, void, undefined> {
    const threshold = tracker?.options.lowThreshold;
    const given = { ...(threshold === undefined ? {} : { threshold }), ...givenOf(detect) };
    const onFrameError = onError && ((error: unknown, index: number): void => onError(error, name, index));
    for await (const result of detectInLine(detector, source, { ...given, onError: onFrameError }, line)) {
      if (tracker !== undefined) trackResult(tracker, result, result.frame);
      yield Object.assign(result, { source: name });
    }
  }

  async function* one(video: (typeof videos)[number]): AsyncGenerator<VideosResult<Result>, void, undefined> {
    const input: VideoInput =
      typeof video === "string" || video instanceof URL ? { source: video } : (video as VideoInput);
    const { source: address, name, tracker = tracking, ...own } = input;
    try {
      const options = { ...own, signal: AbortSignal.any([end, ...(own.signal === undefined ? [] : [own.signal])]) };
      await using source = video instanceof VideoSource ? video : await openPatiently(address, options);
      opened.add(source);
      yield* resultsOf(source, name ?? source.name, tracker === undefined ? undefined : new Tracker(tracker));
    } catch (error) {
      if (closing.signal.aborted) return;
      const isOfVideo = error instanceof VideoError || error instanceof UnsupportedVideoError;
      if (onError === undefined || !isOfVideo) throw error;
      onError(error, name ?? (error instanceof VideoError ? error.source : videoAddress(address).name), undefined);
    }
  }

  const stop = (): void => {
    closing.abort();
    for (const video of opened) void video.close();
  };
  yield* merged(videos.map(one), stop);
}
