/** @module Yuv: colours as Y, U, V: the coefficients that turn them into R, G, B, in integers as CPU and GPU use them. */

import type { Colour } from "./class-colour.ts";

/** Which shares of the colours make Y: SD video is BT.601, HD BT.709, and HDR mostly BT.2020. */
export type YuvStandard = "BT.601" | "BT.709" | "BT.2020";

/** `limited`: Y from 16 to 235, U and V from 16 to 240, as video is. `full`: 0 to 255, as JPEG is. */
export type YuvRange = "limited" | "full";

/**
 * R = (y × (Y − offset) + vRed × (V − 128) + 2¹⁵) >> 16, and so on, cut to 0–255; Y below the offset counts as it.
 * All but the offset are multiplied by 2¹⁶.
 */
export interface YuvCoefficients {
  readonly offset: number;
  readonly y: number;
  readonly vRed: number;
  readonly uGreen: number;
  readonly vGreen: number;
  readonly uBlue: number;
}

/** Shares of red and blue in the luminance. */
const SHARES: Readonly<Record<YuvStandard, readonly [red: number, blue: number]>> = {
  "BT.601": [0.299, 0.114],
  "BT.709": [0.2126, 0.0722],
  "BT.2020": [0.2627, 0.0593],
};

/** True for the name of a standard. */
export function isYuvStandard(name: unknown): name is YuvStandard {
  return typeof name === "string" && Object.hasOwn(SHARES, name);
}

const ONE = 65_536;

const LAST_SD_LINE = 576;

function coefficients(standard: YuvStandard, range: YuvRange): YuvCoefficients {
  const [red, blue] = SHARES[standard];
  const green = 1 - red - blue;
  const luma = range === "limited" ? 255 / 219 : 1;
  const chroma = range === "limited" ? 255 / 224 : 1;
  return {
    offset: range === "limited" ? 16 : 0,
    y: Math.round(luma * ONE),
    vRed: Math.round(2 * (1 - red) * chroma * ONE),
    uGreen: Math.round((-2 * (1 - blue) * blue * chroma * ONE) / green),
    vGreen: Math.round((-2 * (1 - red) * red * chroma * ONE) / green),
    uBlue: Math.round(2 * (1 - blue) * chroma * ONE),
  };
}

const COEFFICIENTS: Readonly<Record<YuvStandard, Readonly<Record<YuvRange, YuvCoefficients>>>> = {
  "BT.601": { limited: coefficients("BT.601", "limited"), full: coefficients("BT.601", "full") },
  "BT.709": { limited: coefficients("BT.709", "limited"), full: coefficients("BT.709", "full") },
  "BT.2020": { limited: coefficients("BT.2020", "limited"), full: coefficients("BT.2020", "full") },
};

/** The coefficients of a standard and range, the same object each time. @see ITU-R BT.601, BT.709 and BT.2020, "digital representation" */
export function yuvCoefficients(standard: YuvStandard, range: YuvRange): YuvCoefficients {
  return COEFFICIENTS[standard][range];
}

/** The standard of video that does not tell its own: BT.601 up to 576 lines, BT.709 above. */
export function usualStandard(height: number): YuvStandard {
  return height > LAST_SD_LINE ? "BT.709" : "BT.601";
}

/** A colour as Y, U, V, each 0–255. */
export function yuvOf(
  { red, green, blue }: Colour,
  standard: YuvStandard,
  range: YuvRange,
): [y: number, u: number, v: number] {
  const [redShare, blueShare] = SHARES[standard];
  const luma = redShare * red + (1 - redShare - blueShare) * green + blueShare * blue;
  const [scale, offset, swing] = range === "limited" ? [219 / 255, 16, 224 / 255] : [1, 0, 1];
  const chroma = (difference: number, share: number): number =>
    Math.min(255, Math.round(128 + (difference / (2 * (1 - share))) * swing));
  return [Math.round(luma * scale + offset), chroma(blue - luma, blueShare), chroma(red - luma, redShare)];
}
