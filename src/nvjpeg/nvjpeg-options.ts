/** @module NvJpegOptions: what callers may say about a decoder, checked once. */

import { z } from "zod";
import { type Filled, parseOptions } from "../core/options.ts";

/** Options of `NvJpegDecoder.create`. */
export interface NvJpegOptions {
  /**
   * `hardware`: the engines made for JPEG, which A100, H100, L4, Jetson Thor and newer cards have; `hybrid`: the
   * multiprocessors, and a CPU core for longer than libjpeg-turbo would need it. Default `auto`: the engines where there
   * are some.
   */
  readonly backend?: "auto" | "hardware" | "hybrid" | undefined;
  /** Most images nvJPEG gets at once. Default: as many as there are engines, 7 on an H100; 1 for the hybrid backend. */
  readonly batch?: number | undefined;
  /** Most batches under way. Default 5, and 8 for the hybrid backend. */
  readonly lanes?: number | undefined;
  /**
   * False: files whose data is damaged are not looked for. nvJPEG does not tell them, and leaves in their place what an
   * earlier image had there. Default true: the GPU looks for them while the engines work.
   */
  readonly check?: boolean | undefined;
}

/** Complete options; what is left out is for the decoder to choose. */
type NvJpegConfig = Filled<Pick<NvJpegOptions, "backend" | "check">> & {
  readonly batch?: number | undefined;
  readonly lanes?: number | undefined;
};

const schema: z.ZodType<NvJpegConfig> = z.strictObject({
  backend: z.enum(["auto", "hardware", "hybrid"], "auto, hardware or hybrid").default("auto"),
  batch: z.int().min(1, "at least 1").max(256, "at most 256").optional(),
  lanes: z.int().min(1, "at least 1").max(64, "at most 64").optional(),
  check: z.boolean("true or false").default(true),
});

/** Check the options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseNvJpegOptions(options: NvJpegOptions): NvJpegConfig {
  return parseOptions(schema, options, "create an NvJpegDecoder");
}
