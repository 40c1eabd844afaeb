import { expect, test } from "bun:test";
import {
  categoryNumbers,
  checkImageNumbers,
  cocoFormat,
  type ImageResult,
  imageNumbers,
  jsonFormat,
  jsonLinesFormat,
  type ResultFormat,
  tableFormat,
} from "../../src/cli/formats.ts";
import { recognitionLines } from "../../src/cli/inspection.ts";
import { textSink } from "../../src/cli/result-target.ts";
import { paintOf } from "../../src/cli/terminal.ts";
import type { Output } from "../../src/core/whole-file.ts";
import { ANCHORS } from "../../src/heads/anchors.ts";
import type { RecogniseOptions } from "../../src/heads/head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { COCO_80, COCO_91 } from "../../src/model/model-info.ts";
import { DETECT_FORMS, type DetectionResult } from "../../src/tasks/detect/detection.ts";
import { model as modelInfo } from "../model/model-infos.ts";

const RESULT: DetectionResult = {
  width: 200,
  height: 101,
  dropped: 0,
  implausible: 0,
  timing: { decode: 1, preprocess: 2.00049, infer: 3, postprocess: 4, total: 10.5 },
  detections: [
    { label: "person", classId: 0, score: 0.91234567, box: [10.00049, 20, 110, 70.5] },
    { label: "bicycle", classId: 1, score: 0.5, box: [0, 0, 200, 101] },
  ],
};
const NOTHING: DetectionResult = { ...RESULT, detections: [], dropped: 1 };
const IMAGE_FILES: readonly ImageResult[] = [
  { file: "a/000000000139.jpg", result: RESULT },
  { file: "b.jpg", result: NOTHING },
  { file: "c.jpg", result: RESULT },
];

async function written(format: ResultFormat, images: readonly ImageResult[]): Promise<string> {
  let text = "";
  const output: Output = {
    hasColour: false,
    write: async (part) => {
      text += part;
    },
    finish: async () => {},
    close: () => {},
  };
  const sink = textSink(output, format);
  for (const image of images) await sink.write(image);
  await sink.finish();
  return text;
}

test("jsonFormat() is one array, also of no image", async () => {
  const parsed = JSON.parse(await written(jsonFormat(DETECT_FORMS), IMAGE_FILES));
  expect(parsed).toHaveLength(3);
  expect(parsed[0]).toEqual({
    file: "a/000000000139.jpg",
    width: 200,
    height: 101,
    detections: [
      { label: "person", classId: 0, score: 0.912346, box: [10, 20, 110, 70.5] },
      { label: "bicycle", classId: 1, score: 0.5, box: [0, 0, 200, 101] },
    ],
    dropped: 0,
    implausible: 0,
    timing: { decode: 1, preprocess: 2, infer: 3, postprocess: 4, total: 10.5 },
  });
  expect(JSON.parse(await written(jsonFormat(DETECT_FORMS), []))).toEqual([]);
});

test("jsonLinesFormat() is a document a line", async () => {
  const lines = (await written(jsonLinesFormat(DETECT_FORMS), IMAGE_FILES)).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).file)).toEqual(["a/000000000139.jpg", "b.jpg", "c.jpg"]);
  expect(await written(jsonLinesFormat(DETECT_FORMS), [])).toBe("");
});

test("tableFormat() aligns, and keeps control characters of names from the terminal", async () => {
  const text = await written(tableFormat(DETECT_FORMS, paintOf(false)), [
    IMAGE_FILES[0]!,
    { file: "\x1b[2Jb.jpg", result: NOTHING },
  ]);
  expect(text).toBe(
    [
      "a/000000000139.jpg  200x101, 2 objects, 10.5 ms",
      "  label    score    x1    y1     x2     y2",
      "  person   0.912  10.0  20.0  110.0   70.5",
      "  bicycle  0.500   0.0   0.0  200.0  101.0",
      "",
      "\\u001b[2Jb.jpg  200x101, 0 objects, 10.5 ms, 1 row with NaN skipped",
      "",
    ].join("\n"),
  );
  expect(await written(tableFormat(DETECT_FORMS, paintOf(true)), IMAGE_FILES)).toContain("\x1b[36mperson\x1b[39m");
});

test("DETECT_FORMS.yolo() gives centre and size as fractions, and the score", () => {
  expect(DETECT_FORMS.yolo(RESULT)).toBe(
    "0 0.300001 0.448020 0.499998 0.500000 0.912346\n1 0.500000 0.500000 1.000000 1.000000 0.500000\n",
  );
  expect(DETECT_FORMS.yolo(NOTHING)).toBe("");
});

test("cocoFormat() is an array of detections with the annotations' own numbers", async () => {
  const annotations = {
    images: [
      { id: 7, file_name: "000000000139.jpg" },
      { id: 8, file_name: "val/b.jpg" },
      { id: 9, file_name: "c.jpg" },
    ],
    categories: [{ id: 33, name: "Person" }],
  };
  const imageId = imageNumbers(annotations);
  const categoryId = categoryNumbers(annotations, ["person", "bicycle"]);
  const rows = JSON.parse(await written(cocoFormat(DETECT_FORMS, { imageId, categoryId }), IMAGE_FILES));
  expect(rows).toEqual([
    { image_id: 7, category_id: 33, bbox: [10, 20, 100, 50.5], score: 0.912346 },
    { image_id: 9, category_id: 33, bbox: [10, 20, 100, 50.5], score: 0.912346 },
  ]);
  expect(imageId("x/b.jpg")).toBe(8);
  expect(() => imageId("d.jpg")).toThrow(
    'Cannot derive a COCO image id from "d.jpg": none of the 3 images of the annotations',
  );
  expect(JSON.parse(await written(cocoFormat(DETECT_FORMS, { imageId, categoryId }), []))).toEqual([]);
});

test("imageNumbers() without annotations takes the last number of the name", () => {
  const number = imageNumbers(undefined);
  expect(number("2017/COCO_val2014_000000253452.jpg")).toBe(253452);
  expect(number("img12.v3b.jpeg")).toBe(3);
  expect(() => number("7/street.mp4")).toThrow(
    'Cannot derive a COCO image id from "7/street.mp4": its name has no digits',
  );
  expect(() => checkImageNumbers(["a1.jpg", "b1.jpg"], number)).toThrow('from "b1.jpg": "a1.jpg" has 1 already');
});

test("categoryNumbers() without annotations knows COCO's gaps, and else counts from 1", () => {
  const coco = categoryNumbers(undefined, COCO_80);
  expect([coco(0), coco(10), coco(11), coco(79)]).toEqual([1, 11, 13, 90]);
  // RF-DETR and DETR: their class ids are COCO's already.
  const detr = categoryNumbers(undefined, COCO_91);
  expect([detr(1), detr(13), detr(90)]).toEqual([1, 13, 90]);
  const own = categoryNumbers(undefined, ["cat", "dog"]);
  expect([own(0), own(1), own(7)]).toEqual([1, 2, 8]);
});

test("a recognition tells the anchors and who said them", () => {
  const maps = [80, 40, 20].map((side, at) => [`output${at}`, [1, 3, side, side, 85]] as const);
  const row = (options: RecogniseOptions, metadata = {}): string | undefined => {
    const spec = recogniseModel(modelInfo(maps, { metadata }), { isSilent: true, ...options });
    return recognitionLines(spec, paintOf(false)).find((line) => line.startsWith("  anchors"));
  };
  const values = ANCHORS.yolov7!;
  const list = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401";
  expect(row({ anchors: "yolov7" })).toMatch(new RegExp(`^  anchors  +yolov7, by --anchors: ${list}$`));
  expect(row({ anchors: values })).toContain(`numbers, by --anchors: ${list}`);
  expect(row({}, { anchors: `[${values}]` })).toContain(`the model's metadata: ${list}`);
  const beside = { values, from: "file", name: "best.yaml" } as const;
  expect(row({ anchorsBeside: beside })).toContain(`best.yaml beside the model: ${list}`);
  const grid = modelInfo([["grid", [-1, 125, 13, 13]]], { inputs: [["image", [-1, 3, 416, 416]]] });
  const own = recognitionLines(recogniseModel(grid, {}), paintOf(false)).join("\n");
  expect(own).toContain("yolov2-voc, the head's own: 34.56,38.08");
  const dense = recogniseModel(modelInfo([["output0", [1, 84, 8400]]]), { isSilent: true });
  expect(recognitionLines(dense, paintOf(false)).join("\n")).not.toContain("anchors");
});

test("recognitionLines() tells where a model is cut, or why it is not", () => {
  const model = {
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 640, 640] }],
    outputs: [{ name: "output0", dtype: "f32", shape: [1, 84, 8400] }],
    metadata: {},
  } as const;
  const levels = [8, 16].map((stride) => ({ stride, classMap: `c${stride}`, distanceMap: `d${stride}` }));
  const plan = {
    kind: "distance-maps",
    levels,
    classes: 80,
    bins: 16,
    order: "NCHW",
    areLogits: true,
    centre: 0.5,
  } as const;
  const line = (shape: Parameters<typeof recognitionLines>[2]): string | undefined =>
    recognitionLines(recogniseModel(model, {}), paintOf(false), shape).find((text) => text.startsWith("  engine"));
  expect(line({ plan, extras: [] })).toEndWith("cut at 4 maps, strides 8, 16; --no-shape builds it as exported");
  expect(line({ reason: "its head has the operator Pad" })).toEndWith("as exported: its head has the operator Pad");
  expect(line(undefined)).toBeUndefined();
});
