import { expect, test } from "bun:test";
import { ModelError, OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { ModelSpec } from "../../src/heads/head.ts";
import { recogniseAny, recogniseObjects } from "../../src/heads/object-reading.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { HEADS, headNamed } from "../../src/heads/registry.ts";
import { IMAGENET_MEAN, IMAGENET_STD } from "../../src/image/preprocessing.ts";
import { COCO_80, COCO_91 } from "../../src/model/model-info.ts";
import { type Declared, DYNAMIC_IMAGES, model, ultralytics } from "./model-infos.ts";

function recognised(outputs: readonly Declared[], parts: Parameters<typeof model>[1] = {}): ModelSpec {
  return recogniseModel(model(outputs, parts), {});
}

/** Of a model that tells neither its classes nor their number. */
const NAMES_ASSUMED = "COCO's 80 class names, as the model does not tell its own: give `labels`";

/** What is returned, and what is logged meanwhile. */
function logged<T>(run: () => T): { result: T; lines: string[] } {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    return { result: run(), lines };
  } finally {
    setLogSink(former);
  }
}

test("recogniseModel() tells Ultralytics' dense head, fixed and dynamic, and all that follows from it", () => {
  const fixed = recognised([["output0", [1, 84, 8400]]], { metadata: ultralytics(80) });
  expect(fixed).toMatchObject({
    head: "yolo",
    reason: "output0: f32 [1, 84, 8400]; 80 class names",
    imageInput: "images",
    sizeInputs: [],
    preprocessing: { fit: "letterbox", colour: "RGB", layout: "NCHW", dtype: "f32", pad: [114, 114, 114] },
    stride: 32,
    fixedSize: [640, 640],
    preferredSize: [640, 640],
    needsNms: true,
    plan: { kind: "dense", output: "output0", order: "channel-major", channels: 84, classes: 80, classChannel: 4 },
  });
  expect(fixed.labels[79]).toBe("thing 79");

  const open = recognised([["output0", [-1, 84, -1]]], {
    inputs: [DYNAMIC_IMAGES],
    metadata: ultralytics(80, { imgsz: "[384, 672]", stride: "64" }),
  });
  expect(open).toMatchObject({ head: "yolo", stride: 64, fixedSize: undefined, preferredSize: [672, 384] });
});

test("recogniseModel() takes the family from the model's name, not from that of its data", () => {
  const head = (description: string, shape: number[]): string =>
    recognised([["output0", shape]], { metadata: ultralytics(80, { description }) }).head;
  expect(head("Ultralytics YOLO11n model trained on /data/rt-detr/labels.yaml", [1, 84, 8400])).toBe("yolo");
  expect(head("Ultralytics rtdetr-l model trained on coco.yaml", [1, 300, 84])).toBe("rtdetr-ultralytics");
});

test("recogniseModel() ignores an exported size that cannot be one, with a line in the log", () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    for (const imgsz of ["[640.5, 640.5]", "[1000000, 640]", "[Infinity, 640]", "[0, 640]", "['a', 640]", "nothing"]) {
      const open = recognised([["output0", [-1, 84, -1]]], {
        inputs: [DYNAMIC_IMAGES],
        metadata: ultralytics(80, { imgsz }),
      });
      expect(open.preferredSize).toEqual([640, 640]);
    }
  } finally {
    setLogSink(former);
  }
  expect(lines).toHaveLength(6);
  expect(lines[0]).toBe('warn: Ignoring the model\'s metadata "imgsz" as it is no size in pixels: [640.5, 640.5]');
});

test("recogniseModel() reads the input's dtype and layout", () => {
  const preprocessing = (input: Declared): unknown =>
    recognised([["output0", [1, 84, 8400]]], { inputs: [input] }).preprocessing;
  expect(preprocessing(["images", [1, 3, 640, 640], "f16"])).toMatchObject({ dtype: "f16", layout: "NCHW" });
  expect(preprocessing(["images", [1, 640, 640, 3]])).toMatchObject({ dtype: "f32", layout: "NHWC" });
  // A u8 input normalises by itself.
  expect(preprocessing(["images", [1, 640, 640, 3], "u8"])).toMatchObject({ dtype: "u8", scale: 1, mean: [0, 0, 0] });
});

test("recogniseModel() reads an input of one channel as grey, whatever the order of the family's colours", () => {
  const grey = (outputs: readonly Declared[], input: Declared): ModelSpec => recognised(outputs, { inputs: [input] });
  const yolo = grey([["output0", [1, 84, 8400]]], ["images", [1, 1, 640, 640]]);
  expect(yolo).toMatchObject({ head: "yolo", preprocessing: { colour: "luma", layout: "NCHW", scale: 1 / 255 } });
  const last = grey([["output0", [1, 84, 8400]]], ["images", [1, 640, 640, 1], "u8"]);
  expect(last).toMatchObject({ preprocessing: { colour: "luma", layout: "NHWC", dtype: "u8" }, fixedSize: [640, 640] });
  const yolox = grey([["output", [1, 8400, 85]]], ["images", [1, 1, 640, 640]]);
  expect(yolox).toMatchObject({
    head: "yolox",
    preprocessing: { colour: "luma", scale: 1, fit: "letterbox-top-left" },
  });
  // One channel has no order to choose.
  const model1 = model([["output0", [1, 84, 8400]]], { inputs: [["images", [1, 1, 640, 640]]] });
  expect(recogniseModel(model1, { preprocessing: { colour: "BGR" } }).preprocessing.colour).toBe("luma");
});

test("recogniseModel() labels by the caller, the metadata, COCO, or numbers, in this order", () => {
  const labels = (channels: number, metadata: Record<string, string>, given?: string[]): readonly string[] =>
    recogniseModel(model([["output0", [1, channels, 8400]]], { metadata }), { labels: given }).labels;
  expect(labels(6, ultralytics(2), ["cat", "dog"])).toEqual(["cat", "dog"]);
  expect(labels(6, ultralytics(2))).toEqual(["thing 0", "thing 1"]);
  expect(labels(84, {})).toEqual(COCO_80);
  expect(labels(6, {})).toEqual(["class 0", "class 1"]);
});

// PEERS.md section 6, its last paragraphs: what a shape alone leaves open.

test("recogniseModel() tells the number of class names from an unknown head", () => {
  const known = model([["output0", [1, 84, 8400]]], { metadata: ultralytics(80) });
  expect(() => recogniseModel(known, { labels: ["cat", "dog"], source: '"a.onnx"' })).toThrow(
    new ModelError(
      'Cannot use "a.onnx" as a detector: it has 80 classes, got 2 class names\n' +
        "Hint: give one name for each class, in the order of their numbers; one that is never found, such as a background, may have any",
      '"a.onnx"',
    ),
  );
  // The model's own names may be what is wrong, also where others were given that are wrong too.
  const wrong = model([["output0", [1, 9, 8400]]], { metadata: ultralytics(80) });
  expect(() => recogniseModel(wrong, {})).toThrow(
    'it has 5 classes, but its metadata "names" has 80 class names\n' +
      "Hint: give one name for each class, by `labels` (`--labels FILE`), in the order of their numbers",
  );
  expect(() => recogniseModel(wrong, { labels: ["cat"] })).toThrow("it has 5 classes, got 1 class name\n");
  expect(recogniseModel(wrong, { labels: ["a", "b", "c", "d", "e"] }).head).toBe("yolo");
  const unknown = model([["o", [1, 7, 7]]]);
  expect(() => recogniseModel(unknown, { labels: ["cat", "dog"] })).toThrow(/fit no known head/);
});

test("[B, 84, 8400] and [B, 8400, 84]: the grids of the input tell the channels, else the smaller axis does", () => {
  expect(recognised([["o", [1, 84, 8400]]]).head).toBe("yolo");
  expect(recognised([["o", [1, 8400, 84]]]).head).toBe("yolo-transposed");
  // 64 × 64 pixels have 84 cells, and this model 200 classes: the smaller axis is not the channels.
  const small: Declared = ["images", [1, 3, 64, 64]];
  expect(recognised([["o", [1, 204, 84]]], { inputs: [small] }).plan).toMatchObject({ channels: 204, classes: 200 });
  const swapped = model([["o", [1, 84, 204]]], { inputs: [small] });
  expect(recogniseModel(swapped, { labels: new Array(200).fill("x") }).head).toBe("yolo-transposed");
  // As many channels as cells: queries have no grid.
  expect(recognised([["output0", [1, 84, 84]]], { inputs: [small] }).head).toBe("yolo");
  expect(recognised([["output0", [1, 300, 300]]]).head).toBe("rtdetr-ultralytics");
  // Heads with other strides: P2, P6.
  expect(recognised([["o", [1, 84, 34000]]]).head).toBe("yolo");
  expect(recognised([["o", [1, 84, 8500]]]).head).toBe("yolo");
});

test("4+classes or 5+classes: names settle it, else COCO's count does, else it is ambiguous", () => {
  expect(recognised([["o", [1, 8400, 85]]]).head).toBe("yolox");
  expect(recognised([["o", [1, 8400, 84]]]).head).toBe("yolo-transposed");
  expect(recognised([["o", [1, 8400, 8]]], { metadata: ultralytics(4) }).head).toBe("yolo-transposed");
  expect(recogniseModel(model([["o", [1, 8400, 8]]]), { labels: ["a", "b", "c"] }).head).toBe("yolox");
  expect(recogniseModel(model([["o", [1, 8400, 8]]]), { labels: ["a", "b", "c", "d"] }).head).toBe("yolo-transposed");
  expect(() => recognised([["o", [1, 8400, 8]]])).toThrow(
    /fit 2 heads, and nothing tells which[\s\S]*Hint: say which, by `head: "yolo-transposed"` .* or "yolox"/,
  );
});

test("three anchors a cell mean objectness: YOLOv5, v7; one class of them scores by objectness alone", () => {
  expect(recognised([["output", [1, 25200, 85]]])).toMatchObject({
    head: "yolo-objectness",
    plan: { score: "product", classChannel: 5, classes: 80, order: "anchor-major" },
  });
  expect(recognised([["output", [1, 25200, 6]]])).toMatchObject({
    head: "yolo-objectness",
    plan: { score: "objectness", classes: 1 },
  });
  expect(recogniseModel(model([["outputs", [1, 25200, 6]]]), { labels: ["ship"] }).plan).toMatchObject({
    score: "objectness",
  });
  // YOLOv6 has none: it writes 1.
  const yolov6 = model([["outputs", [1, 8400, 6]]]);
  expect(recogniseModel(yolov6, { labels: ["ship"] })).toMatchObject({
    head: "yolo-objectness",
    plan: { score: "product", classes: 1 },
  });
  // YOLOv5's raw maps beside it, and its masks.
  const maps: Declared[] = [80, 40, 20].map((side) => [`map ${side}`, [1, 3, side, side, 85]]);
  expect(recognised([...maps, ["output", [1, 25200, 85]]]).head).toBe("yolo-objectness");
  const masked = recognised([
    ["output1", [1, 32, 160, 160]],
    ["output0", [1, 25200, 117]],
  ]);
  expect(masked).toMatchObject({ head: "yolo-objectness", plan: { classes: 80, channels: 117 } });
});

test("one row a cell with objectness is YOLOX, but YOLOv6 where the output is `outputs`", () => {
  expect(recognised([["output", [1, 8400, 85]]])).toMatchObject({
    head: "yolox",
    preprocessing: { fit: "letterbox-top-left", colour: "BGR", scale: 1, pad: [114, 114, 114] },
    plan: { kind: "grid", classes: 80, strides: [8, 16, 32] },
  });
  expect(recognised([["outputs", [1, 8400, 85]]]).head).toBe("yolo-objectness");
  // Open axes: YOLOv5's name, YOLOv5's metadata, or neither.
  const inputs = [DYNAMIC_IMAGES];
  expect(recognised([["output0", [-1, -1, 85]]], { inputs }).head).toBe("yolo-objectness");
  const metadata = { stride: "32", names: ultralytics(80).names! };
  expect(recognised([["output", [-1, -1, 85]]], { inputs, metadata }).head).toBe("yolo-objectness");
  expect(() => recognised([["output", [-1, -1, 85]]], { inputs })).toThrow(/yolo-objectness:[\s\S]*yolox:/);
});

test("[B, 300, 6] is final, [B, 8400, 6] is DeepStream's before NMS, two classes, or one with objectness", () => {
  expect(recognised([["output0", [1, 300, 6]]])).toMatchObject({
    head: "yolo-end-to-end",
    needsNms: false,
    plan: { kind: "rows", columns: 6, boxColumn: 0, scoreColumn: 4, classColumn: 5 },
  });
  const input: Declared = ["input", [1, 3, 640, 640]];
  expect(recognised([["output", [1, 8400, 6]]], { inputs: [input] })).toMatchObject({
    head: "deepstream",
    needsNms: true,
  });
  expect(recognised([["output", [1, 25200, 6]]], { inputs: [input] }).head).toBe("deepstream");
  expect(recognised([["output0", [1, 8400, 6]]], { metadata: ultralytics(2) }).head).toBe("yolo-transposed");
  expect(() => recognised([["output", [1, 8400, 6]]])).toThrow(/yolo-transposed:[\s\S]*yolox:/);
  expect(recogniseModel(model([["output", [1, 8400, 6]]]), { head: "deepstream" }).head).toBe("deepstream");
  // Open axes and nothing known: end-to-end is only one of the readings.
  expect(() => recognised([["o", [-1, -1, 6]]], { inputs: [DYNAMIC_IMAGES] })).toThrow(/fit 4 heads/);
});

test("rows that are fixed where the input is open are the grid's of the size the model was exported for", () => {
  const inputs = [DYNAMIC_IMAGES];
  expect(recognised([["output0", [1, 25200, 85]]], { inputs }).head).toBe("yolo-objectness");
  expect(recognised([["output0", [1, 25200, 6]]], { inputs }).head).toBe("yolo-objectness");
  expect(recognised([["output0", [1, 8400, 84]]], { inputs }).head).toBe("yolo-transposed");
  const metadata = ultralytics(80, { imgsz: "[416, 416]" });
  expect(recognised([["output0", [1, 3549, 84]]], { inputs, metadata }).head).toBe("yolo-transposed");
  // Of another size, which nothing tells: no model has as many queries.
  for (const channels of [6, 84, 85]) {
    expect(() => recognised([["output", [1, 3549, channels]]], { inputs })).toThrow(/fit no known head/);
  }
});

test("[B, 300, 6] at 320 x 192, which has 300 cells of strides 16 and 32: the names tell, else it is ambiguous", () => {
  const outputs: Declared[] = [["output0", [1, 300, 6]]];
  const inputs: Declared[] = [["images", [1, 3, 192, 320]]];
  expect(recognised(outputs, { inputs, metadata: ultralytics(80) }).head).toBe("yolo-end-to-end");
  expect(() => recognised(outputs, { inputs, metadata: ultralytics(2) })).toThrow(/fit 2 heads/);
});

test("a side that the model fixes is the preferred one, where the other is open", () => {
  const outputs: Declared[] = [["output0", [-1, 84, -1]]];
  const size = (shape: number[], metadata = {}): readonly number[] =>
    recognised(outputs, { inputs: [["images", shape]], metadata }).preferredSize;
  expect(size([1, 3, 480, -1])).toEqual([640, 480]);
  expect(size([1, 3, -1, 416], ultralytics(80, { imgsz: "[288, 512]" }))).toEqual([416, 288]);
  expect(size([1, 352, -1, 3])).toEqual([640, 352]);
});

test("[B, 1500, 6] is final where Ultralytics' metadata rules a grid out, and two classes are not the whole", () => {
  // YOLOv10 by max_det=1500, before the metadata told `end2end`; at 640 × 640 no grid has so many rows.
  for (const inputs of [[["images", [1, 3, 640, 640]]], [DYNAMIC_IMAGES]] as const) {
    const rows = (classes: number): ModelSpec =>
      recognised([["output0", [1, 1500, 6]]], { inputs, metadata: ultralytics(classes) });
    expect(rows(80).head).toBe("yolo-end-to-end");
    expect(rows(1).head).toBe("yolo-end-to-end");
    expect(() => rows(2)).toThrow(ModelError);
    expect(() => recognised([["output0", [1, 1500, 6]]], { inputs })).toThrow(ModelError);
  }
});

test("[B, 300, 6] of two classes: the metadata tells RT-DETR from an end-to-end YOLO", () => {
  const outputs: Declared[] = [["output0", [1, 300, 6]]];
  expect(recognised(outputs, { metadata: ultralytics(2) }).head).toBe("yolo-end-to-end");
  const rtdetr = ultralytics(2, { description: "Ultralytics rtdetr-l model", version: "8.3.40" });
  expect(recognised(outputs, { metadata: rtdetr }).head).toBe("rtdetr-ultralytics");
  const head = ultralytics(2, { head: "RTDETRDecoder", version: "8.4.46" });
  expect(recognised(outputs, { metadata: head }).head).toBe("rtdetr-ultralytics");
  expect(() => recogniseModel(model(outputs), { labels: ["a", "b"] })).toThrow(/fit 2 heads/);
});

test("Ultralytics' RT-DETR gives rows from 8.4.47 on: six columns are two classes only of an older version", () => {
  const read = (classes: number, columns: number, more: Record<string, string>): ModelSpec =>
    recognised([["output0", [1, 300, columns]]], {
      metadata: ultralytics(classes, { head: "RTDETRDecoder", ...more }),
    });
  for (const version of ["8.4.47", "8.4.190", "8.10.0", "9.0.0"]) {
    for (const classes of [1, 2, 3, 80]) {
      expect(read(classes, 6, { version, end2end: "False" })).toMatchObject({
        head: "rtdetr-ultralytics-rows",
        needsNms: false,
        preprocessing: { fit: "stretch" },
        plan: { kind: "rows", boxForm: "centre", boxUnit: "fraction", scoreColumn: 4, classColumn: 5 },
      });
    }
    expect(read(80, 84, { version }).head).toBe("rtdetr-ultralytics");
  }
  expect(read(80, 6, {}).head).toBe("rtdetr-ultralytics-rows");
  expect(() => read(2, 6, {})).toThrow(/rtdetr-ultralytics: .*before 8.4.47[\s\S]*rtdetr-ultralytics-rows: /);
  expect(() => read(80, 7, { version: "8.4.190" })).toThrow(ModelError);
});

test("pytorch-YOLOv4's boxes and confs: corners as fractions, stretched, no objectness", () => {
  const outputs = (rank: number[]): Declared[] => [
    ["confs", [1, 10_647, 80]],
    ["boxes", [1, 10_647, ...rank]],
  ];
  const inputs: Declared[] = [["input", [1, 3, 416, 416]]];
  expect(recognised(outputs([1, 4]), { inputs })).toMatchObject({
    head: "yolov4",
    needsNms: true,
    labels: COCO_80,
    preprocessing: { fit: "stretch", colour: "RGB", scale: 1 / 255 },
    plan: { output: "confs", boxes: "boxes", boxForm: "corners", boxUnit: "fraction", classes: 80, classChannel: 0 },
  });
  expect(() => recognised(outputs([2, 4]), { inputs })).toThrow(ModelError);
});

test("LibreYOLO's metadata tells the family: corners, another head, or what is not known and refused", () => {
  const read = (family: string, shape: number[], more: Record<string, string> = {}): ModelSpec => {
    const metadata = { libreyolo_version: "1.6.0", model_family: family, task: "detect", letterbox_pad: "topleft" };
    const names = JSON.stringify(Object.fromEntries(Array.from({ length: 80 }, (_, id) => [id, `c${id}`])));
    return recognised([["output", shape]], { metadata: { ...metadata, names, ...more } });
  };
  expect(read("yolo9", [1, 84, 8400])).toMatchObject({
    head: "libreyolo",
    preprocessing: { fit: "letterbox-top-left", colour: "RGB", scale: 1 / 255 },
    plan: { boxForm: "corners", boxUnit: "pixels", order: "channel-major", classes: 80 },
  });
  expect(read("yolox", [1, 8400, 85]).head).toBe("yolox");
  expect(() => read("fcos", [1, 8400, 84])).toThrow(/family "fcos"[\s\S]*name the head by `head: "libreyolo"`/);
  expect(() => read("constructor", [1, 84, 8400])).toThrow(/family "constructor"/);
  // Before 1.2 it stretched, and said nothing of it.
  expect(() => read("yolo9", [1, 84, 8400], { letterbox_pad: "" })).toThrow(/fit no known head/);
  // Weights of version 1.6 may be padded on both sides.
  expect(read("yolo9", [1, 84, 8400], { letterbox_pad: "center" }).preprocessing.fit).toBe("letterbox");
  expect(read("yolo9_p2", [1, 84, 34000]).preprocessing.fit).toBe("letterbox-top-left");
  const yolo7 = read("yolo7", [1, 84, 25200], { letterbox_pad: "" });
  expect(yolo7).toMatchObject({ head: "libreyolo", preprocessing: { fit: "letterbox-top-left", resize: "antialias" } });
  const imagenet = { fit: "stretch", resize: "bilinear", colour: "RGB", scale: 1, mean: [123.675, 116.28, 103.53] };
  expect(read("picodet", [1, 8500, 84])).toMatchObject({ head: "libreyolo", preprocessing: imagenet });
  const rtmdet = read("rtmdet", [1, 8400, 84]);
  expect(rtmdet).toMatchObject({
    preprocessing: {
      fit: "letterbox-top-left",
      resize: "antialias",
      colour: "BGR",
      scale: 1,
      std: [57.375, 57.12, 58.395],
    },
    plan: { boxForm: "corners", order: "anchor-major", classes: 80 },
  });
  const ppyoloe = model(
    [
      ["output", [1, 8400, 4]],
      ["1234", [1, 8400, 80]],
    ],
    {
      metadata: { libreyolo_version: "1.6.0", model_family: "ppyoloe", task: "detect" },
    },
  );
  expect(recogniseModel(ppyoloe, {})).toMatchObject({
    head: "libreyolo",
    preprocessing: imagenet,
    plan: { output: "1234", boxes: "output", boxForm: "corners", boxUnit: "pixels" },
  });
  expect(read("yolo9_e2e", [1, 84, 8400])).toMatchObject({ head: "libreyolo", needsNms: false });
  // Its names mean the opposite, and of four classes only the order tells.
  for (const classes of [80, 4]) {
    const yoloNas = model(
      [
        ["pred_logits", [1, 8400, 4]],
        ["pred_boxes", [1, 8400, classes]],
      ],
      { metadata: { libreyolo_version: "1.6.0", model_family: "yolonas", task: "detect" } },
    );
    expect(recogniseModel(yoloNas, { isSilent: true })).toMatchObject({
      head: "libreyolo",
      preprocessing: { fit: "letterbox", resize: "antialias", colour: "RGB", scale: 1 / 255 },
      needsNms: true,
      plan: { output: "pred_boxes", boxes: "pred_logits", boxForm: "corners", classes },
    });
  }
  const fcos = model([["output", [1, 8400, 84]]], {
    metadata: { libreyolo_version: "1.6.0", model_family: "fcos" },
  });
  expect(recogniseModel(fcos, { head: "libreyolo" }).plan).toMatchObject({ order: "anchor-major", classes: 80 });
});

test("heads with boxes in fractions have a head of their own, which is never recognised", () => {
  const read = (head: string | undefined): ModelSpec => recogniseModel(model([["o", [1, 84, 8400]]]), { head });
  expect(read("yolo-fractions")).toMatchObject({ head: "yolo-fractions", plan: { boxUnit: "fraction" } });
  expect(read(undefined).head).toBe("yolo");
  expect(() => read("yolo-end-to-end-fractions")).toThrow(/do not fit the head "yolo-end-to-end-fractions"/);
});

test("[B, 300, 84] is RT-DETR, not a head: no grid of the input has 300 cells, nor a fixed number if it is open", () => {
  expect(recognised([["output0", [1, 300, 84]]])).toMatchObject({
    head: "rtdetr-ultralytics",
    needsNms: false,
    preprocessing: { fit: "stretch", resize: "bilinear" },
    plan: { boxUnit: "fraction", score: "class", classes: 80 },
  });
  const inputs = [DYNAMIC_IMAGES];
  expect(recognised([["output0", [-1, 300, 84]]], { inputs }).head).toBe("rtdetr-ultralytics");
  expect(recognised([["output0", [-1, 300, 6]]], { inputs }).head).toBe("yolo-end-to-end");
  // More classes than queries: the smaller axis is the queries.
  const many = ultralytics(365, { head: "RTDETRDecoder" });
  expect(recognised([["output0", [1, 300, 369]]], { metadata: many }).plan).toMatchObject({ classes: 365 });
  expect(recogniseModel(model([["o", [1, 300, 369]]]), { labels: new Array(365).fill("x") }).head).toBe(
    "rtdetr-ultralytics",
  );
});

test("[B, 5, 8400] is one class", () => {
  expect(recognised([["output0", [1, 5, 8400]]])).toMatchObject({ head: "yolo", plan: { classes: 1 } });
  expect(recognised([["output0", [1, 5, 8400]]], { metadata: ultralytics(1) }).labels).toEqual(["thing 0"]);
});

test("`output0` says nothing by itself: each shape under this name is another head", () => {
  const shapes: [number[], string][] = [
    [[1, 84, 8400], "yolo"],
    [[1, 8400, 84], "yolo-transposed"],
    [[1, 25200, 85], "yolo-objectness"],
    [[1, 300, 6], "yolo-end-to-end"],
    [[1, 300, 84], "rtdetr-ultralytics"],
  ];
  for (const [shape, head] of shapes) expect(recognised([["output0", shape]]).head).toBe(head);
});

test("metadata settles what shapes do not: end2end, nms=True", () => {
  const inputs = [DYNAMIC_IMAGES];
  const outputs: Declared[] = [["output0", [-1, -1, 6]]];
  const end2end = ultralytics(80, { end2end: "True" });
  expect(recognised(outputs, { inputs, metadata: end2end }).head).toBe("yolo-end-to-end");
  const nms = ultralytics(80, { args: "{'batch': 1, 'half': False, 'nms': True}" });
  expect(recognised(outputs, { inputs, metadata: nms }).head).toBe("yolo-end-to-end");
  // As few rows as one asks for: five are less than the columns.
  expect(recognised([["output0", [1, 5, 6]]], { metadata: nms }).head).toBe("yolo-end-to-end");
  expect(recognised([["output0", [1, 84, 8400]]], { metadata: ultralytics(80, { end2end: "False" }) }).head).toBe(
    "yolo",
  );
});

test("segmentation and pose models give their boxes, where the names or the prototypes tell the classes", () => {
  const prototypes: Declared = ["output1", [1, 32, 160, 160]];
  const segment = ultralytics(80, { task: "segment" });
  const pose = ultralytics(1, { task: "pose" });
  expect(recognised([prototypes, ["output0", [1, 116, 8400]]], { metadata: segment })).toMatchObject({
    head: "yolo",
    plan: { channels: 116, classes: 80 },
  });
  expect(recognised([["output0", [1, 116, 8400]], prototypes]).plan).toMatchObject({ channels: 116, classes: 80 });
  expect(recognised([["output0", [1, 56, 8400]]], { metadata: pose }).plan).toMatchObject({ channels: 56, classes: 1 });
  const final = { end2end: "True" };
  expect(recognised([["output0", [1, 300, 38]], prototypes], { metadata: { ...segment, ...final } })).toMatchObject({
    head: "yolo-end-to-end",
    plan: { columns: 38 },
  });
  expect(recognised([["output0", [1, 300, 57]]], { metadata: { ...pose, ...final } }).plan).toMatchObject({
    columns: 57,
  });
  expect(recognised([["output0", [1, 300, 38]], prototypes]).head).toBe("yolo-end-to-end");
});

test("a pose model without metadata is refused rather than read as 52 classes", () => {
  const pose = model([["output0", [1, 56, 8400]]]);
  expect(() => recogniseModel(pose, {})).toThrow(/may be a box and 52 classes/);
  expect(recogniseModel(pose, { head: "yolo" }).plan).toMatchObject({ classes: 52 });
  expect(recogniseModel(pose, { labels: new Array(52).fill("x") }).plan).toMatchObject({ classes: 52 });
  expect(() => recogniseModel(model([["output0", [1, 300, 57]]]), {})).toThrow(/fit 2 heads/);
  // With the name that the refusal asks for, the task is what it still wants.
  expect(() => recogniseModel(pose, { labels: ["person"] })).toThrow(
    /has 51 channels behind a box and 1 class, and nothing tells what they are\nHint: give its `task` \(.*--task pose/,
  );
  expect(recogniseObjects(pose, "pose", { labels: ["person"] }).keypoints).toMatchObject({ count: 17 });
});

test("models of other tasks are refused by their task", () => {
  for (const task of ["classify", "obb"]) {
    const other = model([["output0", [1, 20, 21504]]], { metadata: ultralytics(15, { task }) });
    expect(() => recogniseModel(other, { source: '"a.onnx"' })).toThrow(
      `Cannot use "a.onnx" as a detector: its task is "${task}"`,
    );
  }
  const hintFor = (task: string): string =>
    refusal(() => recogniseModel(model([["output0", [1, 19, 80, 80]]], { metadata: { task } }), {}));
  expect(hintFor("semantic")).toContain("Hint: load it with `SemanticSegmenter`; on a command line run `semantic`");
  expect(hintFor("world")).toContain("Hint: tasks known are detect, segment, pose, obb, ");
});

test("the word for the task may be written otherwise, or be empty, and naming the head decides", () => {
  for (const task of ["Detect", " detect", "object-detection", "Object Detection", "detection", ""]) {
    const named = model([["output0", [1, 84, 8400]]], { metadata: ultralytics(80, { task }) });
    expect(recogniseModel(named, {})).toMatchObject({ head: "yolo", plan: { classes: 80 } });
  }
  const other = model([["output0", [1, 84, 8400]]], { metadata: ultralytics(80, { task: "classify" }) });
  expect(() => recogniseModel(other, {})).toThrow('if it gives boxes, name its head by `head: "yolo"`');
  expect(recogniseModel(other, { head: "yolo" })).toMatchObject({ head: "yolo", plan: { classes: 80 } });
});

test("rows with a batch number: [rows, 7], YOLOv7's --max-wh", () => {
  expect(recognised([["output", [-1, 7]]], { inputs: [DYNAMIC_IMAGES] })).toMatchObject({
    head: "yolov7-rows",
    needsNms: false,
    plan: { batchColumn: 0, boxColumn: 1, classColumn: 5, scoreColumn: 6 },
  });
  expect(recognised([["outputs", [-1, 7]]]).head).toBe("yolov7-rows");
  // YOLO-NAS has the score before the class: as YOLOv7's rows, all of its persons would be lost.
  const nas = model([["graph2_flat_predictions", [-1, 7]]]);
  expect(recogniseModel(nas, {})).toMatchObject({
    head: "yolo-nas-flat",
    plan: { batchColumn: 0, boxColumn: 1, classColumn: 6, scoreColumn: 5 },
    assumptions: [expect.stringContaining("PP-YOLOE"), NAMES_ASSUMED],
  });
  expect(recogniseModel(nas, { head: "yolov7-rows" }).head).toBe("yolov7-rows");
  expect(() => recogniseModel(model([["rows", [-1, 7]]]), {})).toThrow(
    /fit no known head[\s\S]*by `head: "yolov7-rows"` \(`--head yolov7-rows`\), or "yolo-nas-flat"/,
  );
});

test("of YOLOv9's heads, of one shape, the main one is numbered, and the last of several: the first is an auxiliary one", () => {
  const head = (name: string): Declared => [name, [1, 84, 8400]];
  const dual = logged(() => recognised([head("output0"), head("2731")]));
  expect(dual.result).toMatchObject({ unexplained: [], plan: { output: "2731" } });
  expect(dual.lines).toEqual([
    'warn: Reading the model with head "yolo" from its output "2731", which is the main one of YOLOv9: for another of its outputs give ' +
      '`head: "yolo:output0"` (`--head yolo:output0`)',
  ]);
  const other = logged(() => recogniseModel(model([head("output0"), head("2731")]), { head: "yolo:output0" }));
  expect(other).toMatchObject({ result: { plan: { output: "output0" } }, lines: [] });
  expect(recognised([head("2731"), head("3104"), head("output0")]).plan).toMatchObject({ output: "3104" });
  const raw: Declared[] = [80, 40, 20].map((side) => [`map ${side}`, [1, 144, side, side]]);
  expect(recognised([head("output0"), ...raw, head("2731")]).plan).toMatchObject({ output: "2731" });
  expect(() => recognised([head("1913"), head("1914")])).toThrow(ModelError);
  expect(() => recognised([head("output0"), ["2731", [1, 85, 8400]]])).toThrow(ModelError);
});

test("an output that the head does not know shows another model: it is refused, and read where the head is named", () => {
  const further: [Declared, Declared][] = [
    // pytorch-YOLOv4's kind; YOLOP, which wants ImageNet's mean; a head on the side.
    [
      ["confs", [1, 10_647, 85]],
      ["boxes", [1, 10_647, 2, 4]],
    ],
    [
      ["det_out", [1, 25_200, 6]],
      ["lane_line_seg", [1, 2, 640, 640]],
    ],
    [
      ["output0", [1, 84, 8400]],
      ["depth", [1, 1, 640, 640]],
    ],
    [
      ["output0", [1, 84, 8400]],
      ["map", [1, 19, 80, 80]],
    ],
    [
      ["output0", [1, 300, 6]],
      ["embeddings", [1, 300, 512]],
    ],
  ];
  for (const [known, other] of further) {
    const side = known[0] === "confs" ? 416 : 640;
    const inputs: Declared[] = [["images", [1, 3, side, side]]];
    expect(() => recognised([known, other], { inputs })).toThrow(ModelError);
    const head = recognised([known], { inputs }).head;
    if (other[1].length !== 4) continue;
    expect(() => recognised([known, other], { inputs })).toThrow(
      `no head has "${other[0]}" (f32 [${other[1].join(", ")}]) beside the rest, which would be "${head}"\nHint: it may be another model`,
    );
    const named = logged(() => recogniseModel(model([known, other], { inputs }), { head }));
    expect(named.result.unexplained.map(({ name }) => name)).toEqual([other[0]]);
    expect(named.lines.join()).toContain(`although that has no "${other[0]}" (f32`);
  }
  const boxes = recognised(SIZED_OUTPUTS, { inputs: SIZED_INPUTS });
  expect(boxes.unexplained).toEqual([]);
  expect(() => recognised([...SIZED_OUTPUTS, ["angles", [-1, 300]]], { inputs: SIZED_INPUTS })).toThrow(
    /no head has "angles"/,
  );
});

test("raw maps and mask prototypes beside a head are known, where they fit it", () => {
  const raw = (channels: number): Declared[] => [80, 40, 20].map((side) => [`map ${side}`, [1, channels, side, side]]);
  expect(recognised([["output0", [1, 84, 8400]], ...raw(144)]).head).toBe("yolo");
  expect(recognised([["output", [1, 25_200, 85]], ...raw(255)]).head).toBe("yolo-objectness");
  const prototypes: Declared = ["output1", [1, 32, 160, 160]];
  expect(recognised([["output0", [1, 116, 8400]], prototypes]).unexplained).toEqual([]);
  const metadata = ultralytics(80);
  expect(() => recognised([["output0", [1, 84, 8400]], prototypes], { metadata })).toThrow(/no head has "output1"/);
  const masks: Declared[] = [
    ["dets", [1, 300, 4]],
    ["labels", [1, 300, 91]],
    ["masks", [1, 300, 108, 108]],
  ];
  expect(recognised(masks).head).toBe("rf-detr");
});

test("metadata that says NMS is done does not hold against a raw grid, and the log says so", () => {
  const promised = [{ end2end: "True" }, { args: "{'nms': True}" }];
  for (const more of promised) {
    const metadata = ultralytics(80, more);
    const shapes: [number[], string][] = [
      [[1, 84, 8400], "yolo"],
      [[-1, 84, -1], "yolo"],
      [[1, 8400, 84], "yolo-transposed"],
    ];
    for (const [shape, head] of shapes) {
      const inputs: Declared[] = shape[0] === 1 ? [["images", [1, 3, 640, 640]]] : [DYNAMIC_IMAGES];
      const { result, lines } = logged(() => recognised([["output0", shape]], { inputs, metadata }));
      expect(result).toMatchObject({ head, needsNms: true, plan: { classes: 80 } });
      expect(lines).toEqual([
        "warn: Ignoring that the metadata of the model says that NMS is done, as its output is a raw grid",
      ]);
    }
    expect(recognised([["output0", [1, 300, 6]]], { metadata }).head).toBe("yolo-end-to-end");
  }
  // Masks and keypoints come with more columns than six.
  const segment = ultralytics(2, { task: "segment", end2end: "True" });
  expect(
    recognised(
      [
        ["output0", [1, 300, 38]],
        ["output1", [1, 32, 160, 160]],
      ],
      { metadata: segment },
    ).head,
  ).toBe("yolo-end-to-end");
});

/** As RT-DETR, D-FINE and DEIM are exported. */
const SIZED_OUTPUTS: Declared[] = [
  ["scores", [-1, 300]],
  ["boxes", [-1, 300, 4]],
  ["labels", [-1, 300], "i64"],
];
const SIZED_INPUTS: Declared[] = [
  ["orig_target_sizes", [-1, 2], "i64"],
  ["images", [-1, 3, 640, 640]],
];

test("labels, boxes, scores with orig_target_sizes: stretched, no mean unless the caller says deimv2-imagenet", () => {
  const plain = recognised(SIZED_OUTPUTS, { inputs: SIZED_INPUTS });
  expect(plain).toMatchObject({
    head: "rtdetr",
    sizeInputs: [{ name: "orig_target_sizes", dtype: "i64", content: "width-height" }],
    preprocessing: {
      fit: "stretch",
      resize: "antialias",
      colour: "RGB",
      scale: 1 / 255,
      mean: [0, 0, 0],
      std: [1, 1, 1],
    },
    needsNms: false,
    labels: COCO_80,
    plan: { kind: "columns", boxes: "boxes", scores: "scores", classes: "labels" },
  });
  const imagenet = recogniseModel(model(SIZED_OUTPUTS, { inputs: SIZED_INPUTS }), { head: "deimv2-imagenet" });
  expect(imagenet.preprocessing).toMatchObject({
    fit: "stretch",
    resize: "antialias",
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
  });
  // Without the size input boxes would be of an unknown size.
  expect(() => recognised(SIZED_OUTPUTS)).toThrow(ModelError);
});

test("a file that is called DEIMv2 with DINOv3 gets a warning, as nothing in it tells its pre-processing", () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  const labels = [...COCO_80];
  for (const source of ["deimv2_dinov3_s_coco.onnx", "deimv2_hgnetv2_n_coco.onnx"]) {
    recogniseModel(model(SIZED_OUTPUTS, { inputs: SIZED_INPUTS }), { source, labels });
    recogniseModel(model(SIZED_OUTPUTS, { inputs: SIZED_INPUTS }), { source, labels, head: "deimv2-imagenet" });
  }
  setLogSink(former);
  expect(lines).toEqual([
    'warn: Reading deimv2_dinov3_s_coco.onnx with head "rtdetr": if it is DEIMv2 with DINOv3, it wants ImageNet\'s mean and deviation: give `head: "deimv2-imagenet"` (`--head deimv2-imagenet`)',
  ]);
});

test("dets and labels: RF-DETR, stretched, ImageNet, COCO's category ids", () => {
  const outputs: Declared[] = [
    ["labels", [1, 300, 91]],
    ["dets", [1, 300, 4]],
  ];
  const found = recognised(outputs, { inputs: [["input", [1, 3, 384, 384]]] });
  expect(found).toMatchObject({
    head: "rf-detr",
    needsNms: false,
    preprocessing: { fit: "stretch", resize: "bilinear", mean: IMAGENET_MEAN, std: IMAGENET_STD },
    plan: { kind: "queries", activation: "sigmoid", classes: 91 },
  });
  expect(found.labels).toEqual(COCO_91);
  // Of one's own: whether the ids start at 0 or 1 nothing tells, so that each must have its name.
  const own = model([
    ["dets", [1, 300, 4]],
    ["labels", [1, 300, 3]],
  ]);
  expect(recogniseModel(own, { labels: ["", "cat", "dog"] }).labels).toEqual(["", "cat", "dog"]);
  expect(() => recogniseModel(own, { labels: ["cat", "dog"] })).toThrow("it has 3 classes, got 2 class names");
  expect(() => recogniseModel(own, { head: "rf-detr", labels: ["cat", "dog"] })).toThrow(
    /it has 3 classes, got 2 class names\nHint: .*such as a background, may have any/,
  );
  expect(() => recogniseModel(own, { labels: ["cat", "dog"], head: "rf-detr" })).toThrow(ModelError);
});

test("logits and pred_boxes: the number of classes tells sigmoid from softmax, else it is ambiguous", () => {
  const outputs = (classes: number, queries = 100): Declared[] => [
    ["logits", [-1, queries, classes]],
    ["pred_boxes", [-1, queries, 4]],
  ];
  const inputs: Declared[] = [["pixel_values", [-1, 3, -1, -1]]];
  // 100 queries are DETR's, of 79 classes and "no object".
  const detrOf79 = model(outputs(80), { inputs });
  expect(() => recogniseModel(detrOf79, {})).toThrow(/fit 2 heads/);
  expect(recogniseModel(detrOf79, { head: "hugging-face-softmax" }).labels).toHaveLength(79);
  expect(recogniseModel(detrOf79, { labels: COCO_80 }).head).toBe("hugging-face");
  expect(recognised(outputs(80, 300), { inputs })).toMatchObject({
    head: "hugging-face",
    preprocessing: { fit: "stretch", resize: "antialias", mean: [0, 0, 0] },
    plan: { activation: "sigmoid" },
  });
  const detr = recognised(outputs(92), { inputs: [...inputs, ["pixel_mask", [-1, -1, -1], "i64"]] });
  expect(detr).toMatchObject({
    head: "hugging-face-softmax",
    preprocessing: { resize: "antialias", mean: IMAGENET_MEAN },
    sizeInputs: [{ name: "pixel_mask", dtype: "i64", content: "mask" }],
    plan: { activation: "softmax", classes: 92 },
  });
  expect(detr.labels).toEqual(COCO_91);
  expect(recognised(outputs(91), { inputs })).toMatchObject({
    head: "hugging-face",
    preprocessing: { mean: IMAGENET_MEAN },
  });
  const custom = model(outputs(3), { inputs });
  expect(() => recogniseModel(custom, {})).toThrow(/fit 2 heads/);
  expect(recogniseModel(custom, { labels: ["table", "rotated"] }).head).toBe("hugging-face-softmax");
  expect(recogniseModel(custom, { labels: ["a", "b", "c"] }).head).toBe("hugging-face");
  expect(recogniseModel(custom, { head: "hugging-face-softmax" }).labels).toEqual(["class 0", "class 1"]);
});

test("Hugging Face's own classes: further outputs tell RT-DETR from DETR's kin, else the log says what is assumed", () => {
  const read = (further: string[], classes = 7, head?: string): ReturnType<typeof logged<ModelSpec>> => {
    const outputs: Declared[] = [
      ["logits", [-1, 300, classes]],
      ["pred_boxes", [-1, 300, 4]],
      ...further.map((name): Declared => [name, [-1, 300, 256]]),
    ];
    const described = model(outputs, { inputs: [["pixel_values", [-1, 3, -1, -1]]] });
    return logged(() => recogniseModel(described, { labels: new Array(classes).fill("x"), head }));
  };
  const states = ["last_hidden_state", "encoder_last_hidden_state"];
  const conditional = read(states);
  expect(conditional.result).toMatchObject({ head: "hugging-face", preprocessing: { mean: IMAGENET_MEAN } });
  const deformable = read([...states, "init_reference_points", "intermediate_hidden_states", "enc_outputs_class"]);
  expect(deformable.result.preprocessing).toMatchObject({ mean: IMAGENET_MEAN, std: IMAGENET_STD });
  const rtdetr = read([...states, "intermediate_hidden_states", "enc_topk_logits", "enc_topk_bboxes"]);
  expect(rtdetr.result.preprocessing).toMatchObject({ mean: [0, 0, 0] });
  for (const { lines } of [conditional, deformable, rtdetr]) expect(lines).toEqual([]);
  // Classes do not tell, nor does the head that the caller names.
  for (const unknown of [read([]), read([], 80), read([], 7, "hugging-face")]) {
    expect(unknown.result.preprocessing).toMatchObject({ mean: [0, 0, 0] });
    expect(unknown.lines.join()).toMatch(
      /^warn: Assuming for the model RT-DETR's pre-processing.*give `preprocessing: \{ mean: \[0\.485/,
    );
  }
  const ofIds = read([], 91);
  expect(ofIds.result.preprocessing).toMatchObject({ mean: IMAGENET_MEAN });
  expect(ofIds.lines.join()).toMatch(
    /^warn: Assuming for the model Conditional DETR's pre-processing.*give `preprocessing: \{ mean: \[0, 0, 0\]/,
  );
  expect(() => read(["keypoints"])).toThrow(/no head has "keypoints"/);
});

test("EfficientNMS by every set of names, with whole or float classes; NHWC is TensorFlow's, whose boxes are y, x", () => {
  const sets = [
    ["num_dets", "det_boxes", "det_scores", "det_classes"],
    ["num_dets", "bboxes", "scores", "labels"],
    ["num_detections", "detection_boxes", "detection_scores", "detection_classes"],
    ["num_detections", "nmsed_boxes", "nmsed_scores", "nmsed_classes"],
    ["num", "boxes", "scores", "classes"],
  ] as const;
  for (const [counts, boxes, scores, classes] of sets) {
    for (const dtype of ["i32", "f32"] as const) {
      const outputs: Declared[] = [
        [classes, [1, 100], dtype],
        [scores, [1, 100]],
        [boxes, [1, 100, 4]],
        [counts, counts === "num_detections" ? [1] : [1, 1], "i32"],
      ];
      expect(recognised(outputs)).toMatchObject({
        head: "efficient-nms",
        needsNms: false,
        plan: { kind: "columns", counts, boxes, scores, classes },
      });
      // Any family may be behind this NMS; metadata tells.
      const family =
        classes === "labels" ? /MMYOLO.*RTMDet give .*colour: "BGR", scale: 1, mean: .*; for YOLOX/ : /DAMO-YOLO/;
      expect(recognised(outputs).assumptions).toEqual([expect.stringMatching(family), NAMES_ASSUMED]);
      expect(recognised(outputs, { metadata: ultralytics(80) }).assumptions).toEqual([]);
      expect(() => recognised(outputs, { inputs: [["images", [1, 640, 640, 3]]] })).toThrow(ModelError);
    }
  }
});

test("Paddle's RT-DETR by its inputs and counts", () => {
  const inputs: Declared[] = [
    ["scale_factor", [-1, 2]],
    ["im_shape", [-1, 2]],
    ["image", [-1, 3, 640, 640]],
  ];
  const outputs: Declared[] = [
    ["save_infer_model/scale_1.tmp_0", [-1], "i32"],
    ["save_infer_model/scale_0.tmp_0", [-1, 6]],
  ];
  expect(recognised(outputs, { inputs })).toMatchObject({
    head: "paddle-rtdetr",
    imageInput: "image",
    sizeInputs: [
      { name: "scale_factor", content: "ones" },
      { name: "im_shape", content: "height-width" },
    ],
    plan: { boxColumn: 2, scoreColumn: 1, classColumn: 0, counts: "save_infer_model/scale_1.tmp_0" },
  });
  // PicoDet and YOLOv3, whose images are normalised otherwise, unless the caller says that they are not.
  const normalised = {
    head: "paddle-detection",
    preprocessing: { fit: "stretch", scale: 1 / 255, mean: IMAGENET_MEAN, std: IMAGENET_STD },
    assumptions: [expect.stringContaining("for PP-YOLOE+ give"), NAMES_ASSUMED],
    plan: { kind: "rows", boxColumn: 2, scoreColumn: 1, classColumn: 0 },
  };
  const picodet = model(outputs, { inputs: inputs.filter(([name]) => name !== "im_shape") });
  expect(recogniseModel(picodet, {})).toMatchObject(normalised);
  expect(recogniseModel(picodet, { head: "paddle-rtdetr" }).sizeInputs).toHaveLength(1);
  const yolov3: Declared[] = [
    ["multiclass_nms3_0.tmp_0", [-1, 6]],
    ["multiclass_nms3_0.tmp_2", [-1], "i32"],
  ];
  expect(recognised(yolov3, { inputs })).toMatchObject({ ...normalised, sizeInputs: [{}, {}] });
  // Renamed, both take the size: nothing tells which way an image is normalised, and naming the head makes it run.
  const renamed = model(
    [
      ["boxes", [-1, 6]],
      ["counts", [-1], "i32"],
    ],
    { inputs },
  );
  expect(() => recogniseModel(renamed, {})).toThrow(
    /fit 2 heads, and nothing tells which[\s\S]*of reshape: [\s\S]*outputs of a multiclass_nms[\s\S]*Hint: say which, by `head: "paddle-rtdetr"`/,
  );
  expect(recogniseModel(renamed, { head: "paddle-detection" })).toMatchObject({ ...normalised, sizeInputs: [{}, {}] });
});

test("PP-YOLOE without its post-processing has corners, and is told by the names that Paddle2ONNX gives", () => {
  const inputs: Declared[] = [["image", [1, 3, 640, 640]]];
  const found = recognised([["concat_14.tmp_0", [1, 8400, 84]]], { inputs });
  expect(found).toMatchObject({
    head: "ppyoloe-raw",
    needsNms: true,
    preprocessing: { fit: "stretch", mean: IMAGENET_MEAN, std: IMAGENET_STD },
    plan: { kind: "dense", order: "anchor-major", boxForm: "corners", classes: 80, classChannel: 4 },
  });
  expect(found.alternatives).toContain("yolo-transposed");
  // A class more or objectness: nothing tells, and naming it makes it run.
  const unclear = model([["concat_14.tmp_0", [1, 8400, 85]]], { inputs });
  expect(() => recogniseModel(unclear, {})).toThrow(/fit \d heads, and nothing tells which[\s\S]*"ppyoloe-raw"/);
  expect(recogniseModel(unclear, { head: "ppyoloe-raw" }).labels).toHaveLength(81);
  expect(recognised([["output0", [1, 8400, 84]]], { inputs }).head).toBe("yolo-transposed");
});

test("PP-YOLOE's boxes and planes of classes, before NMS", () => {
  const outputs: Declared[] = [
    ["concat_14.tmp_0", [1, 80, 8400]],
    ["tmp_17", [1, 8400, 4]],
  ];
  const inputs: Declared[] = [
    ["image", [1, 3, 640, 640]],
    ["scale_factor", [1, 2]],
  ];
  for (const count of [1, 2]) {
    expect(recognised(outputs, { inputs: inputs.slice(0, count) })).toMatchObject({
      head: "ppyoloe-planes",
      needsNms: true,
      sizeInputs: inputs.slice(1, count).map(([name]) => ({ name, content: "ones" })),
      plan: { kind: "planes", boxes: "tmp_17", scores: "concat_14.tmp_0", classes: 80 },
    });
  }
  // Of another exporter: to be named.
  expect(() => recognised(outputs)).toThrow(/--head ppyoloe-planes/);
});

test("images that are inputs of their own are refused, with how one is exported", () => {
  const inputs: Declared[] = [
    ["image.1", [3, 300, 400]],
    ["image.3", [3, 300, 400]],
  ];
  expect(() => recognised([["boxes", [-1, 4]]], { inputs })).toThrow(
    /it takes 2 images as inputs of their own\n[\s\S]*image\.3[\s\S]*\nHint: export it with one image/,
  );
});

test("PicoDet's eight maps, with the class names that RapidAI writes a line each", () => {
  const cells = [7600, 1900, 475, 130];
  const outputs = cells.flatMap((count, at): Declared[] => [
    [`transpose_${2 * at}.tmp_0`, [1, count, 3]],
    [`transpose_${2 * at + 1}.tmp_0`, [1, count, 32]],
  ]);
  const inputs: Declared[] = [["image", [1, 3, 800, 608]]];
  const found = recognised(outputs, { inputs, metadata: { character: "text\ntitle\nfigure\n" } });
  expect(found).toMatchObject({
    head: "picodet",
    labels: ["text", "title", "figure"],
    preprocessing: { fit: "stretch", colour: "RGB", mean: IMAGENET_MEAN, std: IMAGENET_STD },
    plan: { kind: "distance-bins", bins: 8, levels: [8, 16, 32, 64].map((stride) => ({ stride })) },
  });
  expect(() => recognised(outputs, { inputs, metadata: { character: "text" } })).toThrow(/has 3 classes/);
});

test("NanoDet's six maps are told by their cells and names, or by the usual bins where names say nothing", () => {
  const inputs: Declared[] = [["input.1", [1, 3, 416, 416]]];
  const maps = (classes: string, distances: string): Declared[] =>
    [32, 8, 16].flatMap((stride): Declared[] => {
      const cells = (416 / stride) ** 2;
      return [
        [`${distances}${stride}`, [1, cells, 32]],
        [`${classes}${stride}`, [1, cells, 80]],
      ];
    });
  const found = recognised(maps("cls_pred_stride_", "dis_pred_stride_"), { inputs });
  expect(found).toMatchObject({
    head: "nanodet",
    preprocessing: { fit: "letterbox", colour: "BGR", scale: 1, mean: [103.53, 116.28, 123.675], pad: [0, 0, 0] },
    plan: {
      kind: "distance-bins",
      classes: 80,
      bins: 8,
      levels: [8, 16, 32].map((stride) => ({
        stride,
        classMap: `cls_pred_stride_${stride}`,
        distanceMap: `dis_pred_stride_${stride}`,
      })),
    },
  });
  expect(recognised(maps("7", "9"), { inputs }).plan).toMatchObject({ classes: 80, bins: 8 });
});

test("FastestDet's grid, but no map of another depth or stride", () => {
  const inputs: Declared[] = [["input.1", [1, 3, 352, 352]]];
  expect(recognised([["758", [1, 85, 22, 22]]], { inputs })).toMatchObject({
    head: "fastestdet",
    preprocessing: { fit: "stretch", colour: "BGR", scale: 1 / 255 },
    needsNms: true,
  });
  expect(() => recognised([["758", [1, 21, 22, 22]]], { inputs })).toThrow(ModelError);
  expect(() => recognised([["758", [1, 85, 44, 44]]], { inputs })).toThrow(ModelError);
});

test("an unknown model is an error that lists its tensors, and the heads that are nearest, on one screen", () => {
  const other = model([["restored", [1, 480, 640, 3]]], { inputs: [["image", [1, 3, 480, 640]]] });
  let error: unknown;
  try {
    recogniseModel(other, { source: '"tbefn.onnx"' });
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(ModelError);
  const { message, source } = error as ModelError;
  expect(source).toBe('"tbefn.onnx"');
  expect(message).toStartWith('Cannot use "tbefn.onnx" as a detector: its tensors fit no known head\ninputs:\n');
  expect(message).toContain("  image: f32 [1, 3, 480, 640]\noutputs:\n  restored: f32 [1, 480, 640, 3]\nheads known:");
  // One output of four axes; docs/models.md, which a test compares with the registry, has all of them.
  const rows = message.slice(message.indexOf("heads known:\n")).split("\n").slice(1, -1);
  const known = HEADS.filter(({ name }) => !name.endsWith("-fractions"));
  const shown = known.filter(({ name, summary }) => rows.includes(`  ${name}: ${summary}`)).map(({ name }) => name);
  expect(shown).toEqual(["fastestdet", "yolov2-maps", "custom-vision-maps"]);
  expect(rows.at(-1)).toBe(`  … and ${known.length - 3} more in docs/models.md`);
  expect(message).toEndWith("\nHint: export it so that its outputs are those of a head that is known");
});

test("heads whose names would be taken come first among those shown, and no list is longer than a screen", () => {
  const rows = model([["boxes", [1, 900, 7]]], { inputs: [["image", [1, 3, 480, 640]]] });
  const textOf = (run: () => unknown): string => {
    try {
      return String(run());
    } catch (error) {
      return (error as Error).message;
    }
  };
  const message = textOf(() => recogniseModel(rows, {}));
  const shown = message.slice(message.indexOf("heads known:\n")).split("\n").slice(1, -1);
  expect(shown.length).toBeLessThanOrEqual(12);
  expect(shown[0]).toStartWith("  yolo-transposed: ");
  expect(message).toContain('`head: "yolo-transposed"`');
  const pose = textOf(() => recogniseObjects(rows, "pose", {}));
  expect(pose.length).toBeLessThan(1000);
  expect(pose).toEndWith("; docs/models.md lists the other heads");
});

test("a model without an image input, or with an input nobody fills, is refused", () => {
  const two = model([["output", [1, 84, 8400]]], { inputs: [["input", [1, 2, 224, 224]]] });
  expect(() => recogniseModel(two, {})).toThrow(
    "no input takes a batch of images of one, three or four channels, in f32, f16, u8 or u16",
  );
  for (const shape of [
    [1, 4, 640, 640],
    [1, 640, 640, 4],
  ]) {
    const four = model([["output0", [1, 84, 8400]]], { inputs: [["images", shape]] });
    expect(recogniseModel(four, {}).preprocessing.colour).toBe("RGBA");
  }
  for (const shape of [
    [1, 10, 640, 640],
    [1, 640, 640, 10],
  ]) {
    const deep = model([["output0", [1, 84, 8400]]], { inputs: [["images", shape]] });
    expect(() => recogniseModel(deep, {})).toThrow(
      /takes 10 channels, and an image has 1, 3 or 4[\s\S]*Hint: fill the input yourself, through `Session`/,
    );
  }
  const fed: Declared[] = [
    ["images", [1, 3, 640, 640]],
    ["prompt", [1, 80, 512]],
  ];
  expect(() => recognised([["output0", [1, 84, 8400]]], { inputs: fed })).toThrow(
    'its head is "yolo", which does not say what to fill "prompt" (f32 [1, 80, 512]) with',
  );
});

test("a head that is forced settles what is open, but must fit the shapes", () => {
  const yolox = model([["output", [1, 8400, 8]]]);
  expect(recogniseModel(yolox, { head: "yolox" })).toMatchObject({
    head: "yolox",
    reason: "output: f32 [1, 8400, 8]; named by the caller",
    plan: { classes: 3 },
  });
  expect(recogniseModel(yolox, { head: "yolox-decoded" }).plan).toMatchObject({ kind: "dense", score: "product" });
  expect(recogniseModel(yolox, { head: "yolo-transposed" }).plan).toMatchObject({ classes: 4 });
  expect(() => recogniseModel(yolox, { head: "nanodet" })).toThrow(
    /do not fit the head "nanodet"[\s\S]*output: f32 \[1, 8400, 8\][\s\S]*heads:\n {2}nanodet: six outputs/,
  );
});

test("a head that is forced and wrong is what the message tells of, where the names fit another", () => {
  const turned = model([["output0", [1, 8400, 84]]], { metadata: ultralytics(80) });
  expect(() => recogniseModel(turned, { head: "yolo-objectness" })).toThrow(/do not fit the head "yolo-objectness"/);
});

test("headNamed() knows every head once, and names the nearest to a misspelt one", () => {
  const names = HEADS.map((head) => head.name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(headNamed(name).name).toBe(name);
  expect(() => headNamed("yolo-x")).toThrow(OptionError);
  expect(() => headNamed("yolxo")).toThrow(/^Unknown head "yolxo"\. Did you mean "yolox?"\?$/);
  expect(() => recogniseModel(model([["o", [1, 84, 8400]]]), { head: "nope nope" })).toThrow(
    /^Unknown head "nope nope"\nHint: choose one of yolo, /,
  );
});

test("COCO's names are assumed where the outputs do not tell the number of classes, and the log says so", () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  expect(recognised([["output0", [1, 300, 6]]]).labels).toEqual(COCO_80);
  expect(recognised([["output0", [1, 300, 6]]], { metadata: ultralytics(3) }).labels.length).toBe(3);
  expect(recogniseModel(model([["output0", [1, 300, 6]]]), { labels: ["cat"] }).labels).toEqual(["cat"]);
  expect(recognised([["output0", [1, 84, 8400]]]).labels).toEqual(COCO_80);
  // RF-DETR trained on own data may keep 91 columns.
  const rfDetr: Declared[] = [
    ["dets", [1, 300, 4]],
    ["labels", [1, 300, 91]],
  ];
  expect(recognised(rfDetr).labels).toEqual(COCO_91);
  expect(recogniseModel(model(rfDetr), { labels: new Array(91).fill("x") }).labels).toHaveLength(91);
  setLogSink(former);
  expect(lines).toEqual([
    `warn: Assuming for the model ${NAMES_ASSUMED}`,
    "warn: Assuming for the model the names of COCO's 91 ids, as the model has 91 classes and does not tell their names: one that was trained on other data may keep their number; give `labels`",
  ]);
});

test("names that are assumed are told as all that is assumed, of every kind of head, whatever is said of the image", () => {
  const dets: Declared[] = [
    ["dets", [1, 100, 5]],
    ["labels", [1, 100], "i64"],
  ];
  const prototypes: Declared[] = [
    ["output0", [1, 300, 38]],
    ["output1", [1, 32, 160, 160]],
  ];
  const options = { isSilent: true, preprocessing: { colour: "BGR" } } as const;
  for (const outputs of [dets, [...dets, ["masks", [1, 100, 28, 28]] as Declared], prototypes]) {
    const spec = recogniseAny(model(outputs), options);
    expect(spec).toMatchObject({ assumptions: [NAMES_ASSUMED], assumedNames: NAMES_ASSUMED });
    expect(recogniseAny(model(outputs), { ...options, labels: ["a"] }).assumptions).toEqual([]);
  }
});

test("DeepStream-Yolo's exports: three rows a cell tell the family, for others a line in the log says what is assumed", () => {
  const deepstream = (rows: number, options: Parameters<typeof recogniseModel>[1] = {}): [ModelSpec, string[]] => {
    const lines: string[] = [];
    const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
    try {
      const labels = Array.from({ length: 80 }, (_, id) => `thing ${id}`);
      const inputs: Declared[] = [["input", [1, 3, 416, 416]]];
      const found = recogniseModel(model([["output", [1, rows, 6]]], { inputs }), { labels, source: "a", ...options });
      return [found, lines];
    } finally {
      setLogSink(former);
    }
  };
  expect(deepstream(3549 * 3)).toEqual([expect.objectContaining({ head: "deepstream", assumptions: [] }), []]);
  const [cells, told] = deepstream(3549);
  expect(cells).toMatchObject({
    head: "deepstream",
    needsNms: true,
    preprocessing: { fit: "letterbox", colour: "RGB" },
  });
  expect(told).toEqual([
    "warn: Assuming for a YOLO's pre-processing; DeepStream-Yolo's exports of YOLOX, RTMDet, PP-YOLOE, DAMO-YOLO and YOLO-NAS " +
      'look alike and want another: for YOLOX give `preprocessing: { fit: "letterbox-top-left", colour: "BGR", scale: 1 }` (`--fit letterbox-top-left --colour BGR --scale 1`)',
  ]);
  const [final, toldOfFinal] = deepstream(300);
  expect(final).toMatchObject({ head: "yolo-end-to-end", needsNms: false });
  expect(toldOfFinal).toEqual([
    expect.stringContaining(
      'for these give `preprocessing: { fit: "stretch", resize: "antialias" }` (`--fit stretch --resize antialias`)',
    ),
  ]);
  // Whoever says what it is need not be told.
  const preprocessing = {
    fit: "letterbox-top-left",
    resize: "antialias",
    colour: "BGR",
    scale: 1,
    mean: 7,
    std: [1, 2, 3],
  } as const;
  const [said, nothing] = deepstream(3549, { preprocessing });
  expect(nothing).toEqual([]);
  expect(said.preprocessing).toEqual({
    ...cells.preprocessing,
    ...preprocessing,
    mean: [7, 7, 7],
    pad: [114, 114, 114],
  });
});

test("boxes and scores that come apart before NMS: DAMO-YOLO by its names, others where it is named", () => {
  const split = (scores: string, boxes: string, rows = 8400, classes = 80): ReturnType<typeof model> =>
    model([
      [scores, [1, rows, classes]],
      [boxes, [1, rows, 4]],
    ]);
  const damo = recogniseModel(split("output", "947"), {});
  expect(damo).toMatchObject({
    head: "damo-yolo",
    needsNms: true,
    preprocessing: { fit: "stretch", colour: "RGB", scale: 1 },
    plan: { output: "output", boxes: "947", boxForm: "corners", boxUnit: "pixels", classes: 80, classChannel: 0 },
  });
  expect(recogniseModel(split("output", "947", 8400, 4), {}).plan).toMatchObject({ output: "output", boxes: "947" });
  expect(() => recogniseModel(split("output", "947"), { labels: Array(76).fill("a") })).toThrow(
    "it has 80 classes, got 76 class names",
  );
  for (const options of [{}, { head: "yolo" }, { head: "yolo-transposed" }]) {
    expect(() => recogniseModel(split("913", "904"), options)).toThrow(
      /its boxes "904" .* and the scores of its classes "913" \(f32 \[1, 8400, 80\]\) come apart, before NMS\nHint: .* `head: "damo-yolo"`/,
    );
  }
  expect(damo.assumptions).toEqual([]);
  expect(recogniseModel(split("913", "904"), { head: "damo-yolo" })).toMatchObject({
    plan: { output: "913", boxes: "904" },
    assumptions: [
      expect.stringContaining(
        'YOLO-NAS\'s two outputs look alike: for it give `preprocessing: { fit: "letterbox", scale: 1 / 255 }`',
      ),
    ],
  });
  const ofBytes = {
    ...split("913", "904"),
    inputs: [{ name: "input", dtype: "u8", shape: [1, 3, 640, 640] }],
  } as const;
  expect(() => recogniseModel(ofBytes, {})).toThrow(
    'for YOLO-NAS give `preprocessing: { fit: "letterbox" }` (`--fit letterbox`)',
  );
  expect(() => recogniseModel(split("output", "947", 8401), {})).toThrow(ModelError);
});

test("an error of a model whose head is open has the heads that may be named for it", () => {
  const readingsOf = (described: ReturnType<typeof model>): readonly string[] => {
    try {
      recogniseModel(described, {});
    } catch (error) {
      return (error as ModelError).readings;
    }
    return ["none was thrown"];
  };
  const rows = (channels: number, count: number): ReturnType<typeof model> =>
    model([["output0", [1, channels, count]]]);
  expect(readingsOf(rows(84, 25200))).toEqual(["yolo"]);
  expect(readingsOf(rows(116, 8400))).toEqual(["yolo"]);
  expect(
    readingsOf(
      model([
        ["a", [1, 8400, 80]],
        ["b", [1, 8400, 4]],
      ]),
    ),
  ).toEqual(["damo-yolo"]);
  expect(
    readingsOf(
      model([
        ["a", [1, 3]],
        ["b", [2, 5]],
      ]),
    ),
  ).toEqual([]);
});

test("where the head that is named does not fit, the one that does is named", () => {
  const plain = model([["output0", [1, 84, 8400]]], { metadata: ultralytics(80) });
  expect(() => recogniseModel(plain, { head: "yolo-objectness" })).toThrow(
    '\nHint: they fit `head: "yolo"` (`--head yolo`)',
  );
});

/** The message of a refusal. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ModelError) return error.message;
    throw error;
  }
  throw new Error("it was not refused");
}

/** Every way of naming the head that a hint gives: `head: "yolo"` first, then `or "libreyolo"`. */
function headsNamedBy(message: string): string[] {
  const hint = message.slice(message.indexOf("\nHint: "));
  const [, first, others = ""] = /`head: "([^"]+)"` \(`--head \1`\)((?:,? or "[^"]+")*)/.exec(hint) ?? [];
  return first === undefined ? [] : [first, ...[...others.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name)];
}

test("of several outputs that may each be the head none is taken: the refusal names them, and how to choose", () => {
  const kinds: [number[], Readonly<Record<string, string>>, string][] = [
    // Three rows a cell and rows that are final have no author who calls their main one so.
    [[1, 25_200, 85], {}, "yolo-objectness"],
    [[1, 300, 6], {}, "yolo-end-to-end"],
    [[1, 8400, 85], {}, "yolox"],
    [[1, 8400, 84], ultralytics(80), "yolo-transposed"],
    // Ultralytics exports no auxiliary heads.
    [[1, 84, 8400], ultralytics(80), "yolo"],
  ];
  for (const [shape, metadata, head] of kinds) {
    const names = ["output0", "1523", "2731"];
    const several = model(
      names.map((name): Declared => [name, shape]),
      { metadata },
    );
    const said = names.map((name) => `${head}:${name}`);
    for (const options of [{}, { head }]) {
      const message = refusal(() => recogniseModel(several, options));
      expect(message).toContain(
        'each of its outputs "output0", "1523", "2731" may be its head, and nothing tells which\nHint: ',
      );
      expect(headsNamedBy(message)).toEqual(said);
    }
    for (const [at, name] of names.entries()) {
      const chosen = logged(() => recogniseModel(several, { head: said[at] }));
      expect(chosen.result).toMatchObject({ head, unexplained: [], plan: { output: name } });
    }
  }
  // Of other shapes, or of names that are not YOLOv9's.
  for (const [a, b] of [
    [
      ["output0", [1, 84, 8400]],
      ["2731", [1, 86, 8400]],
    ],
    [
      ["person", [1, 84, 8400]],
      ["face", [1, 84, 8400]],
    ],
  ] as const) {
    const message = refusal(() => recognised([a, b]));
    expect(headsNamedBy(message)).toEqual([`yolo:${a[0]}`, `yolo:${b[0]}`]);
  }
  const two = model([
    ["person", [1, 84, 8400]],
    ["face", [1, 84, 8400]],
  ]);
  expect(() => recogniseModel(two, { head: "yolo:fase" })).toThrow(/^Unknown output "fase"\. Did you mean "face"\?$/);
  // Masks stay with the head that is chosen.
  const masked = model([
    ["person", [1, 116, 8400]],
    ["face", [1, 116, 8400]],
    ["masks", [1, 32, 160, 160]],
  ]);
  expect(recogniseModel(masked, { head: "yolo:face" })).toMatchObject({ unexplained: [], plan: { classes: 80 } });
});

test("YOLO-NAS in SuperGradients' batch format is EfficientNMS by other names, with a line of what is assumed", () => {
  const outputs = (prefix: string): Declared[] => [
    [`${prefix}num_predictions`, [1, 1], "i64"],
    [`${prefix}pred_boxes`, [1, 1000, 4]],
    [`${prefix}pred_scores`, [1, 1000]],
    [`${prefix}pred_classes`, [1, 1000], "i64"],
  ];
  for (const prefix of ["", "graph2_"]) {
    const inputs: Declared[] = [["input", [1, 3, 640, 640], "u8"]];
    const { result, lines } = logged(() => recognised(outputs(prefix), { inputs }));
    expect(result).toMatchObject({
      head: "efficient-nms",
      needsNms: false,
      preprocessing: { fit: "letterbox", colour: "RGB", dtype: "u8", scale: 1, pad: [114, 114, 114] },
      plan: { kind: "columns", counts: `${prefix}num_predictions`, classes: `${prefix}pred_classes` },
    });
    expect(lines.join()).toContain(
      "Assuming for the model YOLO-NAS's pre-processing; SuperGradients' exports of PP-YOLOE look alike",
    );
  }
  // Its pose models have joints in place of classes, and are another head.
  const pose = outputs("").toSpliced(3, 1, ["pred_joints", [1, 1000, 17, 3]]);
  expect(recognised(pose).head).toBe("yolo-nas-pose");
  // By any other names it can be named.
  const renamed: Declared[] = [
    ["n", [1], "i32"],
    ["b", [1, 100, 4]],
    ["conf", [1, 100]],
    ["cls", [1, 100]],
  ];
  const message = refusal(() => recognised(renamed));
  expect(headsNamedBy(message)).toEqual(["efficient-nms"]);
  expect(recogniseModel(model(renamed), { head: "efficient-nms" }).plan).toMatchObject({
    scores: "conf",
    classes: "cls",
  });
});

test("what a refusal says works when it is done: every head that a hint names can read the model", () => {
  const inputs = [DYNAMIC_IMAGES];
  const pose: Declared[] = [["output0", [1, 56, 8400]]];
  const refused: [ReturnType<typeof model>, head?: string][] = [
    [model([["o", [1, 8400, 8]]])],
    [model([["o", [-1, -1, 6]]], { inputs })],
    [model([["o", [-1, -1, 85]]], { inputs })],
    [model([["output0", [1, 1500, 6]]])],
    [model([["output", [1, 3549, 84]]], { inputs })],
    [model(pose)],
    [model([["output0", [1, 300, 57]]])],
    [model([["rows", [-1, 7]]])],
    [model([["758", [1, 21, 22, 22]]], { inputs: [["input.1", [1, 3, 352, 352]]] })],
    [model([["output0", [1, 84, 8400]]], { metadata: ultralytics(80, { task: "classify" }) })],
    [model([["output0", [1, 84, 8400]]]), "yolo-objectness"],
    [model([["o", [1, 8400, 8]]]), "nanodet"],
    [
      model([
        ["output0", [1, 84, 8400], "f32"],
        ["depth", [1, 1, 640, 640]],
      ]),
    ],
    [
      model([
        ["output0", [1, 300, 6]],
        ["embeddings", [1, 300, 512]],
      ]),
    ],
    [
      model([
        ["913", [1, 8400, 80]],
        ["904", [1, 8400, 4]],
      ]),
    ],
    [
      model([
        ["913", [1, 8400, 80]],
        ["904", [1, 8400, 4]],
      ]),
      "yolo",
    ],
    [
      model([
        ["logits", [-1, 100, 3]],
        ["pred_boxes", [-1, 100, 4]],
      ]),
    ],
    [model([["output", [1, 84, 8400]]], { metadata: { libreyolo_version: "1.1", model_family: "yolo9" } })],
    [model([["output", [1, 8400, 84]]], { metadata: { libreyolo_version: "1.6", model_family: "fcos" } })],
    [model(SIZED_OUTPUTS.concat([["angles", [-1, 300]]]), { inputs: SIZED_INPUTS })],
  ];
  for (const [described, head] of refused) {
    const message = refusal(() => recogniseModel(described, { head }));
    const names = headsNamedBy(message);
    expect(names.length > 0 ? "" : message).toBe("");
    for (const name of names) {
      const { result } = logged(() => recogniseModel(described, { head: name }));
      expect(result.head).toBe(name.split(":")[0]!);
    }
  }
});

test("a refusal names no head where none can read the model, or would read it wrong", () => {
  const obb = model([["output0", [1, 20, 21504]]], { metadata: ultralytics(15, { task: "obb" }) });
  const tensorflow = model(
    [
      ["num_detections", [1], "i32"],
      ["detection_boxes", [1, 100, 4]],
      ["detection_scores", [1, 100]],
      ["detection_classes", [1, 100]],
    ],
    { inputs: [["input_tensor", [1, 640, 640, 3], "u8"]] },
  );
  const unlike = model([
    ["a", [1, 8400, 80], "f16"],
    ["b", [1, 8400, 4]],
  ]);
  // Whole numbers are EfficientNMS's, whose boxes are x before y; over images with the channels last nothing tells.
  expect(headsNamedBy(refusal(() => recogniseModel(tensorflow, {})))).toEqual(["tf-detection"]);
  for (const [described, head] of [[obb], [unlike], [unlike, "damo-yolo"]] as const) {
    expect(headsNamedBy(refusal(() => recogniseModel(described, { head })))).toEqual([]);
  }
});

test("recogniseModel() lists the other heads that the tensors fit", () => {
  expect(recognised([["output0", [1, 300, 6]]]).alternatives).toContain("rtdetr-ultralytics-rows");
  expect(recognised([["output", [1, 8400, 85]]]).alternatives).toContain("yolox-decoded");
  for (const name of recognised([["output0", [1, 84, 8400]]]).alternatives) {
    expect(recogniseModel(model([["output0", [1, 84, 8400]]]), { head: name }).head).toBe(name);
  }
});

test("channels-first rows that may be more than a box and classes are refused with what tells, and naming it makes it run", () => {
  // YOLOv5 turned round: three rows a cell have objectness.
  for (const [channels, rows, size] of [
    [85, 25_200, 640],
    [84, 6_300, 320],
    [117, 25_200, 640],
  ] as const) {
    const turned = model([["output0", [1, channels, rows]]], { inputs: [["images", [1, 3, size, size]]] });
    const text = refusal(() => recogniseModel(turned, {}));
    expect(text).toContain("has three rows a cell, which have objectness, and its channels come first");
    expect(text).toContain(`[N, ${rows}, ${channels}]`);
    expect(recogniseModel(turned, { head: "yolo" })).toMatchObject({ head: "yolo" });
  }
  for (const channels of [56, 85, 116, 117]) {
    const open = model([["output0", [1, channels, 8400]]]);
    expect(refusal(() => recogniseModel(open, {}))).toContain(
      `may be a box and ${channels - 4} classes, or fewer of them`,
    );
    expect(recogniseModel(open, { head: "yolo" }).labels).toHaveLength(channels - 4);
    expect(
      recogniseModel(open, { labels: COCO_80.concat(Array(channels).fill("x")).slice(0, channels - 4) }).head,
    ).toBe("yolo");
  }
  // Of a segmentation model without its prototypes the names tell what is no class.
  const cut = recogniseModel(model([["output0", [1, 116, 8400]]]), { labels: COCO_80 });
  expect(cut).toMatchObject({ head: "yolo", plan: { channels: 116, classes: 80 } });
  const obb = recogniseObjects(model([["output0", [1, 85, 8400]]]), "obb", {});
  expect(obb).toMatchObject({ task: "obb", plan: { classes: 80 } });
});

test("LibreYOLO's YOLOv9 without its padding names `libreyolo` alone, and what is open", () => {
  const metadata = { libreyolo_version: "1.1.0", model_family: "yolo9", task: "detect" };
  const described = model([["output", [1, 84, 8400]]], { metadata });
  expect(() => recogniseModel(described, {})).toThrow(
    /no "letterbox_pad": how an image is padded is open\nHint: name the head by `head: "libreyolo"` \(`--head libreyolo`\), which/,
  );
  expect(recogniseModel(described, { head: "libreyolo" }).preprocessing.fit).toBe("letterbox-top-left");
});

test("an RT-DETR whose outputs have other names is read by dtype and shape where its head is named", () => {
  const inputs: Declared[] = [
    ["images", [1, 3, 640, 640]],
    ["orig_target_sizes", [1, 2], "i64"],
  ];
  const outputs: Declared[] = [
    ["a", [1, 300], "i64"],
    ["b", [1, 300, 4]],
    ["c", [1, 300]],
  ];
  const described = model(outputs, { inputs });
  expect(() => recogniseModel(described, {})).toThrow(/name it by `head: "rtdetr"`/);
  expect(recogniseModel(described, { head: "rtdetr" }).plan).toMatchObject({ boxes: "b", scores: "c", classes: "a" });
  const two: Declared[] = [...outputs, ["d", [1, 300]]];
  expect(() => recogniseModel(model(two, { inputs }), { head: "rtdetr" })).toThrow();
});

test("maps of 64 classes are as many as the numbers of a box: a named head takes the first of a stride for the boxes", () => {
  const outputs = [80, 40, 20].flatMap((side): Declared[] => [
    [`reg${side}`, [1, 64, side, side]],
    [`cls${side}`, [1, 64, side, side]],
  ]);
  expect(() => recogniseModel(model(outputs), {})).toThrow(/name it by `head: "dfl-maps"`.*"dfl-maps-logits"/);
  const levels = [80, 40, 20].map((side) => ({
    stride: 640 / side,
    classMap: `cls${side}`,
    distanceMap: `reg${side}`,
  }));
  for (const head of ["dfl-maps", "dfl-maps-logits"])
    expect(recogniseModel(model(outputs), { head })).toMatchObject({ plan: { levels, classes: 64, bins: 16 } });
});
