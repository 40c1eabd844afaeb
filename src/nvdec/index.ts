/** @module Public surface of `bun-tensorrt/nvdec`. Importing it opens no library. */

export { LibraryLoadError, NativeError, UnsupportedVideoError } from "../core/errors.ts";
export type { YuvRange, YuvStandard } from "../image/image.ts";
export { type DecodedFrame, Nvdec, nvdecUnavailable } from "./nvdec.ts";
export { type NvdecCounts, NvdecDecoder } from "./nvdec-decoder.ts";
export {
  type ExpectedVideo,
  isVideoCodec,
  type NvdecDecoderOptions,
  type NvdecOptions,
  type VideoChroma,
  type VideoCodec,
  type VideoDecoderCaps,
  type VideoForm,
} from "./nvdec-options.ts";
