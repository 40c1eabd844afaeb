/** @module Public surface of `bun-tensorrt/nvdec`. Importing it opens no library. */

export type { DecodedFrame } from "./decoded-frame.ts";
