import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import { setLogSink } from "../../src/core/log.ts";
import { imageOf } from "../../src/image/image.ts";
import type { Box } from "../../src/tasks/boxes.ts";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { type InitializerSpec, type NodeSpec, onnxModel, type ValueSpec } from "../support/onnx-writer.ts";
import { toyDetector } from "../support/toy-detector.ts";

// From pixels to boxes by real models of 96 x 64, whose outputs are constants: the source's boxes, put into the input by
// each family's own rule, must come back.

const WIDTH = 96;
const HEIGHT = 64;
const SOURCES = [
  { width: 61, height: 43 },
  { width: 33, height: 77 },
] as const;
/** As fractions of the source. */
const BOX = [0.25, 0.125, 0.75, 0.5] as const;
const IMAGES: ValueSpec = { name: "images", dtype: "f32", shape: [1, 3, HEIGHT, WIDTH] };

interface Source {
  readonly width: number;
  readonly height: number;
}

function inPixels({ width, height }: Source): number[] {
  return BOX.map((fraction, at) => fraction * (at % 2 === 0 ? width : height));
}

async function found(
  bytes: Uint8Array,
  { width, height }: Source,
  options: DetectorOptions = {},
): Promise<{ head: string; detections: readonly Detection[] }> {
  await using detector = await Detector.load(bytes, { backend: "cpu", threads: 1, ...options });
  const { detections } = await detector.detect(imageOf(new Uint8Array(width * height * 3), { width, height }));
  return { head: detector.recognition.head, detections };
}

function one(head: string, source: Source, classId: number, label: string): Awaited<ReturnType<typeof found>> {
  const box = inPixels(source).map((value) => expect.closeTo(value, 3) as number) as unknown as Box;
  return { head, detections: [{ label, classId, score: expect.closeTo(0.75, 5) as number, box }] };
}

/** A model that takes any image and gives a constant. */
function constantModel(
  output: ValueSpec & { readonly shape: readonly number[] },
  data: Float32Array<ArrayBuffer>,
  images: ValueSpec = IMAGES,
): Uint8Array {
  return onnxModel({
    inputs: [images],
    outputs: [output],
    initializers: [
      { name: "constant", dtype: "f32", shape: output.shape, data },
      { name: "zero", dtype: "f32", shape: [1], data: Float32Array.of(0) },
    ],
    nodes: [
      { op: "ReduceMean", inputs: ["images"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      { op: "Add", inputs: ["constant", "nothing"], outputs: [output.name] },
    ],
  });
}

/** cx, cy, w, h in input pixels of the box, by its family's rule: input = source × scale + pad. */
function placed(source: Source, scale: number, padX: number, padY: number): [number, number, number, number] {
  const [x1, y1, x2, y2] = inPixels(source) as [number, number, number, number];
  return [((x1 + x2) / 2) * scale + padX, ((y1 + y2) / 2) * scale + padY, (x2 - x1) * scale, (y2 - y1) * scale];
}

/** Cells of strides 8, 16 and 32 in the input. */
const CELLS = 12 * 8 + 6 * 4 + 3 * 2;

for (const source of SOURCES) {
  const { width, height } = source;
  const ratio = Math.min(WIDTH / width, HEIGHT / height);

  test(`YOLOv6 of one class on ${width}x${height}: centred, and scored by the class`, async () => {
    // Sides that the ratio gives in whole pixels, up to rounding, which boxes then follow on each axis.
    const [contentWidth, contentHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
    const data = new Float32Array(CELLS * 6);
    for (let cell = 0; cell < CELLS; cell++) data[cell * 6 + 4] = 1;
    const [cx, cy, w, h] = placed(source, 1, 0, 0);
    const [scaleX, scaleY] = [contentWidth / width, contentHeight / height];
    const [padX, padY] = [Math.floor((WIDTH - contentWidth) / 2), Math.floor((HEIGHT - contentHeight) / 2)];
    data.set([cx * scaleX + padX, cy * scaleY + padY, w * scaleX, h * scaleY, 1, 0.75], 17 * 6);
    const model = constantModel({ name: "outputs", dtype: "f32", shape: [1, CELLS, 6] }, data);
    expect(await found(model, source, { labels: ["ship"] })).toEqual(one("yolo-objectness", source, 0, "ship"));
  });

  test(`YOLOX on ${width}x${height}: in the corner, cells of the right row and stride`, async () => {
    const data = new Float32Array(CELLS * 85);
    // The fourth cell of the second row at stride 16.
    const [row, column, stride] = [1, 3, 16];
    const [cx, cy, w, h] = placed(source, ratio, 0, 0);
    const offsets = [cx / stride - column, cy / stride - row, Math.log(w / stride), Math.log(h / stride), 1];
    const cell = 12 * 8 + row * 6 + column;
    data.set(offsets, cell * 85);
    data[cell * 85 + 5 + 2] = 0.75;
    const model = constantModel({ name: "output", dtype: "f32", shape: [1, CELLS, 85] }, data);
    expect(await found(model, source)).toEqual(one("yolox", source, 2, "car"));
  });

  test(`RT-DETR on ${width}x${height}: stretched, told width before height`, async () => {
    const constants: InitializerSpec[] = [
      { name: "fractions", dtype: "f32", shape: [1, 1, 4], data: Float32Array.from(BOX) },
      { name: "axis", dtype: "i64", shape: [1], data: BigInt64Array.of(1n) },
      { name: "score", dtype: "f32", shape: [1, 1], data: Float32Array.of(0.75) },
      { name: "label", dtype: "i64", shape: [1, 1], data: BigInt64Array.of(16n) },
    ];
    const nodes: NodeSpec[] = [
      { op: "Cast", inputs: ["orig_target_sizes"], outputs: ["size"], attributes: { to: 1 } },
      { op: "Concat", inputs: ["size", "size"], outputs: ["sizes"], attributes: { axis: 1 } },
      { op: "Unsqueeze", inputs: ["sizes", "axis"], outputs: ["scale"] },
      { op: "Mul", inputs: ["fractions", "scale"], outputs: ["boxes"] },
      { op: "Identity", inputs: ["score"], outputs: ["scores"] },
      { op: "Identity", inputs: ["label"], outputs: ["labels"] },
    ];
    const model = onnxModel({
      inputs: [{ name: "orig_target_sizes", dtype: "i64", shape: [1, 2] }, IMAGES],
      outputs: [
        { name: "scores", dtype: "f32", shape: [1, 1] },
        { name: "labels", dtype: "i64", shape: [1, 1] },
        { name: "boxes", dtype: "f32", shape: [1, 1, 4] },
      ],
      initializers: constants,
      nodes,
    });
    expect(await found(model, source)).toEqual(one("rtdetr", source, 16, "dog"));

    const lines: string[] = [];
    const former = setLogSink((level, text) => void (level === "warn" && lines.push(text)));
    try {
      await using _detector = await Detector.load(model, { backend: "cpu", preprocessing: { pad: 0 } });
    } finally {
      setLogSink(former);
    }
    expect(lines.filter((line) => line.includes("pad"))).toEqual([
      "Ignoring `pad`: images are stretched to the input of the model from bytes, without padding",
    ]);
  });
}

test("boxes that are read as centre, width and height, and all are corners, are refused at the first image; by the head that is named they are read", async () => {
  const source = { width: 320, height: HEIGHT };
  const columns = 320 / 8;
  const count = 40 * 8 + 20 * 4 + 10 * 2;
  const images: ValueSpec = { ...IMAGES, shape: [1, 3, HEIGHT, 320] };
  const corners = new Float32Array(count * 7);
  for (let cell = 0; cell < count; cell++) {
    const [x, y] = [(cell % columns) * 8, (Math.floor(cell / columns) * 8) % HEIGHT];
    corners.set([x, y, x + 16, y + 8, 0, 0, cell === 9 ? 0.75 : 0], cell * 7);
  }
  const labels = ["a", "b", "c"];
  const output = { name: "output0", dtype: "f32", shape: [1, count, 7] } as const;
  const model = constantModel(output, corners, images);
  await expect(found(model, source, { labels })).rejects.toThrow(
    /output "output0": its boxes are read as centre.* corners\nHint: .*`head: "libreyolo"`.*"damo-yolo-rows"/,
  );
  const read = await found(model, source, { labels, head: "damo-yolo-rows", preprocessing: { fit: "stretch" } });
  expect(read.detections.map(({ label, box }) => [label, box])).toEqual([["c", [72, 0, 88, 8]]]);
  // One that begins to the right of where it ends is no box of corners.
  corners.set([320, 0, 8, 8], 5 * 7);
  expect((await found(constantModel(output, corners, images), source, { labels })).detections).toHaveLength(1);
});

test("in a small input every box of a model may be larger than where it is: none is refused as corners", async () => {
  const columns = WIDTH / 8;
  const large = new Float32Array(CELLS * 7);
  for (let cell = 0; cell < CELLS; cell++) {
    const [x, y] = [(cell % columns) * 8, (Math.floor(cell / columns) * 8) % HEIGHT];
    large.set([x, y, 120, 120, 0, 0, cell === 9 ? 0.75 : 0], cell * 7);
  }
  const model = constantModel({ name: "output0", dtype: "f32", shape: [1, CELLS, 7] }, large);
  const source = { width: WIDTH, height: HEIGHT };
  expect((await found(model, source, { labels: ["a", "b", "c"] })).detections).toHaveLength(1);
});

test("rows of 81 classes that are called as YOLOv6's are refused: their objectness is not 1; by the head that is named they are read", async () => {
  const source = { width: WIDTH, height: HEIGHT };
  const cells = new Float32Array(CELLS * 85);
  // The third class: as the product of the first class and it, nothing would be found.
  cells.set([WIDTH / 2, HEIGHT / 2, 32, 16, 0.01, 0, 0.75], 40 * 85);
  const model = constantModel({ name: "outputs", dtype: "f32", shape: [1, CELLS, 85] }, cells);
  await expect(found(model, source)).rejects.toThrow(
    /output "outputs": channel 4 is 0 in row 0, and YOLOv6.* writes 1 there\nHint: .*`head: "yolo-transposed"`.*`head: "yolox"`/,
  );
  const read = await found(model, source, { head: "yolo-transposed" });
  expect(read.detections.map(({ classId, score }) => [classId, score])).toEqual([[2, 0.75]]);
  // Objectness that is trained, as its caller says.
  expect((await found(model, source, { head: "yolo-objectness" })).detections).toEqual([]);
});

test("boxes that a model gives as fractions, where its head has pixels, are refused, and read by the head that is named then", async () => {
  const source = { width: WIDTH, height: HEIGHT };
  const cells = new Float32Array(CELLS * 6);
  for (let cell = 0; cell < CELLS; cell++) cells[cell * 6 + 4] = 1;
  for (const [at, cell] of [0, 40, 99].entries()) {
    cells.set([0.2 + at * 0.3, 0.5, 0.2, 0.4, 1, 0.75], cell * 6);
  }
  const dense = constantModel({ name: "outputs", dtype: "f32", shape: [1, CELLS, 6] }, cells);
  await expect(found(dense, source, { labels: ["ship"] })).rejects.toThrow(
    /head "yolo-objectness": all 3 boxes lie in the first pixel of the input\nHint: .* `head: "yolo-objectness-fractions"`/,
  );
  const read = await found(dense, source, { labels: ["ship"], head: "yolo-objectness-fractions" });
  expect(read.detections.map(({ box }) => box.map(Math.round))).toEqual([
    [10, 19, 29, 45],
    [38, 19, 58, 45],
    [67, 19, 86, 45],
  ]);

  const outputs: InitializerSpec[] = [
    { name: "num_dets", dtype: "i64", shape: [1, 1], data: BigInt64Array.of(1n) },
    { name: "det_boxes", dtype: "f32", shape: [1, 1, 4], data: Float32Array.of(...BOX) },
    { name: "det_scores", dtype: "f32", shape: [1, 1], data: Float32Array.of(0.75) },
    { name: "det_classes", dtype: "i64", shape: [1, 1], data: BigInt64Array.of(16n) },
  ];
  const nms = onnxModel({
    inputs: [IMAGES],
    outputs: outputs.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    initializers: outputs.map((output) => ({ ...output, name: `${output.name} value` })),
    nodes: outputs.map(({ name }) => ({ op: "Identity", inputs: [`${name} value`], outputs: [name] })),
  });
  await expect(found(nms, source)).rejects.toThrow(
    /head "efficient-nms": its only box lies in the first pixel of the input\nHint: .* `head: "efficient-nms-fractions"`/,
  );
  expect(await found(nms, source, { head: "efficient-nms-fractions" })).toEqual(
    one("efficient-nms-fractions", source, 16, "dog"),
  );
});

test("a detector of grey images gets the brightness of a colour", async () => {
  await using detector = await Detector.load(toyDetector({ channels: 1 }), { backend: "cpu", threads: 1 });
  const [red, green, blue] = [250, 20, 90] as const;
  const pixels = Uint8Array.from({ length: 64 * 64 * 3 }, (_, at) => [red, green, blue][at % 3]!);
  const { detections } = await detector.detect(imageOf(pixels, { width: 64, height: 64 }), { threshold: 0.2 });
  const luma = (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  expect(detections.map(({ label }) => label)).toEqual(["cat", "dog", "dog"]);
  for (const [at, score] of [0.9, 0.7, 0.6].entries()) expect(detections[at]!.score).toBeCloseTo(score * luma, 4);
});

/** YOLOv7 without its grid: nothing but one anchor of one cell, whose numbers are 0, is found. */
function rawMaps(): Uint8Array {
  const shapes = [8, 16, 32].map((stride) => [1, 3, HEIGHT / stride, WIDTH / stride, 6]);
  const maps = shapes.map((shape) => new Float32Array(shape.reduce((a, b) => a * b)).fill(-10));
  // The second anchor of the sixth cell of the fourth row at stride 8.
  maps[0]!.set([0, 0, 0, 0, 10, 10], ((1 * 8 + 3) * 12 + 5) * 6);
  return onnxModel({
    inputs: [IMAGES],
    outputs: shapes.map((shape, at) => ({ name: `output${at}`, dtype: "f32", shape })),
    initializers: [
      ...maps.map((data, at): InitializerSpec => ({ name: `map${at}`, dtype: "f32", shape: shapes[at]!, data })),
      { name: "zero", dtype: "f32", shape: [1], data: Float32Array.of(0) },
    ],
    nodes: [
      { op: "ReduceMean", inputs: ["images"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      ...maps.map((_, at): NodeSpec => ({ op: "Add", inputs: [`map${at}`, "nothing"], outputs: [`output${at}`] })),
    ],
  });
}

test("raw maps are decoded by the anchors that are said, and by those of a file beside the model", async () => {
  const image = { width: WIDTH, height: HEIGHT };
  const boxOf = async (model: string | Uint8Array, options: DetectorOptions): Promise<Box> => {
    await using detector = await Detector.load(model, { backend: "cpu", threads: 1, labels: ["ship"], ...options });
    const { detections } = await detector.detect(imageOf(new Uint8Array(WIDTH * HEIGHT * 3), image));
    expect(detections).toHaveLength(1);
    return detections[0]!.box;
  };
  // The cell's centre is at 44, 28; the anchor's size is as it is.
  expect(await boxOf(rawMaps(), { anchors: "yolov5" })).toEqual([36, 13, 52, 43]);
  expect(await boxOf(rawMaps(), { anchors: "yolov7" })).toEqual([34.5, 10, 53.5, 46]);
  const folder = mkdtempSync(join(tmpdir(), "raw-maps-"));
  try {
    const path = join(folder, "boats.onnx");
    writeFileSync(path, rawMaps());
    await expect(boxOf(path, {})).rejects.toThrow("nothing tells the anchors");
    writeFileSync(
      join(folder, "boats.cfg"),
      "[yolo]\nanchors = 2,2, 8,10, 9,9, 20,20, 21,21, 22,22, 40,40, 41,41, 42,42\n",
    );
    expect(await boxOf(path, {})).toEqual([40, 23, 48, 33]);
    expect(await boxOf(path, { anchors: "yolov5" })).toEqual([36, 13, 52, 43]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("YOLOv3 of the ONNX zoo: told height and width, y before x, chosen triples, with every side open", async () => {
  const model = onnxModel({
    inputs: [
      { name: "input_1", dtype: "f32", shape: ["batch", 3, "height", "width"] },
      { name: "image_shape", dtype: "f32", shape: ["batch", 2] },
    ],
    outputs: [
      { name: "boxes", dtype: "f32", shape: [1, "rows", 4] },
      { name: "scores", dtype: "f32", shape: [1, 80, "rows"] },
      { name: "indices", dtype: "i32", shape: ["chosen", 3] },
    ],
    initializers: [
      // y1, x1, y2, x2 in halves and quarters of what the model is told.
      { name: "parts", dtype: "f32", shape: [1, 1, 4], data: Float32Array.of(0.25, 0.5, 0.75, 1) },
      { name: "twice", dtype: "i64", shape: [2], data: BigInt64Array.of(1n, 2n) },
      { name: "axis", dtype: "i64", shape: [1], data: BigInt64Array.of(1n) },
      { name: "score", dtype: "f32", shape: [1, 80, 1], data: new Float32Array(80).fill(0.75) },
      { name: "triple", dtype: "i32", shape: [1, 3], data: Int32Array.of(0, 2, 0) },
      { name: "zero", dtype: "f32", shape: [1], data: Float32Array.of(0) },
    ],
    nodes: [
      { op: "ReduceMean", inputs: ["input_1"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      { op: "Tile", inputs: ["image_shape", "twice"], outputs: ["sides"] },
      { op: "Unsqueeze", inputs: ["sides", "axis"], outputs: ["row"] },
      { op: "Mul", inputs: ["parts", "row"], outputs: ["boxes"] },
      { op: "Add", inputs: ["score", "nothing"], outputs: ["scores"] },
      { op: "Identity", inputs: ["triple"], outputs: ["indices"] },
    ],
  });
  // 208 x 104: enlarged twice, with 104 rows of padding above and below.
  const { head, detections } = await found(model, { width: 208, height: 104 });
  expect(head).toBe("yolov3-onnx");
  const box = [104, 0, 208, 104].map((side) => expect.closeTo(side, 3) as number) as unknown as Box;
  expect(detections).toEqual([{ label: "car", classId: 2, score: expect.closeTo(0.75, 5) as number, box }]);
});
