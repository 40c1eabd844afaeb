import { expect, test } from "bun:test";
import { OptionError } from "../../src/core/errors.ts";
import { ANCHORS, anchorsIn } from "../../src/heads/anchors.ts";
import type { RecogniseOptions } from "../../src/heads/head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { headNamed } from "../../src/heads/registry.ts";
import { IMAGENET_MEAN, IMAGENET_STD, paddingValues } from "../../src/image/preprocessing.ts";
import { COCO_80 } from "../../src/model/model-info.ts";
import { Candidates } from "../../src/model/rows.ts";
import { noDevicePart } from "../../src/runtime/task.ts";
import { decodeLaunches } from "../../src/tasks/detect/decode-launches.ts";
import { type Declared, model, ultralytics } from "./model-infos.ts";

const SIDES = [80, 40, 20];

/** YOLOv7 without --grid, YOLOv5 with --train: one f32 [1, 3, h, w, 85] a stride. */
const SPLIT: readonly Declared[] = SIDES.map((side, at) => [`output${at}`, [1, 3, side, side, 85]]);
const JOINED: readonly Declared[] = SIDES.map((side, at) => [`output${at}`, [1, 255, side, side]]);

function head(outputs: readonly Declared[], options: RecogniseOptions = {}, metadata = {}): string {
  return recogniseModel(model(outputs, { metadata }), { isSilent: true, ...options }).head;
}

test("raw maps of YOLOv5 and v7 want their anchors, of a family, numbers, metadata, or a file beside the model", () => {
  expect(() => head(SPLIT)).toThrow(
    /its outputs are raw maps of anchors .* and nothing tells the anchors\nHint: give its anchors, by `anchors` \(`--anchors`\).*YOLOv7: --grid/,
  );
  const plan = (options: RecogniseOptions, metadata = {}): unknown =>
    recogniseModel(model(SPLIT, { metadata }), { isSilent: true, ...options }).plan;
  const ofYolov7 = plan({ anchors: "yolov7" });
  expect(ofYolov7).toMatchObject({
    kind: "anchor-maps",
    form: "yolov5",
    order: "anchors",
    activated: "nothing",
    classes: 80,
    levels: [
      {
        stride: 8,
        output: "output0",
        anchors: [
          [12, 16],
          [19, 36],
          [40, 28],
        ],
      },
      { stride: 16, output: "output1" },
      {
        stride: 32,
        output: "output2",
        anchors: [
          [142, 110],
          [192, 243],
          [459, 401],
        ],
      },
    ],
  });
  const numbers = ANCHORS.yolov7!;
  expect(plan({ anchors: numbers })).toEqual(ofYolov7);
  const beside = (values: readonly number[]) => ({ values, from: "file", name: "model.yaml" }) as const;
  expect(plan({ anchorsBeside: beside(numbers) })).toEqual(ofYolov7);
  expect(
    plan({}, { anchors: `[[${numbers.slice(0, 6)}], [${numbers.slice(6, 12)}], [${numbers.slice(12)}]]` }),
  ).toEqual(ofYolov7);
  // The caller's word counts before the file's.
  expect(plan({ anchors: "yolov7", anchorsBeside: beside(ANCHORS.yolov5!) })).toEqual(ofYolov7);
  expect(() => plan({ anchors: "yolo7" })).toThrow(OptionError);
  expect(() => plan({ anchors: "yolo7" })).toThrow(/yolov7/);
});

test("joined channels may be YOLOv5's logits, RKNN's probabilities or Darknet's: naming one makes it run", () => {
  expect(() => head(JOINED, { anchors: "yolov5" })).toThrow(
    /fit 3 heads, and nothing tells which[\s\S]*`head: "yolov5-maps"` .* or "yolov5-maps-sigmoid" or "darknet-maps"/,
  );
  expect(() => head(JOINED)).toThrow(
    /raw maps of anchors .* name the head by .*"yolov5-maps-sigmoid".* and give its anchors/s,
  );
  for (const name of ["yolov5-maps", "yolov5-maps-sigmoid", "darknet-maps"]) {
    expect(head(JOINED, { head: name, anchors: "yolov3" })).toBe(name);
    expect(() => head(JOINED, { head: name })).toThrow(/nothing tells the anchors\nHint: give its anchors/);
  }
  // Anchors of another number of levels do not fit.
  expect(() => head(JOINED, { head: "yolov5-maps", anchors: "yolov5-p6" })).toThrow(
    /do not fit the head "yolov5-maps"/,
  );
});

test("the ONNX zoo's YOLOv4, Tiny YOLOv2 and YOLOv3", () => {
  const ofKeras = model(
    [
      ["Identity:0", [1, 52, 52, 3, 85]],
      ["Identity_1:0", [1, 26, 26, 3, 85]],
      ["Identity_2:0", [1, 13, 13, 3, 85]],
    ],
    { inputs: [["input_1:0", [1, 416, 416, 3]]] },
  );
  // YOLOv3 of the same exporter has the same tensors: its name, or its anchors, tell.
  expect(() => recogniseModel(ofKeras, {})).toThrow(/fit 2 heads[\s\S]*"yolov3-maps"/);
  expect(recogniseModel(ofKeras, { anchors: "yolov3", isSilent: true })).toMatchObject({
    head: "yolov3-maps",
    assumptions: [],
  });
  expect(recogniseModel(ofKeras, { anchors: ANCHORS.yolov4!, isSilent: true }).head).toBe("yolov4-maps");
  expect(recogniseModel(ofKeras, { head: "yolov3-maps", isSilent: true }).anchors?.values).toEqual(ANCHORS.yolov3!);
  const yolov4 = recogniseModel(ofKeras, { head: "yolov4-maps", isSilent: true });
  expect(yolov4).toMatchObject({
    head: "yolov4-maps",
    preprocessing: { layout: "NHWC", fit: "letterbox", pad: [128, 128, 128], colour: "RGB", scale: 1 / 255 },
    plan: {
      order: "cells",
      activated: "scores",
      levels: [{ centreScale: 1.2 }, { centreScale: 1.1 }, { centreScale: 1.05 }],
    },
  });
  expect(yolov4.labels).toEqual(COCO_80);
  expect(yolov4.assumptions).toEqual([]);

  const yolov2 = recogniseModel(model([["grid", [-1, 125, 13, 13]]], { inputs: [["image", [-1, 3, 416, 416]]] }), {});
  expect(yolov2).toMatchObject({
    head: "yolov2-maps",
    preprocessing: { fit: "stretch", scale: 1 },
    plan: { classes: 20 },
  });
  expect(yolov2.labels.slice(0, 3)).toEqual(["aeroplane", "bicycle", "bird"]);
  // YOLOv2 of the zoo has COCO's classes and no name that tells.
  const coco = model([["218", [1, 425, 13, 13]]], { inputs: [["input.1", [1, 3, 416, 416]]] });
  expect(() => recogniseModel(coco, {})).toThrow(/name it by `head: "yolov2-maps"`/);
  expect(recogniseModel(coco, { head: "yolov2-maps" }).preprocessing.scale).toBe(1 / 255);

  const outputs: Declared[] = [
    ["yolonms_layer_1/concat_2:0", [-1, 3], "i32"],
    ["yolonms_layer_1/ExpandDims_3:0", [1, 80, -1]],
    ["yolonms_layer_1/ExpandDims_1:0", [1, -1, 4]],
  ];
  const yolov3 = recogniseModel(
    model(outputs, {
      inputs: [
        ["input_1", [-1, 3, -1, -1]],
        ["image_shape", [-1, 2]],
      ],
    }),
    {},
  );
  expect(yolov3).toMatchObject({
    head: "yolov3-onnx",
    needsNms: false,
    preferredSize: [416, 416],
    sizeInputs: [{ name: "image_shape", dtype: "f32", content: "height-width" }],
    preprocessing: { fit: "letterbox", resize: "bicubic", pad: [128, 128, 128] },
    plan: { kind: "chosen", boxes: "yolonms_layer_1/ExpandDims_1:0", scores: "yolonms_layer_1/ExpandDims_3:0" },
  });
});

/** Maps of YOLOv8 as they are before the distances are decoded. */
function maps(channels: readonly number[], name: (channels: number) => string): Declared[] {
  return SIDES.flatMap((side, at) =>
    channels.map((count): Declared => [`${name(count)}${at}`, [1, count, side, side]]),
  );
}

test("maps of distances: nine are RKNN's, of six the names tell, or the caller", () => {
  expect(head(maps([64, 80, 1], (count) => `map${count}_`))).toBe("dfl-maps");
  expect(head(maps([64, 80], (count) => `/model.22/cv${count}/Conv_output_`))).toBe("dfl-maps-logits");
  expect(head(maps([64, 80], (count) => `${count === 80 ? "Sigmoid" : "Conv"}_`))).toBe("dfl-maps");
  expect(() => head(maps([64, 80], (count) => `${count}_`))).toThrow(
    /fit 2 heads[\s\S]*"dfl-maps"` .* or "dfl-maps-logits"/,
  );
  expect(
    head(
      maps([64, 80], (count) => `${count}_`),
      { head: "dfl-maps-logits" },
    ),
  ).toBe("dfl-maps-logits");
  // As many classes as distances: nothing tells which is which.
  expect(() =>
    head(maps([64, 64, 1], () => "m").map(([name, shape], at): Declared => [`${name}${at}`, shape])),
  ).toThrow(/fit no known head/);
  // Names of another number are what is wrong.
  expect(() =>
    head(
      maps([64, 5, 1], (count) => `${count}_`),
      { labels: ["a", "b"] },
    ),
  ).toThrow("it has 5 classes, got 2 class names");
  expect(
    recogniseModel(
      model(
        maps([64, 5, 1], (count) => `${count}_`),
        { metadata: ultralytics(5) },
      ),
      {},
    ).labels[4],
  ).toBe("thing 4");
});

/** Decode a model whose outputs are all of one value. */
function decodeFlat(name: string, outputs: readonly Declared[], value: number, anchors?: string): Candidates {
  const spec = recogniseModel(model(outputs), { head: name, isSilent: true, anchors });
  const tensors = new Map(
    outputs.map(([output, shape]) => {
      const data = new Float32Array(shape.reduce((a, b) => a * b)).fill(value);
      return [output, { dtype: "f32" as const, shape, data }];
    }),
  );
  const candidates = new Candidates(1);
  const input = { outputs: tensors, index: 0, inputWidth: 640, inputHeight: 640, threshold: 0.99 };
  headNamed(name).decode(spec.plan, input, candidates);
  return candidates;
}

test("numbers that show the other activation are an error that names the head", () => {
  const six = maps([64, 80], (count) => `${count}_`);
  expect(() => decodeFlat("dfl-maps", six, -4)).toThrow(
    /scores are no probabilities, got -4\nHint: .*"dfl-maps-logits"/,
  );
  expect(() => decodeFlat("dfl-maps-logits", six, 0.01)).toThrow(/no score lies below 0.*\nHint: .*"dfl-maps"/);
  expect(() => decodeFlat("yolov5-maps-sigmoid", JOINED, -4, "yolov5")).toThrow(/got -4\nHint: .*"yolov5-maps"/);
  expect(() => decodeFlat("yolov5-maps", JOINED, 0.01, "yolov5")).toThrow(/Hint: .*"yolov5-maps-sigmoid"/);
  const cells = SIDES.map((side, at): Declared => [`Identity_${at}`, [1, side, side, 3, 85]]);
  for (const name of ["yolov3-maps", "yolov4-maps"]) {
    expect(() => decodeFlat(name, cells, -4)).toThrow(
      new RegExp(`as head "${name}": its scores are no probabilities, got -4\\nHint: .*"darknet-maps"`),
    );
  }
  const ofRknn = SIDES.map((side, at): Declared => [`output${at}`, [1, 85, side, side]]);
  expect(() => decodeFlat("yolox-maps", ofRknn, -4)).toThrow(
    /as head "yolox-maps": .*\nHint: export it with the sigmoid/,
  );
  expect(decodeFlat("dfl-maps", six, 0.5).count).toBe(0);
  expect(decodeFlat("yolov5-maps", JOINED, -4, "yolov5").count).toBe(0);
});

/** NVIDIA's RetinaNet at 640x640. */
function retinanet(names: (kind: "score" | "box", level: number) => string, classes = 80): Declared[] {
  const of = (kind: "score" | "box", channels: number): Declared[] =>
    [80, 40, 20, 10, 5].map((side, at) => [names(kind, at), [1, channels, side, side]]);
  return [...of("score", 9 * classes), ...of("box", 36)];
}

const ODTK = retinanet((kind, level) => `${kind}_${level + 1}`);

test("RetinaNet of NVIDIA's odtk and of the ONNX zoo are told by their names, and want the mean as padding", () => {
  const spec = recogniseModel(model(ODTK), { isSilent: true });
  expect(spec).toMatchObject({
    head: "retinanet",
    labels: COCO_80,
    stride: 128,
    needsNms: true,
    preprocessing: {
      fit: "letterbox-top-left",
      resize: "antialias",
      scale: 1 / 255,
      mean: IMAGENET_MEAN,
      std: IMAGENET_STD,
    },
    plan: { kind: "offset-maps", classes: 80, centre: 0.5, levels: { length: 5 } },
  });
  expect(paddingValues(spec.preprocessing).every((value) => Math.abs(value) < 1e-6)).toBe(true);
  // As many classes' maps as boxes': the order tells.
  expect(head(retinanet((kind, level) => `${kind}_${level + 1}`, 4))).toBe("retinanet");

  const zoo = retinanet((kind, level) => `output${level + (kind === "score" ? 1 : 6)}`);
  const inputs: Declared[] = [["input", [1, 3, 640, 640]]];
  expect(recogniseModel(model(zoo, { inputs }), { isSilent: true }).head).toBe("retinanet-rounded");
  // Anchors of 32 pixels, ratio 0.5: 45.25 and 22.5, rounded to even as PyTorch does.
  const { plan } = recogniseModel(model(zoo, { inputs }), { isSilent: true });
  expect(plan).toMatchObject({ centre: 0, levels: { 2: { stride: 32, anchors: { 2: [180, 88] } } } });

  // Names that tell nothing: MMDetection's maps look alike, and are logits.
  const other = retinanet((kind, level) => `${kind === "score" ? "a" : "b"}${level}`);
  expect(() => head(other)).toThrow(/retinanet/);
  expect(head(other, { head: "retinanet" })).toBe("retinanet");
  expect(() => decodeFlat("retinanet", ODTK, -4)).toThrow(
    /its scores are no probabilities, got -4\nHint: NVIDIA's RetinaNet takes the sigmoid itself; if it is EfficientDet.*"efficientdet-maps"/,
  );
  expect(decodeFlat("retinanet", ODTK, 0.5).count).toBe(0);
});

const ANCHORS_OF_NINE = [1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((side) => [side * 8, (side + 1) * 8]);

/** What effdet's network has, by numbers, and the pair of Yet-Another-EfficientDet-PyTorch, of 640x640. */
const offsetMaps = (classes: number): Declared[] =>
  retinanet((kind, at) => `${(kind === "box" ? 900 : 800) + at}`, classes);
const pair = (classes: number, [boxes, scores] = ["900", "901"]): Declared[] => [
  [boxes!, [1, 76725, 4]],
  [scores!, [1, 76725, classes]],
];

test("EfficientDet is told by COCO's 90 classes, or its names; else several heads have such maps, and are named", () => {
  const preprocessing = { fit: "letterbox-top-left", mean: IMAGENET_MEAN, std: IMAGENET_STD, colour: "RGB" };
  for (const [outputs, wanted] of [
    [offsetMaps(90), { head: "efficientdet-maps", plan: { kind: "anchor-offsets", order: "maps", classes: 90 } }],
    [pair(90), { head: "efficientdet", plan: { order: "rows", levels: { length: 5 }, anchors: { 1: [5.6, 2.8] } } }],
    [pair(3, ["regression", "classification"]), { head: "efficientdet", plan: { classes: 3 } }],
  ] as const) {
    const spec = recogniseModel(model(outputs), { isSilent: true });
    expect(spec).toMatchObject({ ...wanted, preprocessing, stride: 128, needsNms: true });
    expect(paddingValues(spec.preprocessing).every((value) => Math.abs(value) < 1e-6)).toBe(true);
    expect(spec.assumptions[0]).toMatch(/EfficientDet's usual anchors.*`anchors` \(`--anchors`\)/);
  }
  // COCO's ids from 1 on, with gaps.
  const { labels } = recogniseModel(model(offsetMaps(90)), { isSilent: true });
  expect([labels[0], labels[10], labels[11], labels[12], labels[89]]).toEqual([
    ...["person", "fire hydrant", "", "stop sign", "toothbrush"],
  ]);
  expect(() => head(offsetMaps(3))).toThrow(/Hint: .*"retinanet-rounded" or "efficientdet-maps"/);
  expect(head(offsetMaps(3), { head: "efficientdet-maps" })).toBe("efficientdet-maps");
  expect(() => head(pair(3))).toThrow(/come apart.*\nHint: .*if they are offsets, by `head: "efficientdet"`/s);
  expect(head(pair(3), { head: "efficientdet" })).toBe("efficientdet");
  expect(() => decodeFlat("efficientdet-maps", offsetMaps(3), 0.5)).toThrow(/no score lies below 0.*"retinanet"/s);
  expect(decodeFlat("efficientdet-maps", offsetMaps(3), -4).count).toBe(0);
  expect(() => decodeFlat("efficientdet", pair(3), 2)).toThrow(/its scores are no probabilities, got 2\n/);
});

test("EfficientDet takes the anchors of its training, in pixels at stride 8", () => {
  const { plan, anchors } = recogniseModel(model(offsetMaps(90)), { isSilent: true, anchors: ANCHORS_OF_NINE });
  expect(plan).toMatchObject({ kind: "anchor-offsets", anchors: { 0: [1, 2], 8: [9, 10] } });
  expect(anchors).toMatchObject({ from: "option" });
  expect(() => recogniseModel(model(offsetMaps(90)), { isSilent: true, anchors: [8, 16] })).toThrow();
});

test("rows of 100 without metadata may be those of effdet's bench", () => {
  const rows: Declared[] = [["output", [1, 100, 6]]];
  const spec = recogniseModel(model(rows), { isSilent: true });
  expect(spec).toMatchObject({
    head: "yolo-end-to-end",
    assumptions: [expect.stringContaining("efficientdet-rows"), expect.stringContaining("COCO")],
  });
  const named = recogniseModel(model(rows), { isSilent: true, head: "efficientdet-rows" });
  expect(named).toMatchObject({ needsNms: false, preprocessing: { fit: "letterbox-top-left" } });
  expect([named.labels[1], named.labels[90]]).toEqual(["person", "toothbrush"]);
  expect(recogniseModel(model([["output", [1, 300, 6]]]), { isSilent: true }).assumptions).toEqual([
    expect.stringContaining("COCO"),
  ]);
});

test("a GPU refuses the plans that it has no kernels for by name", () => {
  const plan = { kind: "planes", boxes: "boxes", scores: "scores", classes: 80 } as const;
  const size = { batch: 1, inputWidth: 640, inputHeight: 640 };
  const wanted = noDevicePart('a plan of the kind "planes"', "decode the outputs of a model").message;
  expect(() => decodeLaunches(plan, new Map(), size)).toThrow(wanted);
});

test("anchors of a file beside a model: Darknet's .cfg, YOLOv5's .yaml, numbers alone", () => {
  const yaml =
    "nc: 80 # classes\nanchors:\n  - [10,13, 16,30, 33,23] # P3/8\n  - [30,61, 62,45, 59,119]\n  - [116,90, 156,198, 373,326]\n\nbackbone:\n  [[-1, 1, Conv, [64, 6, 2, 2]]]\n";
  expect(anchorsIn(yaml)).toEqual({ values: ANCHORS.yolov5! });
  const cfg =
    "[yolo]\nmask = 0,1,2\nanchors = 12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401\nclasses=80\n";
  // One section has but one level's: without the others its mask tells nothing of them.
  expect(anchorsIn(cfg)).toEqual({ values: ANCHORS.yolov4!.slice(0, 6), centreScales: [1] });
  expect(anchorsIn("10.0\n13.0\n16.0\n30.0\n")).toEqual({ values: [10, 13, 16, 30] });
  for (const other of ["names: [a, b]\n", "1,2,3", "", "path: data\nnc: 2\n"]) expect(anchorsIn(other)).toBeUndefined();
  // A number of anchors a level, to be worked out in training.
  expect(anchorsIn("anchors: 3\n")).toBeUndefined();
});

test("Qualcomm's three outputs: before NMS, black padding; classes may be bytes", () => {
  const outputs = (classes: Declared): Declared[] => [classes, ["scores", [1, 8400]], ["boxes", [1, 8400, 4]]];
  const inputs: readonly Declared[] = [["image", [1, 3, 640, 640]]];
  const bytes = recogniseModel(model(outputs(["class_idx", [1, 8400], "u8"]), { inputs }), { isSilent: true });
  expect(bytes).toMatchObject({
    head: "qualcomm",
    needsNms: true,
    preprocessing: { fit: "letterbox", pad: [0, 0, 0], scale: 1 / 255, colour: "RGB" },
    plan: { kind: "parts" },
  });
  const whole = recogniseModel(model(outputs(["classes", [1, 8400], "i64"]), { inputs }), { isSilent: true });
  expect(whole).toMatchObject({ head: "qualcomm", plan: { kind: "columns", classes: "classes" } });
  // So few rows may be what an NMS left.
  const few: Declared[] = [
    ["boxes", [1, 100, 4]],
    ["scores", [1, 100]],
    ["classes", [1, 100], "i64"],
  ];
  expect(() => recogniseModel(model(few), {})).toThrow(/name it by `head: "qualcomm"`/);
});

test("NanoDet-Plus is not YOLOX with other strides; Gold-YOLO reads as YOLOv6, whose exporter it has", () => {
  const plus = recogniseModel(model([["output", [1, 2125, 112]]], { inputs: [["data", [1, 3, 320, 320]]] }), {});
  expect(plus).toMatchObject({
    head: "nanodet-plus",
    preprocessing: { fit: "stretch", colour: "BGR", scale: 1, mean: [103.53, 116.28, 123.675] },
    plan: { kind: "distance-maps", order: "rows", classes: 80, bins: 8, centre: 0, areLogits: false },
  });
  expect(plus.labels).toEqual(COCO_80);
  // 52, 26, 13 and 7 cells a side: the last one is rounded up.
  const odd = model([["output", [1, 3598, 35]]], { inputs: [["data", [1, 3, 416, 416]]] });
  expect(recogniseModel(odd, { labels: ["a", "b", "c"] }).head).toBe("nanodet-plus");
  expect(() => recogniseModel(odd, { labels: ["a"] })).toThrow("it has 3 classes, got 1 class name");
  expect(head([["outputs", [1, 8400, 85]]])).toBe("yolo-objectness");
});

test("a .cfg of Darknet has the anchors that its masks choose, finest level first, and how far centres leave their cells", () => {
  const section = (mask: string, more = ""): string =>
    `[convolutional]\nfilters=255\n\n[yolo]\nmask = ${mask}\nanchors = 10,14,  23,27,  37,58,  81,82,  135,169,  344,319\n${more}\n`;
  const tiny = `[net]\nwidth=416\n${section("3,4,5", "scale_x_y = 1.05")}${section("1,2,3", "scale_x_y = 1.05")}`;
  expect(anchorsIn(tiny)).toEqual({ values: ANCHORS["yolov4-tiny"]!, centreScales: [1.05, 1.05] });
  expect(anchorsIn(section("3,4,5") + section("0,1,2"))).toEqual({
    values: ANCHORS["yolov3-tiny"]!,
    centreScales: [1, 1],
  });
  expect(anchorsIn(section("3,4,5") + section("1,2,3"))?.values).toEqual(ANCHORS["yolov3-tiny-darknet"]!);
  // A mask beyond the list is no mask.
  expect(anchorsIn(section("3,4,6"))).toBeUndefined();
  const named = { head: "darknet-maps", isSilent: true } as const;
  const two: readonly Declared[] = [
    ["a", [1, 255, 40, 40]],
    ["b", [1, 255, 20, 20]],
  ];
  const read = (options: RecogniseOptions) => recogniseModel(model(two), { ...named, ...options });
  const file = read({ anchorsBeside: { ...anchorsIn(tiny)!, from: "file", name: "best.cfg" } });
  expect(file.plan).toMatchObject({ levels: [{ centreScale: 1.05 }, { centreScale: 1.05 }] });
  expect(file.assumptions).toEqual([]);
  // The same numbers, of Darknet's released YOLOv3-tiny, whose centres stay.
  expect(read({ anchors: "yolov3-tiny-darknet" })).toMatchObject({ assumptions: [], anchors: { from: "option" } });
  expect(JSON.stringify(read({ anchors: "yolov3-tiny-darknet" }).plan)).not.toContain("centreScale");
  expect(JSON.stringify(read({ anchors: "yolov4-tiny" }).plan)).toContain('"centreScale":1.05');
  // Scaled-YOLOv4's boxes, in the values of a logistic convolution, are told by its .cfg: no head is to be named.
  const scaled = (scale: number): string =>
    ["3,4,5", "1,2,3"].map((mask) => section(mask, `scale_x_y = ${scale}\nnew_coords=1`)).join("");
  const readAlone = (text: string, options: RecogniseOptions = {}) =>
    recogniseModel(model(two), {
      anchorsBeside: { ...anchorsIn(text)!, from: "file", name: "csp.cfg" },
      isSilent: true,
      ...options,
    });
  expect(readAlone(scaled(2))).toMatchObject({
    head: "darknet-maps",
    preprocessing: { fit: "stretch", scale: 1 / 255 },
    plan: { form: "yolov5", activated: "all", levels: [{ stride: 16 }, { stride: 32 }] },
  });
  expect(() => readAlone(scaled(1.5))).toThrow("Cannot use the model as a detector");
  // Of anchors of one's own nothing tells it, whatever is said of the pre-processing.
  const own = read({ anchors: ANCHORS["yolov3-tiny"]!.map((side) => side + 1), preprocessing: { fit: "letterbox" } });
  expect(own.assumptions[0]).toMatch(/^that centres stay in their cells.*scale_x_y: lay its \.cfg beside it/);
});

test("anchors for a head that reads none are an error that says so, with the heads that would", () => {
  const dense = model([["output0", [1, 84, 8400]]]);
  const refusing = (given: Parameters<typeof recogniseModel>[0], options: RecogniseOptions): string => {
    try {
      recogniseModel(given, { isSilent: true, ...options });
    } catch (error) {
      expect(error).toBeInstanceOf(OptionError);
      return (error as OptionError).message;
    }
    return "nothing was refused";
  };
  expect(refusing(dense, { anchors: "yolov5", source: "best.onnx" })).toBe(
    'Cannot give anchors to best.onnx: its head "yolo" reads no anchors\nHint: leave `anchors` (`--anchors`) out',
  );
  expect(refusing(dense, { anchors: [10, 13], head: "yolo" })).toContain('its head "yolo" reads no anchors');
  const rknn = model(SIDES.map((side, at) => [`o${at}`, [1, 85, side, side]] as const));
  expect(refusing(rknn, { anchors: "yolov5" })).toContain('its head "yolox-maps" reads no anchors');
  const azureWith = (metadata: Record<string, string>): readonly string[] =>
    recogniseModel(model([["model_outputs0", [1, 425, 13, 13]]], { metadata, inputs: [["data", [1, 3, 416, 416]]] }), {
      isSilent: true,
    }).assumptions;
  expect(azureWith({})).toEqual([expect.stringContaining("no sigmoids"), expect.stringContaining("RGB in 0–1")]);
  expect(azureWith({ "Image.NominalPixelRange": "NominalRange_0_255" })).toHaveLength(1);
  const azure = model([["model_outputs0", [1, 425, 13, 13]]], { inputs: [["data", [1, 3, 416, 416]]] });
  expect(refusing(azure, { anchors: "yolov2-coco" })).toMatch(
    /its head "custom-vision-maps" has anchors of its own\nHint: leave .* out, or name a head that reads them by `head: "yolov2-maps"`/,
  );
  // Anchors of a file or of the metadata may be there for another program.
  const beside = { values: ANCHORS.yolov5!, from: "file", name: "anchors.txt" } as const;
  expect(recogniseModel(dense, { isSilent: true, anchorsBeside: beside }).anchors).toBeUndefined();
});

test("a model's anchors are told with who said them; what shares its tensors is assumed aloud", () => {
  const taken = (options: RecogniseOptions, metadata = {}): unknown =>
    recogniseModel(model(SPLIT, { metadata }), { isSilent: true, ...options }).anchors;
  const values = ANCHORS.yolov7!;
  expect(taken({ anchors: "yolov7" })).toEqual({ values, from: "option", name: "yolov7" });
  expect(taken({ anchors: values })).toEqual({ values, from: "option" });
  expect(taken({}, { anchors: `[${values}]` })).toEqual({ values, from: "metadata" });
  const grid = model([["grid", [-1, 125, 13, 13]]], { inputs: [["image", [-1, 3, 416, 416]]] });
  expect(recogniseModel(grid, {})).toMatchObject({ anchors: { from: "head", name: "yolov2-voc" }, assumptions: [] });
  const ownClasses = model([["grid", [-1, 35, 13, 13]]], { inputs: [["image", [-1, 3, 416, 416]]] });
  const read = recogniseModel(ownClasses, { isSilent: true, labels: ["a", "b"] });
  expect(read.assumptions[0]).toMatch(/^the anchors yolov2-voc; give its anchors, by `anchors`/);
  // YOLOv5 and YOLOv7 have the same tensors: without anchors neither is assumed.
  expect(() => recogniseModel(model(SPLIT), {})).toThrow("nothing tells the anchors");
  const assumed = recogniseModel(model(SPLIT), { isSilent: true, anchors: "yolov5" }).assumptions;
  expect(assumed[0]).toMatch(/^YOLOv5's boxes, .* e\^t × anchor look alike: for them give `head: "darknet-maps"`/);
  expect(recogniseModel(model(SPLIT), { head: "yolov5-maps", anchors: "yolov5" }).assumptions).toEqual([]);
});

test("RKNN's YOLOX sees what its script makes, and says that Megvii's weights saw BGR", () => {
  const spec = recogniseModel(model(SIDES.map((side, at) => [`o${at}`, [1, 85, side, side]] as const)), {
    isSilent: true,
  });
  expect(spec).toMatchObject({
    head: "yolox-maps",
    preprocessing: { fit: "letterbox", colour: "RGB", scale: 1, pad: [0, 0, 0] },
  });
  expect(spec.assumptions[0]).toContain('`preprocessing: { colour: "BGR" }` (`--colour BGR`)');
});
