/** @module Video options: what callers may set of a source or a sink, checked once with zod. */

import { z } from "zod";
import { type Complete, type Filled, parseOptions } from "../core/options.ts";
import { parseRational, type Rational } from "./video-frame.ts";

/** How a live source is opened again after it has stopped. */
export interface ReconnectOptions {
  /** Tries in a row that give no frame before it is given up. Default: without end. */
  readonly attempts?: number | undefined;
  /** Wait before the first try, in milliseconds; it doubles with each. Default 500. */
  readonly firstDelayMs?: number | undefined;
  /** Longest wait, in milliseconds. Default 15,000. */
  readonly longestDelayMs?: number | undefined;
}

/** Options of `VideoSource.open`. */
export interface VideoOptions {
  /** Size of the frames in pixels. Default: the video's own. */
  readonly size?: readonly [width: number, height: number] | undefined;
  /**
   * `"nv12"`: frames as decoders give them, in half the bytes; colours have half the resolution, which most video has
   * anyway. `"rgb"`: three bytes a pixel, converted by ffmpeg. Default `"nv12"`.
   */
  readonly pixels?: "nv12" | "rgb" | undefined;
  /** Hand out every n-th frame. Default 1: all. */
  readonly every?: number | undefined;
  /** Hand out at most this many frames per second, spread evenly; none is repeated. Default: all. */
  readonly fps?: number | undefined;
  /** Begin here, in milliseconds. Default 0. */
  readonly startMs?: number | undefined;
  /** End after this much of the video, in milliseconds. Default: at its end. */
  readonly durationMs?: number | undefined;
  /** True: it has no end of its own, and is opened again when it stops. Default: cameras, and addresses of unknown length. */
  readonly live?: boolean | undefined;
  /** How a live source is opened again; false: never. */
  readonly reconnect?: false | ReconnectOptions | undefined;
  /** A live source that gives nothing for this long is opened again, in milliseconds. Default 10,000. */
  readonly stallMs?: number | undefined;
  /** How long opening may take, in milliseconds. Default 30,000. */
  readonly openTimeoutMs?: number | undefined;
  /** Frames decoded ahead of the reader, at least 1. Default 2. */
  readonly readAhead?: number | undefined;
  /**
   * Where frames are kept, such as page-locked memory: called once for each of `buffers`. Each frame must then be
   * released, as there are no others.
   */
  readonly allocate?: ((byteLength: number) => Uint8Array) | undefined;
  /** Buffers that `allocate` is asked for, at most. Default 8. */
  readonly buffers?: number | undefined;
  /** Further options of ffmpeg for its input: `["-framerate", "60"]` for a camera. */
  readonly inputArguments?: readonly string[] | undefined;
  /** The same for decoding alone, which ffprobe does not know: `["-hwaccel", "cuda"]`. */
  readonly decoderArguments?: readonly string[] | undefined;
  /**
   * `"gpu"`: NVDEC decodes, and frames stay in the memory of the GPU: models there read them without a copy on the host, and
   * `frame.data` is one, made when it is asked for. `"cpu"`: ffmpeg decodes. Default `"auto"`: the GPU whose model reads the
   * frames, where it decodes such video; else ffmpeg, with a line in the log that says why.
   */
  readonly decode?: "auto" | "gpu" | "cpu" | undefined;
  /** Number of the GPU that decodes. Default: the model's, else 0. */
  readonly device?: number | undefined;
  /**
   * `"all"`: a source that is faster than its reader waits. `"latest"`: it does not wait; a frame that nobody has taken
   * is replaced by the next one, and counted. Default `"latest"` for live sources, else `"all"`.
   */
  readonly policy?: "all" | "latest" | undefined;
  /** Ends the source; its reason is thrown by the iteration. */
  readonly signal?: AbortSignal | undefined;
}

/** {@linkcode VideoOptions}, complete; `undefined` where the default depends on the video. */
export type VideoConfig = Complete<
  Omit<VideoOptions, "reconnect">,
  "size" | "fps" | "durationMs" | "live" | "allocate" | "policy" | "signal" | "device"
> & { readonly reconnect: false | Filled<ReconnectOptions> };

/** Options of `VideoSink.open`. */
export interface VideoSinkOptions {
  /** Size of the frames in pixels. */
  readonly width: number;
  readonly height: number;
  /** Frames per second, as a number or as `"30000/1001"`; each frame is then equally long. Default: by the frames' own times. */
  readonly rate?: number | string | Rational | undefined;
  /** 0 (best) to 51 (worst) for H.264, 63 for VP9. Default 23, 33 for VP9. */
  readonly quality?: number | undefined;
  /** Further options of ffmpeg for its output: `["-c:v", "libx265"]`. */
  readonly outputArguments?: readonly string[] | undefined;
}

/** {@linkcode VideoSinkOptions}, complete; `undefined` where the default depends on the frames or the format. */
export type VideoSinkConfig = Complete<Omit<VideoSinkOptions, "rate">, "quality"> & {
  readonly rate: Rational | undefined;
};

const side = z.int().min(1, "a whole number of pixels").max(16_384, "at most 16384 pixels");
const milliseconds = z.number().min(0, "0 or more milliseconds");
/** Timers hold no more: one that is longer would ring at once. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;
const wait = z.number().max(LONGEST_WAIT_MS, `at most ${LONGEST_WAIT_MS}`);
const words = z.array(z.string(), "a list of words").default([]);

const reconnectSchema = z.strictObject({
  attempts: z.number().min(1, "at least 1").default(Number.POSITIVE_INFINITY),
  firstDelayMs: wait.min(0, "0 or more milliseconds").default(500),
  longestDelayMs: wait.min(0, "0 or more milliseconds").default(15_000),
});

const sourceSchema = z.strictObject({
  size: z.tuple([side, side], "[width, height]").optional(),
  pixels: z.enum(["nv12", "rgb"], "nv12 or rgb").default("nv12"),
  every: z.int().min(1, "at least 1").default(1),
  fps: z.number().positive("more than 0").max(1000, "at most 1000").optional(),
  startMs: milliseconds.default(0),
  durationMs: z.number().positive("more than 0").optional(),
  live: z.boolean("true or false").optional(),
  reconnect: z
    .union([z.literal(false), reconnectSchema], "false, or an object of options")
    .default(() => reconnectSchema.parse({})),
  stallMs: wait.min(100, "at least 100").default(10_000),
  openTimeoutMs: wait.min(1, "at least 1").default(30_000),
  readAhead: z.int().min(1, "at least 1").max(64, "at most 64").default(2),
  allocate: z
    .custom<(byteLength: number) => Uint8Array>((value) => typeof value === "function", "a function")
    .optional(),
  buffers: z.int().min(2, "at least 2").max(256, "at most 256").default(8),
  inputArguments: words,
  decoderArguments: words,
  decode: z.enum(["auto", "gpu", "cpu"], "auto, gpu or cpu").default("auto"),
  device: z.int().min(0, "the number of a GPU, 0 or more").optional(),
  policy: z.enum(["all", "latest"], "all or latest").optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional(),
});

/** A number becomes a fraction of thousandths, unless it is whole. */
function rationalOf(rate: number | string | Rational): Rational | undefined {
  if (typeof rate === "string") return parseRational(rate);
  if (typeof rate !== "number") return rate;
  const denominator = Number.isInteger(rate) ? 1 : 1000;
  return { numerator: Math.round(rate * denominator), denominator };
}

const rateRule = "frames per second, such as 25 or 30000/1001";
const part = z.int(rateRule).positive(rateRule);
const fraction = z.strictObject({ numerator: part, denominator: part });

const sinkSchema = z.strictObject({
  width: side,
  height: side,
  rate: z
    .union([z.number().positive(rateRule), z.string(), fraction], rateRule)
    .transform(rationalOf)
    .refine((rate) => rate !== undefined, rateRule)
    .optional(),
  quality: z.int().min(0, "at least 0").max(63, "at most 63").optional(),
  outputArguments: words,
});

/** @throws {OptionError} If an option is unknown or out of range */
export function parseVideoOptions(options: VideoOptions): VideoConfig {
  return parseOptions(sourceSchema, options, "open a video") as VideoConfig;
}

/** @throws {OptionError} If an option is unknown or out of range */
export function parseVideoSinkOptions(options: VideoSinkOptions): VideoSinkConfig {
  return parseOptions(sinkSchema, options, "write a video") as VideoSinkConfig;
}
