/** @module PreprocessingFlags: the flags that say what a model wants done to a picture, where its layout's way is wrong. */

import { z } from "zod";
import { FITS, type Fit } from "../image/geometry.ts";
import { type PreprocessingOptions, RESIZES, type Resize } from "../image/preprocessing.ts";
import type { Flag } from "./args.ts";
import { perChannel, scaleFactor } from "./values.ts";

/** In the order of the help. */
export const PREPROCESSING_FLAGS: readonly Flag[] = [
  { name: "fit", value: "HOW", summary: `how an image is fitted to the input: ${FITS.join(", ")}` },
  { name: "resize", value: "HOW", summary: `${RESIZES.join(", as OpenCV, or ")}, as Pillow and torchvision` },
  { name: "colour", value: "RGB|BGR", summary: "order of the input's channels" },
  { name: "scale", value: "NUMBER", summary: "multiplies levels 0 to 255: 1/255 for an input in 0 to 1, or 1" },
  { name: "mean", value: "N|N,N,N", summary: "subtracted after that, for each channel: 0.485,0.456,0.406" },
  { name: "std", value: "N|N,N,N", summary: "divides after that, for each channel: 0.229,0.224,0.225" },
  { name: "pad", value: "N|N,N,N", summary: "padding value of a letterboxed image, 0 to 255" },
];

type Channels = number | [number, number, number];

/** What these flags add to a command's schema. */
export const preprocessingShape: {
  readonly fit: z.ZodOptional<z.ZodType<Fit, string>>;
  readonly resize: z.ZodOptional<z.ZodType<Resize, string>>;
  readonly colour: z.ZodOptional<z.ZodType<"RGB" | "BGR", string>>;
  readonly scale: z.ZodOptional<z.ZodType<number, string>>;
  readonly mean: z.ZodOptional<z.ZodType<Channels, string>>;
  readonly std: z.ZodOptional<z.ZodType<Channels, string>>;
  readonly pad: z.ZodOptional<z.ZodType<Channels, string>>;
} = {
  fit: z.enum(FITS as readonly [Fit, ...Fit[]], `one of ${FITS.join(", ")}`).optional(),
  resize: z.enum(RESIZES as readonly [Resize, ...Resize[]], RESIZES.join(" or ")).optional(),
  colour: z.enum(["RGB", "BGR"], "RGB or BGR").optional(),
  scale: scaleFactor.optional(),
  mean: perChannel.optional(),
  std: perChannel.optional(),
  pad: perChannel.optional(),
};

/** `undefined` where none of the flags was given, so that the layout's pre-processing holds. */
export function preprocessingOf(
  flags: {
    readonly [Name in keyof typeof preprocessingShape]?: z.output<(typeof preprocessingShape)[Name]>;
  },
): PreprocessingOptions | undefined {
  const { fit, resize, colour, scale, mean, std, pad } = flags;
  const said = Object.entries({ fit, resize, colour, scale, mean, std, pad }).filter(
    ([, value]) => value !== undefined,
  );
  return said.length === 0 ? undefined : Object.fromEntries(said);
}
