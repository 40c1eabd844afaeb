/** @module Oriented cases: outputs of models of oriented boxes, with ties, clusters, and numbers that are none. */

import { allocate, type Tensor } from "../../src/core/tensor.ts";
import type { ObjectSpec } from "../../src/heads/object-reading.ts";
import type { RowExtra } from "../../src/model/rows.ts";
import { chance } from "./chance.ts";
import type { DecodeCase } from "./decode-cases.ts";

/** A batch of outputs of such a model. */
export interface OrientedCase extends DecodeCase, Pick<ObjectSpec, "extras" | "plan"> {
  readonly extras: readonly RowExtra[];
  readonly plan: ObjectSpec["plan"];
}

/** How much of what there is. */
export interface OrientedCrowd {
  readonly dtype?: "f32" | "f16";
  readonly images?: number;
  readonly boxes: number;
  readonly classes: number;
  /** Boxes lie around so many places. */
  readonly places: number;
  /** Rows that are final, and need no NMS. */
  readonly isFinal?: boolean;
  /** Some of the numbers are NaN, infinite, or too large to be squared. Default true. */
  readonly isOdd?: boolean;
}

const ODDITIES = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -7, 0, 60_000];

/** Boxes of a few places, about as wide as two of them are apart, turned by up to three quarters of a circle. */
export function orientedCase(crowd: OrientedCrowd): OrientedCase {
  const { dtype = "f32", images = 2, boxes, classes, places, isFinal = false, isOdd = true } = crowd;
  const channels = isFinal ? 7 : 5 + classes;
  const shape = isFinal ? [images, boxes, channels] : [images, channels, boxes];
  const random = chance(boxes * 7 + classes);
  const data = allocate(dtype, images * boxes * channels);
  const side = Math.ceil(Math.sqrt(places));
  for (let image = 0; image < images; image++) {
    for (let box = 0; box < boxes; box++) {
      const place = Math.floor(random() * places);
      const values = [
        (place % side) * 70 + random() * 25,
        Math.floor(place / side) * 70 + random() * 25,
        30 + random() * 40,
        10 + random() * 30,
      ];
      const angle = (random() * 1.5 - 0.25) * Math.PI;
      const scores = Array.from({ length: classes }, () => Math.round(random() ** 6 * 64) / 64);
      if (isFinal) values.push(Math.round(random() * 64) / 64, Math.floor(random() * classes), angle);
      else values.push(...scores, angle);
      const isFlawed = isOdd && random() < 0.03;
      // A class is never odd: that fails as a whole.
      const flaw = [0, 1, 2, 3, values.length - 1][Math.floor(random() * 5)]!;
      if (isFlawed) values[flaw] = ODDITIES[Math.floor(random() * ODDITIES.length)]!;
      for (const [channel, value] of values.entries()) {
        const at = isFinal ? box * channels + channel : channel * boxes + box;
        data[image * boxes * channels + at] = value;
      }
    }
  }
  const order = isFinal ? "anchor-major" : "channel-major";
  const extra = { output: "output0", order, channels } as const;
  const name = `${boxes} oriented boxes of ${classes} classes in ${places} places, ${isFinal ? "final, " : ""}${dtype}`;
  return {
    name,
    plan: isFinal
      ? {
          ...{ kind: "rows", output: "output0", columns: channels, boxColumn: 0, scoreColumn: 4, classColumn: 5 },
          ...{ batchColumn: undefined, counts: undefined, boxForm: "centre" },
        }
      : {
          ...{ kind: "dense", output: "output0", channels, classes, classChannel: 4 },
          ...{ order: "channel-major", score: "class", boxUnit: "pixels" },
        },
    outputs: new Map([["output0", { dtype, shape, data } as Tensor]]),
    batch: images,
    inputWidth: 640,
    inputHeight: 480,
    needsNms: !isFinal,
    extras: [
      { ...extra, name: "sides", first: 0, length: 4 },
      { ...extra, name: "angles", first: channels - 1, length: 1 },
    ],
  } as OrientedCase;
}
