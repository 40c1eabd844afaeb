/** @module Models of each task small enough to be read: what they find is the same in every image. Sides are those of 64x64 images. */

import { type FixedOutput, fixedModel, rawGrid } from "./fixed-model.ts";
import { toyClassifier } from "./toy-classifier.ts";

const names = "{0: 'cat', 1: 'dog'}";

/** Points of COCO's person in an image of 64x64: x, y, score; the last two are not seen. */
export const TOY_POINTS: readonly (readonly [x: number, y: number, score: number])[] = Array.from(
  { length: 17 },
  (_, at) => [16 + 2 * at, 12 + 2 * at, at < 15 ? 0.875 : 0.125],
);

/** Of 32 channels the first is 1, and the second 1 on the left and -1 on the right. */
const PROTOTYPES: FixedOutput = {
  name: "output1",
  shape: [1, 32, 8, 8],
  values: Array.from({ length: 32 * 64 }, (_, at) => (at < 64 ? 1 : at < 128 ? (at % 8 < 4 ? 1 : -1) : 0)),
};

function coefficients(channel: number): number[] {
  return Array.from({ length: 32 }, (_, at) => (at === channel ? 1 : 0));
}

/** One person from 8, 8 to 56, 56. */
export const toyPose: Uint8Array<ArrayBuffer> = fixedModel(
  [rawGrid(56, [[1, [16, 16, 24, 24, 0.75, ...TOY_POINTS.flatMap(([x, y, score]) => [x / 2, y / 2, score])]]])],
  { metadata: { task: "pose", names: "{0: 'person'}", kpt_shape: "[17, 3]" } },
);

/** A box of 24x8 around 32, 32 that stands upright, turned by 90°, and one of 16x16 around 16, 16 that is not turned. */
export const toyObb: Uint8Array<ArrayBuffer> = fixedModel(
  [
    rawGrid(7, [
      [1, [16, 16, 12, 4, 0.75, 0.1, Math.PI / 2]],
      [2, [8, 8, 8, 8, 0.1, 0.5, 0]],
    ]),
  ],
  { metadata: { task: "obb", names } },
);

/** A cat of all of the box from 8, 8 to 40, 32, and a dog of what is left of 32 in that from 24, 40 to 56, 56. */
export const toySegmenter: Uint8Array<ArrayBuffer> = fixedModel(
  [
    rawGrid(38, [
      [1, [12, 10, 16, 12, 0.875, 0.1, ...coefficients(0)]],
      [2, [20, 24, 16, 8, 0.1, 0.75, ...coefficients(1)]],
    ]),
    PROTOTYPES,
  ],
  { metadata: { task: "segment", names } },
);

/** The mean of each channel. */
export const toyColours: Uint8Array<ArrayBuffer> = toyClassifier({
  side: 8,
  scores: "means",
  hasSoftmax: true,
  metadata: { task: "classify", names: "{0: 'red', 1: 'green', 2: 'blue'}" },
});
