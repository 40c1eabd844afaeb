/** @module CallOptions: what calls, streams and warm-ups are told, whatever the façade; checked once. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { wholeWithin } from "../core/number-options.ts";
import { type Complete, type Option, type OptionTable, parseOptions, shapeOf } from "../core/options.ts";
import { MACHINE_OPTIONS } from "./machine-options.ts";

/** What every call may be told. */
export interface CallOptions {
  /** Aborted: the call rejects at once with the signal's reason, and an image that had no slot yet never runs. */
  readonly signal?: AbortSignal | undefined;
}

/** How the images of a stream are taken, whatever the task. */
export interface StreamRules {
  /**
   * `"all"`: every image is run, and the sequence is read only as fast as slots become free. `"latest"`, for live
   * sources: the sequence is read continuously; while all slots are busy the newest image waits, and the one that waited
   * before it is dropped. Default `"all"`.
   */
  readonly policy?: "all" | "latest" | undefined;
  /** Called with the error of one image and its place in the sequence; the image is skipped in the results. */
  readonly onError?: ((error: unknown, index: number) => void) | undefined;
  /** Called with the place in the sequence of each image that is dropped for a newer one. */
  readonly onDrop?: ((index: number) => void) | undefined;
  /** Aborted: no further image is begun; once those that are running have ended, the stream throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The rules of one stream, complete, and the options of its calls. */
export type StreamConfig<Options> = Complete<StreamRules, "onError" | "onDrop" | "signal"> & {
  readonly call: Options;
};

/** Of a function that is called back. */
export const CALLBACK_OPTION: Option<z.ZodOptional<z.ZodType<never>>> = {
  schema: z.custom<never>((value) => typeof value === "function", "a function").optional(),
};

const streamShape = {
  policy: z.enum(["all", "latest"], "all or latest").default("all"),
  onError: CALLBACK_OPTION.schema,
  onDrop: CALLBACK_OPTION.schema,
};

/** Checks what the calls and streams of a façade are told. */
export class CallParser<Options extends CallOptions = CallOptions> {
  /** What a call does, for messages: `detect`. */
  readonly action: string;
  readonly #table: OptionTable;
  readonly #call: z.ZodObject;
  readonly #stream: z.ZodObject;

  /** @param table of a call's options, but for the signal */
  constructor(action: string, table: OptionTable = {}) {
    this.action = action;
    this.#table = { ...table, signal: MACHINE_OPTIONS.signal };
    this.#call = z.strictObject(shapeOf(this.#table));
    this.#stream = this.#call.extend(streamShape);
  }

  /** Options of one call. @throws {OptionError} If one is unknown or out of range */
  call(options: object): Options {
    return parseOptions(this.#call, options, this.action, this.#table) as Options;
  }

  /** Options of a stream. @throws {OptionError} If one is unknown or out of range */
  stream(options: object): StreamConfig<Options> {
    const parsed = parseOptions(this.#stream, options, `${this.action} in a stream`, this.#table);
    const { policy, onError, onDrop, signal, ...call } = parsed as unknown as StreamConfig<never>;
    return { policy, onError, onDrop, signal, call: call as unknown as Options };
  }
}

/** What `Detector.warmUp` is told. */
export interface WarmUpOptions {
  /** Width and height of the images to come, in pixels: memory is taken for as many. Default 1920 × 1080. */
  readonly size?: readonly [width: number, height: number] | undefined;
}

/** Sides of an image of which JPEG can hold no more. */
const imageSide = wholeWithin(1, 65_500);
const warmUpSchema = z.strictObject({ size: z.tuple([imageSide, imageSide], "[width, height]").optional() });

/**
 * Check the options of a warm-up.
 *
 * @param maxPixels of the detector; the default size is no larger
 * @throws {OptionError} If one is unknown or out of range, or the size has more pixels
 */
export function parseWarmUpOptions(options: WarmUpOptions, maxPixels: number): { width: number; height: number } {
  const { size } = parseOptions(warmUpSchema, options, "warm up");
  const side = Math.floor(Math.sqrt(maxPixels));
  const [width, height] = size ?? [Math.min(1920, side), Math.min(1080, side)];
  if (width * height <= maxPixels) return { width, height };
  const found = `Option "size" must have at most ${maxPixels} pixels, as the images, got ${width}x${height}`;
  throw new OptionError(`${found}\nHint: raise maxPixels of load, or give the size of the images to come`, "size");
}
