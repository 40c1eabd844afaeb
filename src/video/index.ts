/** @module bun-tensorrt/video: frames of files, streams, cameras, folders and standard input; annotated video out. */

export { LibraryLoadError, VideoError } from "../core/errors.ts";
export type { SequenceHeader } from "../nvdec/sequence-header.ts";
export { paintDetections } from "../tasks/detect/draw.ts";
export type { DrawOptions } from "../tasks/draw-options.ts";
export {
  type DetectVideoOptions,
  type DetectVideosOptions,
  detectVideo,
  detectVideos,
  type FrameDetector,
  type VideoInput,
  type VideoResult,
  type VideosResult,
} from "./detect-video.ts";
export { type ImageFraming, type ReadImagesOptions, readImages } from "./image-stream.ts";
export type { VideoInfo } from "./probe.ts";
export type { Rational } from "./video-frame.ts";
export { PinnedFrames, VideoFrame } from "./video-frame.ts";
export type { ReconnectOptions, VideoOptions, VideoSinkOptions } from "./video-options.ts";
export { VideoSink } from "./video-sink.ts";
export { VideoSource } from "./video-source.ts";
export { type WatchFolderOptions, watchFolder } from "./watch-folder.ts";
