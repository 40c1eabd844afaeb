/** @module DetectVideo: the frames of a video through a detector, each with what was found in it. */

import type { DetectOptions } from "../api/detector-config.ts";
import type { DetectionResult } from "../tasks/detect/detection.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import type { VideoFrame } from "./video-frame.ts";

/** What is asked of a detector here. */
export interface FrameDetector<Result extends TaskResult = DetectionResult> {
  /** Results of frames, in their order. */
  stream(
    frames: AsyncIterable<VideoFrame>,
    options?: DetectOptions & { readonly onError?: (error: unknown, index: number) => void },
  ): AsyncIterable<Result>;
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
export async function* detectVideo<Result extends TaskResult>(
  detector: FrameDetector<Result>,
  video: AsyncIterable<VideoFrame>,
  options: DetectVideoOptions = {},
): AsyncGenerator<VideoResult<Result>, void, undefined> {
  const { onError, ...detect } = options;
  const waiting: VideoFrame[] = [];
  async function* feed(): AsyncGenerator<VideoFrame, void, undefined> {
    for await (const frame of video) {
      waiting.push(frame);
      yield frame;
    }
  }
  const onFrameError = (error: unknown, index: number): void => {
    if (onError === undefined) throw error;
    using _ = waiting.shift();
    onError(error, index);
  };
  try {
    for await (const result of detector.stream(feed(), { ...detect, onError: onFrameError })) {
      // Results come in the order of the frames.
      using frame = waiting.shift()!;
      yield Object.assign(result, { index: frame.index, frame });
    }
  } finally {
    for (const frame of waiting) frame.release();
  }
}
