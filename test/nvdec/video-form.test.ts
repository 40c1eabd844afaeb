import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { VIDEO_CALLS } from "../../src/ffi/nvidia-libraries.ts";
import { SHIM_CONSTANTS } from "../../src/ffi/shim-symbols.ts";
import { rangeOfSignal, refusalOf, standardOfSignal } from "../../src/nvdec/nvdec.ts";
import {
  codecOf,
  isVideoCodec,
  parseDecoderOptions,
  type VideoDecoderCaps,
  type VideoForm,
} from "../../src/nvdec/nvdec-options.ts";

const CARD = "NVIDIA H200";

/** What an H200 says of HEVC. */
const HEVC: VideoDecoderCaps = {
  ...{ isSupported: true, engines: 7, formats: ["NV12"] },
  ...{ minWidth: 144, minHeight: 144, maxWidth: 8192, maxHeight: 8192, maxMacroblocks: 262_144 },
};

test("refusalOf() names what the card does not decode, and nothing else", () => {
  const refused = (form: Omit<VideoForm, "codec">, caps: VideoDecoderCaps = HEVC) =>
    refusalOf(CARD, { codec: "hevc", ...form }, caps);
  expect(refused({})).toBeUndefined();
  expect(refused({ width: 8192, height: 8192 })).toBeUndefined();
  expect(refused({ width: 144, height: 144, chroma: "mono" })).toBeUndefined();
  expect(refused({ width: 143, height: 144 })).toBe(`${CARD} decodes HEVC from 144x144 on, and this is 143x144`);
  expect(refused({ width: 8193, height: 16 })).toBe(`${CARD} decodes HEVC from 144x144 on, and this is 8193x16`);
  expect(refused({ width: 8200, height: 4320 })).toBe(`${CARD} decodes HEVC up to 8192x8192, and this is 8200x4320`);
  expect(refused({ width: 4096, height: 2304 }, { ...HEVC, maxMacroblocks: 36_863 })).toBe(
    `${CARD} decodes HEVC of up to 9436928 pixels, and this is 4096x2304`,
  );
  expect(refused({ bits: 10 })).toBe("HEVC of 10 bits in 4:2:0 gives neither NV12 nor P016");
  expect(refused({ bits: 10 }, { ...HEVC, formats: ["NV12", "P016"] })).toBeUndefined();
  expect(refused({ chroma: "4:4:4" })).toBe("HEVC of 8 bits in 4:4:4 gives neither NV12 nor P016");
  expect(refused({ width: 321, height: 241 })).toBeUndefined();
  for (const [width, height] of [
    [321, 256],
    [320, 242],
  ] as const) {
    expect(refusalOf(CARD, { codec: "vp8", width, height }, HEVC)).toBe(
      `GPUs decode VP8 to the bit only in multiples of 16 pixels, and this is ${width}x${height}`,
    );
  }
  expect(refusalOf(CARD, { codec: "vp8", width: 320, height: 256 }, HEVC)).toBeUndefined();
  const none = { ...HEVC, isSupported: false };
  expect(refused({}, none)).toBe(`${CARD} does not decode HEVC`);
  expect(refused({ chroma: "4:2:2", bits: 12 }, none)).toBe(`${CARD} does not decode HEVC of 12 bits in 4:2:2`);
});

test("a signal description tells matrix and range", () => {
  const signal = (matrix: number, isFull: boolean) => ((matrix << 24) | 5 | (isFull ? 8 : 0)) >>> 0;
  expect([1, 2, 5, 6, 9, 0, 255].map((matrix) => standardOfSignal(signal(matrix, false)))).toEqual([
    ...["BT.709", undefined, "BT.601", "BT.601", "BT.2020", undefined, undefined],
  ] as ReturnType<typeof standardOfSignal>[]);
  expect([false, true].map((isFull) => rangeOfSignal(signal(1, isFull)))).toEqual(["limited", "full"]);
});

test("codecs go by ffmpeg's names and NVIDIA's numbers", () => {
  expect([0, 1, 2, 4, 8, 9, 10, 11].map(codecOf)).toEqual([
    ...(["mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vp8", "vp9", "av1"] as const),
  ]);
  expect(codecOf(5)).toBeUndefined();
  expect(isVideoCodec("hevc")).toBe(true);
  expect(isVideoCodec("toString")).toBe(false);
});

test("the shim gets the functions that its header names, in that order", () => {
  const header = readFileSync(join(import.meta.dir, "../../native/shim.h"), "utf8");
  const [, list = ""] = /Functions that are called: ([^.]*), in this order\./.exec(header) ?? [];
  expect([...(list.match(/cu\w+/g) ?? [])]).toEqual([...VIDEO_CALLS]);
  expect(VIDEO_CALLS.length).toBe(SHIM_CONSTANTS.BT_VIDEO_CALLS);
});

test("parseDecoderOptions() fills in the defaults and refuses what is out of range", () => {
  expect(parseDecoderOptions({ codec: "vp9" })).toEqual({
    ...{ codec: "vp9", surfaces: 4, delay: 1, wholePackets: true, maxWidth: 0, maxHeight: 0, holdLimitMs: 30_000 },
  });
  expect(() => parseDecoderOptions({ codec: "h264", surfaces: 33 })).toThrow("at most 32");
  expect(() => parseDecoderOptions({ codec: "h264", delay: -1 })).toThrow("at least 0");
});
