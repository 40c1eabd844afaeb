/** @module Dense plan: the decode plan of a dense head, from how its output was read. */

import type { DenseReading } from "./dense-reading.ts";
import type { DensePlan } from "./plan.ts";

/** Channels of a box, which come first. */
const BOX_CHANNELS = 4;

/**
 * The plan of a head with a box, perhaps objectness, and a probability a class.
 *
 * @param score what makes the score; `class` says that there is no objectness
 */
export function densePlan(
  reading: DenseReading,
  classes: number,
  score: DensePlan["score"],
  boxUnit: DensePlan["boxUnit"] = "pixels",
): DensePlan {
  return {
    kind: "dense",
    output: reading.output.name,
    order: reading.channelAxis === 1 ? "channel-major" : "anchor-major",
    channels: reading.channels,
    classes,
    classChannel: score === "class" ? BOX_CHANNELS : BOX_CHANNELS + 1,
    score,
    boxUnit,
  };
}
