/** @module Matroska: raw frames with their times as a stream that ffmpeg reads. Pure. */

import type { YuvRange, YuvStandard } from "../image/image.ts";

/** Nanoseconds of one tick of the times in the stream. */
const TICK_NANOSECONDS = 100_000;
const TICKS_PER_MS = 1e6 / TICK_NANOSECONDS;

/** Bytes of the header before each frame. */
export const FRAME_HEADER_BYTES = 54;

const UNKNOWN_LENGTH = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** Big-endian, in as few bytes as it takes. */
function number(value: number): number[] {
  return value < 256 ? [value] : [...number(Math.floor(value / 256)), value % 256];
}

/** An element whose length takes two bytes: the header has none of 2^14 bytes. */
function element(id: number, content: readonly number[]): number[] {
  return [...number(id), ...number(0x4000 + content.length), ...content];
}

function text(value: string): number[] {
  return [...Buffer.from(value)];
}

/** What the pixels of every frame are. */
export type RawPixels =
  | { readonly format: "RGB" }
  | { readonly format: "NV12"; readonly yuvStandard: YuvStandard; readonly yuvRange: YuvRange };

/** By the numbers of ITU-T H.273. */
const MATRICES: Readonly<Record<YuvStandard, number>> = { "BT.709": 1, "BT.601": 6, "BT.2020": 9 };
const RANGES: Readonly<Record<YuvRange, number>> = { limited: 1, full: 2 };

function pixelElements(pixels: RawPixels): number[] {
  // UncompressedFourCC
  if (pixels.format === "RGB") return element(0x2eb524, [...text("RGB"), 24]);
  const colour = [
    ...element(0x55b1, [MATRICES[pixels.yuvStandard]]), // MatrixCoefficients
    ...element(0x55b9, [RANGES[pixels.yuvRange]]), // Range
  ];
  return [...element(0x2eb524, text("NV12")), ...element(0x55b0, colour)];
}

/**
 * What the stream begins with: one track of uncompressed pixels.
 *
 * @param width  of every frame, in pixels
 * @param height likewise
 * @see https://www.matroska.org/technical/elements.html
 */
export function matroskaHeader(width: number, height: number, pixels: RawPixels): Uint8Array {
  const head = element(0x1a45dfa3, [
    ...element(0x4286, [1]), // EBMLVersion
    ...element(0x42f7, [1]), // EBMLReadVersion
    ...element(0x42f2, [4]), // EBMLMaxIDLength
    ...element(0x42f3, [8]), // EBMLMaxSizeLength
    ...element(0x4282, text("matroska")), // DocType
    ...element(0x4287, [4]), // DocTypeVersion
    ...element(0x4285, [2]), // DocTypeReadVersion
  ]);
  const info = element(0x1549a966, [
    ...element(0x2ad7b1, number(TICK_NANOSECONDS)), // TimestampScale
    ...element(0x4d80, text("bun-tensorrt")), // MuxingApp
    ...element(0x5741, text("bun-tensorrt")), // WritingApp
  ]);
  const video = element(0xe0, [
    ...element(0xb0, number(width)), // PixelWidth
    ...element(0xba, number(height)), // PixelHeight
    ...pixelElements(pixels),
  ]);
  const track = element(0xae, [
    ...element(0xd7, [1]), // TrackNumber
    ...element(0x73c5, [1]), // TrackUID
    ...element(0x83, [1]), // TrackType: video
    ...element(0x9c, [0]), // FlagLacing
    ...element(0x86, text("V_UNCOMPRESSED")), // CodecID
    ...video,
  ]);
  const segment = [...number(0x18538067), ...UNKNOWN_LENGTH];
  return Uint8Array.from([...head, ...segment, ...info, ...element(0x1654ae6b, track)]);
}

/**
 * What stands before the bytes of one frame: a cluster of its own.
 *
 * @param header      u8 [{@linkcode FRAME_HEADER_BYTES}], written
 * @param byteLength  of the frame
 * @param timestampMs of the frame, 0 or more
 * @param durationMs  of the frame; 0 where it is not known
 */
export function writeFrameHeader(
  header: Uint8Array,
  byteLength: number,
  timestampMs: number,
  durationMs: number,
): void {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const writeNumber = (at: number, value: number): void => {
    view.setUint32(at, Math.floor(value / 2 ** 32));
    view.setUint32(at + 4, value % 2 ** 32);
  };
  const writeLength = (at: number, value: number): void => {
    writeNumber(at, value);
    view.setUint8(at, 0x01); // eight bytes
  };
  view.setUint32(0, 0x1f43b675); // Cluster
  writeLength(4, byteLength + FRAME_HEADER_BYTES - 12);
  view.setUint16(12, 0xe788); // Timestamp, of eight bytes
  writeNumber(14, Math.round(timestampMs * TICKS_PER_MS));
  view.setUint8(22, 0xa0); // BlockGroup: without a reference to others, a key frame
  writeLength(23, byteLength + FRAME_HEADER_BYTES - 31);
  view.setUint16(31, 0x9b88); // BlockDuration, of eight bytes
  writeNumber(33, Math.round(durationMs * TICKS_PER_MS));
  view.setUint8(41, 0xa1); // Block
  writeLength(42, byteLength + 4);
  view.setUint32(50, 0x81000000); // track 1, no time of its own
}
