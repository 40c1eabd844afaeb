/** @module VideoForm: how video is coded, as far as it decides whether a card decodes it; the engines' limits in words. Pure. */

import type { YuvRange, YuvStandard } from "../image/image.ts";

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

/** Sides of the blocks that videos are coded in, in pixels. */
const BLOCK = 16;

/**
 * Why engines do not decode a video, in one clause; `undefined` where they do.
 *
 * @param card `NVIDIA H200`
 */
export function refusalOf(
  card: string,
  { codec, chroma = "4:2:0", bits = 8, width, height }: VideoForm,
  caps: VideoDecoderCaps,
): string | undefined {
  const title = CODEC_TITLES[codec];
  const form = `${title} of ${bits} bits in ${chroma}`;
  if (!caps.isSupported) {
    return chroma === "4:2:0" && bits === 8 ? `${card} does not decode ${title}` : `${card} does not decode ${form}`;
  }
  const isPlain = chroma === "mono" || chroma === "4:2:0";
  if (!isPlain || !caps.formats.includes(bits === 8 ? "NV12" : "P016")) return `${form} gives neither NV12 nor P016`;
  if (width === undefined || height === undefined) return undefined;
  const size = `${width}x${height}`;
  const { minWidth, minHeight, maxWidth, maxHeight, maxMacroblocks } = caps;
  if (width < minWidth || height < minHeight) {
    return `${card} decodes ${title} from ${minWidth}x${minHeight} on, and this is ${size}`;
  }
  if (width > maxWidth || height > maxHeight) {
    return `${card} decodes ${title} up to ${maxWidth}x${maxHeight}, and this is ${size}`;
  }
  if (Math.ceil(width / BLOCK) * Math.ceil(height / BLOCK) > maxMacroblocks) {
    return `${card} decodes ${title} of up to ${maxMacroblocks * BLOCK * BLOCK} pixels, and this is ${size}`;
  }
  // Of 321x241 an H200 gave other pixels than libvpx and ffmpeg, of whole blocks the same ones.
  if (codec === "vp8" && (width % BLOCK !== 0 || height % BLOCK !== 0)) {
    return `GPUs decode VP8 to the bit only in multiples of ${BLOCK} pixels, and this is ${size}`;
  }
  return undefined;
}

/** `matrix_coefficients` of H.264, H.265 and ITU-T H.273. */
const STANDARDS: ReadonlyMap<number, YuvStandard> = new Map([
  [1, "BT.709"],
  [5, "BT.601"],
  [6, "BT.601"],
  [9, "BT.2020"],
]);

/** @param signal `video_signal_description`: format and range, primaries, transfer, matrix, a byte each */
export function standardOfSignal(signal: number): YuvStandard | undefined {
  return STANDARDS.get(signal >>> 24);
}

/** @param signal `video_signal_description` */
export function rangeOfSignal(signal: number): YuvRange {
  return (signal & 8) !== 0 ? "full" : "limited";
}
