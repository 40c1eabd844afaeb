import { expect, test } from "bun:test";
import { ArgumentError, OptionError, ShapeError } from "../../src/core/errors.ts";
import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";
import { tightRgb } from "../../src/image/nv12.ts";
import {
  type Box,
  type BoxForm,
  boxToSource,
  convertBox,
  crop,
  denormalizeBox,
  letterbox,
  nms,
  normalizeBox,
} from "../../src/tasks/boxes.ts";
import { boxIou, USUAL_SELECTION } from "../../src/tasks/detect/nms.ts";
import { RotatedSelector, rotatedEnvelope } from "../../src/tasks/obb/rotated.ts";
import { chance } from "../support/chance.ts";
import { nv12Pair } from "../support/nv12-images.ts";

/** Random boxes, and what torchvision 0.29.2+cu132 makes of them: `ops.nms`, `ops.batched_nms` at 0.3, `ops.box_iou` with the first. */
const BOXES: readonly Box[] = [
  [37.5, 53.8, 55.2, 80.6],
  [46.5, 13.5, 60.6, 33.5],
  [18.0, 52.4, 24.5, 67.1],
  [0.3, 49.3, 13.4, 58.0],
  [47.8, 28.1, 73.2, 42.6],
  [18.2, 16.7, 47.7, 36.5],
  [15.3, 26.7, 35.4, 47.7],
  [30.3, 33.2, 52.2, 42.0],
  [59.7, 47.6, 75.7, 58.5],
  [37.3, 59.3, 52.4, 66.8],
  [12.9, 9.6, 42.1, 20.0],
  [36.8, 2.6, 58.5, 15.1],
  [2.1, 30.9, 29.0, 52.4],
  [28.0, 55.0, 36.3, 81.2],
  [37.8, 30.8, 66.4, 58.4],
  [29.8, 14.9, 49.1, 23.5],
  [0.7, 11.5, 10.5, 39.7],
  [41.5, 12.0, 60.3, 21.6],
  [22.2, 0.2, 49.3, 21.3],
  [49.8, 9.3, 69.0, 23.7],
  [16.1, 52.8, 31.3, 63.8],
  [30.6, 50.8, 36.5, 77.7],
  [38.4, 44.5, 55.1, 63.2],
  [5.5, 32.5, 18.5, 56.3],
];
const SCORES = [
  0.025, 0.372, 0.03, 0.123, 0.967, 0.658, 0.428, 0.524, 0.873, 0.344, 0.59, 0.684, 0.355, 0.519, 0.765, 0.909, 0.151,
  0.933, 0.005, 0.753, 0.811, 0.137, 0.419, 0.815,
];
const CLASSES = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1];
const AGNOSTIC = [4, 17, 15, 8, 23, 20, 14, 19, 11, 5, 10, 7, 13, 6, 22, 9, 16, 3, 0];
const BY_CLASS = [4, 17, 15, 8, 23, 20, 14, 19, 11, 5, 10, 7, 13, 6, 22, 12, 9, 16, 21, 3, 2, 0];
const IOUS = [
  1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.234838, 0.0, 0.0, 0.0, 0.0, 0.06762, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
  0.249305, 0.0,
];

const OBJECTS = BOXES.map((box, index) => ({ index, box, score: SCORES[index]!, classId: CLASSES[index]! }));
const indices = (objects: readonly { readonly index: number }[]): number[] => objects.map(({ index }) => index);

test("nms() keeps what torchvision keeps, in its order", () => {
  expect(indices(nms(OBJECTS, { iou: 0.3 }))).toEqual(BY_CLASS);
  expect(indices(nms(OBJECTS, { iou: 0.3, classAgnostic: true }))).toEqual(AGNOSTIC);
  expect(indices(nms(OBJECTS, { iou: 0.3, maxDetections: 3 }))).toEqual(BY_CLASS.slice(0, 3));
  expect(indices(nms(OBJECTS, { iou: 0.3, threshold: 0.9 }))).toEqual(BY_CLASS.filter((at) => SCORES[at]! >= 0.9));
  expect(nms([])).toEqual([]);
  expect(nms([{ ...OBJECTS[0]!, box: [Number.NaN, 0, 1, 1] }])).toEqual([]);
  expect(() => nms(OBJECTS, { iou: 2 })).toThrow(
    new OptionError('Option "iou" must be a number from 0 to 1, got 2', "iou"),
  );
  expect(() => nms([{ ...OBJECTS[0]!, score: 50 }])).toThrow(
    new ArgumentError("Cannot choose boxes: scores are from 0 to 1, got 50"),
  );
});

test("nms() of oriented objects is what their detector does, one without a number left out", () => {
  const random = chance(11);
  const objects = Array.from({ length: 60 }, (_, index) => {
    const xywhr = [random() * 80, random() * 80, 10 + random() * 20, 4 + random() * 8, random() * 3] as const;
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = rotatedEnvelope(xywhr);
    return { index, xywhr, box: [x1, y1, x2, y2] as const, score: random(), classId: index % 2 };
  });
  const selector = new RotatedSelector();
  const count = selector.select(
    {
      count: objects.length,
      boxes: Float32Array.from(objects.flatMap(({ xywhr }) => xywhr)),
      scores: Float32Array.from(objects, ({ score }) => score),
      classIds: Int32Array.from(objects, ({ classId }) => classId),
    },
    { ...USUAL_SELECTION, iou: 0.2, threshold: 0 },
  );
  const wanted = [...selector.kept.subarray(0, count)];
  expect(wanted.length).toBeLessThan(60);
  expect(indices(nms(objects, { iou: 0.2 }))).toEqual(wanted);
  const broken = { ...objects[0]!, index: 99, box: [Number.NaN, 0, 1, 1] as const };
  expect(indices(nms([broken, ...objects], { iou: 0.2 }))).toEqual(wanted);
});

test("boxIou() is torchvision's box_iou", () => {
  for (const [at, iou] of IOUS.entries()) expect(boxIou(BOXES[0]!, BOXES[at]!)).toBeCloseTo(iou, 5);
  expect(boxIou([0, 0, 0, 0], [0, 0, 0, 0])).toBe(0);
});

test("boxes in other forms are torchvision's box_convert, in fractions and back", () => {
  const forms = { xyxy: [3, 7, 11, 27], xywh: [3.0, 7.0, 8.0, 20.0], cxcywh: [7.0, 17.0, 8.0, 20.0] } as Readonly<
    Record<BoxForm, Box>
  >;
  const names = Object.keys(forms) as BoxForm[];
  for (const from of names) for (const to of names) expect(convertBox(forms[from], from, to)).toEqual(forms[to]);
  expect(normalizeBox([3, 7, 11, 28], { width: 10, height: 14 })).toEqual([0.3, 0.5, 1.1, 2]);
  expect(denormalizeBox([0.5, 0.5, 1, 2], { width: 10, height: 14 })).toEqual([5, 7, 10, 28]);
  expect(() => convertBox([0, 0, 1, 1], "yolo" as BoxForm, "xyxy")).toThrow(
    new ArgumentError('Cannot convert a box: its form is xyxy, xywh or cxcywh, got "yolo"'),
  );
});

/** Each pixel tells where it is; rows are further apart than they are long. */
function places(format: Exclude<PixelFormat, "NV12">): Image {
  const bytes = format === "RGBA" ? 4 : 3;
  const pitchBytes = 9 * bytes + 2;
  const data = Uint8Array.from({ length: pitchBytes * 5 }, (_, at) => {
    const x = Math.floor((at % pitchBytes) / bytes);
    return Math.floor(at / pitchBytes) * 37 + x * 7 + ((at % pitchBytes) % bytes);
  });
  return imageOf(data, { width: 9, height: 5, format, pitchBytes });
}

test("crop() cuts out the pixels in a box, of images of every format", () => {
  for (const format of ["RGB", "BGR", "RGBA"] as const) {
    const bytes = format === "RGBA" ? 4 : 3;
    const cut = crop(places(format), [2.4, 1.2, 5.6, 2.5]);
    expect(cut).toMatchObject({ width: 4, height: 2, format, pitchBytes: 4 * bytes });
    const wanted = [1, 2].flatMap((y) =>
      [2, 3, 4, 5].flatMap((x) => Array.from({ length: bytes }, (_, channel) => y * 37 + x * 7 + channel)),
    );
    expect([...cut.data]).toEqual(wanted);
  }
  expect(crop(places("RGB"), [-5, -5, 99, 99])).toMatchObject({ width: 9, height: 5 });
  expect(crop(places("RGB"), [5, 4, 3, 2], 1)).toMatchObject({ width: 4, height: 4 });
  for (const left of [10, 11]) {
    const { nv12 } = nv12Pair(33, 17, { gap: 3, chromaGap: 2 });
    const whole = tightRgb(nv12);
    const cut = crop(nv12, [left, 3, left + 7, 8]);
    expect(cut).toMatchObject({ width: 7, height: 5, format: "RGB" });
    for (let y = 0; y < 5; y++) {
      const from = ((3 + y) * 33 + left) * 3;
      expect(cut.data.subarray(y * 21, y * 21 + 21)).toEqual(whole.subarray(from, from + 21));
    }
  }
  for (const box of [
    [20, 0, 30, 5],
    [Number.NaN, 0, 1, 1],
  ] as const) {
    expect(() => crop(places("RGB"), box)).toThrow(ArgumentError);
  }
  expect(() => crop({ ...places("RGB"), data: new Uint8Array(3) }, [0, 0, 1, 1])).toThrow(ShapeError);
});

test("letterbox() is OpenCV's resize with a border, and boxToSource() the way back", () => {
  const data = Uint8Array.from({ length: 9 * 5 * 3 }, (_, at) => {
    const pixel = Math.floor(at / 3);
    return ((pixel % 9) * 37 + Math.floor(pixel / 9) * 91 + (at % 3) * 53) % 256;
  });
  const source = imageOf(data, { width: 9, height: 5 });
  const { image, region } = letterbox(source, [6, 8]);
  // Rows 2, 3 and 4 by cv2.resize, INTER_LINEAR.
  const content = [
    39, 92, 146, 95, 148, 137, 150, 182, 171, 142, 174, 99, 133, 59, 111, 61, 114, 167, 191, 180, 41, 55, 44, 97, 46,
    99, 152, 102, 155, 208, 157, 210, 199, 213, 74, 63, 87, 140, 193, 142, 195, 120, 155, 80, 112, 83, 136, 103, 117,
    106, 159, 108, 161, 214,
  ];
  expect(image).toMatchObject({ width: 6, height: 8, format: "RGB", pitchBytes: 18 });
  expect([...image.data]).toEqual([...new Array(36).fill(114), ...content, ...new Array(54).fill(114)]);
  expect(boxToSource([0, 2, 6, 5], region)).toEqual([0, 0, 9, 5]);
  expect(boxToSource([2, 0, 4, 8], region)).toEqual([3, 0, 6, 5]);
  const black = letterbox(source, [6, 8], { fit: "letterbox-top-left", pad: 0 }).image;
  expect([...black.data.subarray(54)]).toEqual(new Array(90).fill(0));
  expect(letterbox(source, [6, 8], { fit: "stretch", resize: "antialias" }).image.data).not.toContain(114);
  const bgr = imageOf(
    data.map((_, at) => data[at - (at % 3) + 2 - (at % 3)]!),
    { width: 9, height: 5, format: "BGR" },
  );
  expect(letterbox(bgr, [6, 8]).image.data).toEqual(image.data);
  for (const size of [
    [0, 8],
    [6.5, 8],
  ] as const) {
    expect(() => letterbox(source, size)).toThrow('Option "size');
  }
  expect(() => letterbox(source, [6, 8], { padding: 0 } as object)).toThrow('Unknown option "padding"');
});
