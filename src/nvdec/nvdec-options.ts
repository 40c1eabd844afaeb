/**
 * @module NvdecOptions: how video is coded, as far as it decides whether a card decodes it, and what callers may say about the engines and
 * a decoder, checked once.
 */

import { z } from "zod";
import { type Filled, parseOptions } from "../core/options.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";

/** Codecs, by ffmpeg's names; which of them a card decodes is for `Nvdec.caps` to say. */
export type VideoCodec = "mpeg1video" | "mpeg2video" | "mpeg4" | "h264" | "hevc" | "vp8" | "vp9" | "av1";

/** How much of U and V is coded. */
export type VideoChroma = "mono" | "4:2:0" | "4:2:2" | "4:4:4";

/** `cudaVideoCodec` */
export const CODEC_NUMBERS: Readonly<Record<VideoCodec, number>> = {
  mpeg1video: 0,
  mpeg2video: 1,
  mpeg4: 2,
  h264: 4,
  hevc: 8,
  vp8: 9,
  vp9: 10,
  av1: 11,
};

const CODEC_TITLES: Readonly<Record<VideoCodec, string>> = {
  mpeg1video: "MPEG-1",
  mpeg2video: "MPEG-2",
  mpeg4: "MPEG-4",
  h264: "H.264",
  hevc: "HEVC",
  vp8: "VP8",
  vp9: "VP9",
  av1: "AV1",
};

/** `HEVC 10 bits`: a codec, and its bits where they are not 8. */
export function formTitle(codec: VideoCodec, bits: number): string {
  return bits === 8 ? CODEC_TITLES[codec] : `${CODEC_TITLES[codec]} ${bits} bits`;
}

/** In the order of `cudaVideoChromaFormat`. */
export const CHROMAS: readonly VideoChroma[] = ["mono", "4:2:0", "4:2:2", "4:4:4"];

/** True of a codec's name that {@linkcode VideoCodec} has. */
export function isVideoCodec(name: string): name is VideoCodec {
  return Object.hasOwn(CODEC_NUMBERS, name);
}

/** The codec of a `cudaVideoCodec`. */
export function codecOf(number: number): VideoCodec | undefined {
  return (Object.keys(CODEC_NUMBERS) as VideoCodec[]).find((codec) => CODEC_NUMBERS[codec] === number);
}

/** How a video is coded. */
export interface VideoForm {
  readonly codec: VideoCodec;
  /** Default `"4:2:0"`. */
  readonly chroma?: VideoChroma | undefined;
  /** Of a sample; default 8. */
  readonly bits?: number | undefined;
  /** In pixels. Default: any. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
}

/** What the engines of a card take of a codec, with its chroma and bits. */
export interface VideoDecoderCaps {
  readonly isSupported: boolean;
  /** That decode at the same time; the driver spreads decoders over them. */
  readonly engines: number;
  /** What a frame can be given as. */
  readonly formats: readonly ("NV12" | "P016")[];
  /** In pixels. */
  readonly minWidth: number;
  readonly minHeight: number;
  readonly maxWidth: number;
  readonly maxHeight: number;
  /** Most blocks of 16 × 16 pixels. */
  readonly maxMacroblocks: number;
}

const { BT_NVDEC_SURFACES: MOST_SURFACES, BT_VIDEO_IDLE: MOST_IDLE } = SHIM_CONSTANTS;

/** Options of `Nvdec.open`. */
export interface NvdecOptions {
  /**
   * Most decoders kept for the next stream of their codec and size: to reconfigure one takes a tenth of the time that a new one takes.
   * Each keeps its device memory, some 60 MiB for 1080p. Others are destroyed one after the other, with pauses. Default 4.
   */
  readonly idle?: number | undefined;
}

/** How a stream will be coded, as far as its decoder is made by it. */
export interface ExpectedVideo {
  /** As coded, in pixels: whole blocks. */
  readonly width: number;
  readonly height: number;
  /** Default `"4:2:0"`. */
  readonly chroma?: VideoChroma | undefined;
  /** Of a sample; default 8. */
  readonly bits?: number | undefined;
  /** Decoded images that the stream keeps at once, at most: `max_dec_frame_buffering` of H.264. Default 16. */
  readonly images?: number | undefined;
}

/** Options of `NvdecDecoder.open`. */
export interface NvdecDecoderOptions {
  readonly codec: VideoCodec;
  /** Frames that may be held at once, 1 to 32. Default 4. */
  readonly surfaces?: number | undefined;
  /**
   * Frames that the parser holds back so that they come in order although the stream does not say how far it reorders them. Each
   * costs the time between two frames: 0 is for live streams that have no B frames, or say how far they reorder. Default 1.
   */
  readonly delay?: number | undefined;
  /** Each packet holds the data of one whole picture, as containers store them: it is decoded without waiting for the next. Default true. */
  readonly wholePackets?: boolean | undefined;
  /** Largest size that the stream may change to without a new decoder, in pixels. Default: its first size. */
  readonly maxWidth?: number | undefined;
  readonly maxHeight?: number | undefined;
  /**
   * What the stream will turn out to be: the decoder is made, or an idle one taken, at once, and `ready` waits for it. Where the stream
   * turns out to be another, it is made anew. Default: it is made when the stream has told.
   */
  readonly expected?: ExpectedVideo | undefined;
  /** How long all surfaces may be held before waiting for a frame fails, in milliseconds. Default 30000. */
  readonly holdLimitMs?: number | undefined;
}

/** Complete options of a decoder. */
export type NvdecDecoderConfig = Filled<Omit<NvdecDecoderOptions, "expected">> & {
  readonly expected?: Filled<ExpectedVideo> | undefined;
};

/** Most that a stream of any codec keeps. */
const MOST_IMAGES = 16;
const codecs = Object.keys(CODEC_NUMBERS) as [VideoCodec, ...VideoCodec[]];
const side = z.int().min(0, "at least 0").max(16_384, "at most 16384").default(0);

const coded = z.int().min(1, "at least 1").max(16_384, "at most 16384");
const expected = z.strictObject({
  width: coded,
  height: coded,
  chroma: z.enum(CHROMAS, `one of ${CHROMAS.join(", ")}`).default("4:2:0"),
  bits: z.int().min(8, "at least 8").max(16, "at most 16").default(8),
  images: z.int().min(1, "at least 1").max(MOST_IMAGES, `at most ${MOST_IMAGES}`).default(MOST_IMAGES),
});

const schema: z.ZodType<NvdecDecoderConfig> = z.strictObject({
  codec: z.enum(codecs, `one of ${codecs.join(", ")}`),
  surfaces: z.int().min(1, "at least 1").max(MOST_SURFACES, `at most ${MOST_SURFACES}`).default(4),
  delay: z.int().min(0, "at least 0").max(4, "at most 4").default(1),
  wholePackets: z.boolean("true or false").default(true),
  maxWidth: side,
  maxHeight: side,
  expected: expected.optional(),
  holdLimitMs: z.number().min(1, "at least 1").default(30_000),
});

/** Check the options of a decoder and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseDecoderOptions(options: NvdecDecoderOptions): NvdecDecoderConfig {
  return parseOptions(schema, options, "open an NvdecDecoder");
}

const enginesSchema: z.ZodType<Filled<NvdecOptions>> = z.strictObject({
  idle: z.int().min(0, "at least 0").max(MOST_IDLE, `at most ${MOST_IDLE}`).default(4),
});

/** Check the options of the engines and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseNvdecOptions(options: NvdecOptions): Filled<NvdecOptions> {
  return parseOptions(enginesSchema, options, "open the video engines");
}
