/** @module Public surface of `bun-tensorrt/nvjpeg`. Importing it opens no library. */

export { ImageError, LibraryLoadError, NativeError } from "../core/errors.ts";
export type { Orientation } from "../image/exif.ts";
export type { ImageDecodeOptions, JpegCounts, ResidentImage } from "../image/image-decoder.ts";
export type { JpegCoding, JpegFrame, JpegMarkers, JpegSampling } from "../image/jpeg-markers.ts";
export { type JpegRefusal, type JpegRoute, routeJpeg } from "./jpeg-route.ts";
export {
  JpegSurface,
  type NvJpegDecodeOptions,
  NvJpegDecoder,
  nvJpegUnavailable,
  type SurfaceDecodeOptions,
} from "./nvjpeg-decoder.ts";
export type { NvJpegBackend } from "./nvjpeg-handle.ts";
export type { NvJpegOptions } from "./nvjpeg-options.ts";
