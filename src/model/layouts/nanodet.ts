/** @module Layout `nanodet`: a class map and a map of distance bins for each stride, as NanoDet exports. */

import type { TensorInfo } from "../../core/tensor.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import { cellCount, USUAL_STRIDES } from "../anchors.ts";
import { decodeDistanceBins } from "../decode/distance-bins.ts";
import type { Layout, Recognition } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import { isFloat } from "../outputs.ts";
import type { DistanceBinsLevel, DistanceBinsPlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

/** Centred letterbox padded with black, BGR levels with the mean and deviation NanoDet trains with. */
const NANODET_PREPROCESSING: Preprocessing = {
  fit: "letterbox",
  resize: "bilinear",
  colour: "BGR",
  layout: "NCHW",
  dtype: "f32",
  scale: 1,
  mean: [103.53, 116.28, 123.675],
  std: [57.375, 57.12, 58.395],
  pad: [0, 0, 0],
};

/** Bins a side of NanoDet's published models. */
const USUAL_BINS = 8;

/** Distances are named so, or else have the usual number of channels, which the classes have not. */
function isDistances({ name, shape }: TensorInfo, other: TensorInfo): boolean {
  const named = (text: string): boolean => /dis|reg|box/i.test(text);
  if (named(name) !== named(other.name)) return named(name);
  return shape[2] === 4 * USUAL_BINS && other.shape[2] !== shape[2];
}

interface Level {
  readonly classMap: TensorInfo;
  readonly distanceMap: TensorInfo;
}

function findLevel(maps: readonly TensorInfo[], cells: number): Level | undefined {
  const [a, b, ...others] = maps.filter((map) => map.shape[1] === cells);
  if (a === undefined || b === undefined || others.length > 0) return undefined;
  if (isDistances(a, b)) return { classMap: b, distanceMap: a };
  return isDistances(b, a) ? { classMap: a, distanceMap: b } : undefined;
}

/** Three pairs of maps at strides 8, 16 and 32, told apart by their cells. NanoDet-Plus has one output and is another. */
export const nanodet: Layout<DistanceBinsPlan> = {
  name: "nanodet",
  summary:
    "six outputs, strides 8, 16, 32: class maps [N, cells, classes] and distance maps [N, cells, 4×bins] (NanoDet)",
  recognise(traits: ModelTraits): Recognition<DistanceBinsPlan> | undefined {
    const { outputs } = traits.model;
    const size = traits.image.fixedSize;
    if (size === undefined || outputs.length !== 2 * USUAL_STRIDES.length) return undefined;
    if (outputs.some((info) => !isFloat(info) || info.shape.length !== 3)) return undefined;
    const levels: DistanceBinsLevel[] = [];
    const found: TensorInfo[] = [];
    for (const stride of USUAL_STRIDES) {
      const level = findLevel(outputs, cellCount(size[0], size[1], [stride]));
      if (level === undefined) return undefined;
      levels.push({ stride, classMap: level.classMap.name, distanceMap: level.distanceMap.name });
      found.push(level.classMap, level.distanceMap);
    }
    const classes = found[0]?.shape[2] ?? -1;
    const channels = found[1]?.shape[2] ?? -1;
    if (classes < 1 || channels < 8 || channels % 4 !== 0) return undefined;
    if (found.some((map, at) => map.shape[2] !== (at % 2 === 0 ? classes : channels))) return undefined;
    if (traits.classes !== undefined && traits.classes !== classes) return undefined;
    return recognition(nanodet, traits, {
      outputs: found,
      preprocessing: NANODET_PREPROCESSING,
      classes,
      needsNms: true,
      plan: { kind: "distance-bins", levels, classes, bins: channels / 4 },
    });
  },
  decode: decodeDistanceBins,
};
