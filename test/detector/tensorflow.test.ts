import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { Segmenter } from "../../src/api/object-model.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { imageOf } from "../../src/image/image.ts";
import { COCO_91 } from "../../src/model/model-info.ts";
import { type Declared, model, namesMetadata } from "../model/model-infos.ts";
import { type FixedOutput, fixedModel } from "../support/fixed-model.ts";

const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

/** Three rows of which two count: y1, x1, y2, x2 as fractions. */
const BOXES = [0.25, 0.125, 0.75, 0.5, 0, 0, 0.5, 0.25, 0.1, 0.1, 0.9, 0.9];
const DETECTIONS = [
  { name: "detection_boxes", shape: [1, 3, 4], values: BOXES },
  { name: "detection_classes", shape: [1, 3], values: [1, 18, 3] },
  { name: "detection_scores", shape: [1, 3], values: [0.9, 0.6, 0.8] },
  { name: "num_detections", shape: [1], values: [2] },
];

/** As the API's exporter declares SSD and Faster R-CNN of TensorFlow 2. */
const OF_TF2: Declared[] = [
  ["detection_anchor_indices", [1, 100]],
  ["detection_boxes", [1, 100, 4]],
  ["detection_classes", [1, 100]],
  ["detection_multiclass_scores", [1, 100, 91]],
  ["detection_scores", [1, 100]],
  ["num_detections", [1]],
  ["raw_detection_boxes", [1, 51150, 4]],
  ["raw_detection_scores", [1, 51150, 91]],
];
const OPEN: Declared[] = [["input_tensor", [1, -1, -1, 3], "u8"]];

test("the Object Detection API: an image at its own size, y before x, COCO's ids from 1 on", async () => {
  for (const side of ["side", 32]) {
    await using detector = await Detector.load(fixedModel(DETECTIONS, { isBytes: true, side }), { backend: "cpu" });
    expect(detector.recognition).toMatchObject({
      head: "tf-detection",
      needsNms: false,
      stride: 1,
      preprocessing: { fit: "stretch", colour: "RGB", layout: "NHWC", dtype: "u8", scale: 1 },
    });
    expect(detector.recognition.assumptions.join()).toContain(side === 32 ? 'fit: "letterbox-top-left"' : "COCO");
    const { detections: objects } = await detector.detect(WIDE);
    expect(objects).toMatchObject([
      { label: "person", classId: 1, score: expect.closeTo(0.9, 5), box: [8, 8, 32, 24] },
      { label: "dog", classId: 18, score: expect.closeTo(0.6, 5), box: [0, 0, 16, 16] },
    ]);
  }
});

test("scores of the API without a background have one id more than columns: names fit them, COCO's too", () => {
  const of = (columns: number) =>
    model(
      OF_TF2.map(([name, shape]) => [name, shape.map((side) => (side === 91 ? columns : side))]),
      { inputs: OPEN },
    );
  const coco = recogniseModel(of(90), { isSilent: true });
  expect(coco.labels).toEqual(COCO_91);
  expect(coco.assumptions).toEqual([expect.stringContaining("COCO's class names")]);
  for (const labels of [COCO_91, COCO_91.slice(1)]) {
    expect(recogniseModel(of(90), { labels }).labels).toEqual(COCO_91);
  }
  expect(() => recogniseModel(of(90), { labels: COCO_91.slice(2) })).toThrow("it has 91 classes, got 89 class names");
  const own = ["background", "a", "b"];
  expect(recogniseModel(of(2), { labels: own }).labels).toEqual(own);
  expect(recogniseModel(of(3), { labels: own }).labels).toEqual(own);
});

test("further outputs of the API are known; the number of classes is that of the scores with the background", () => {
  const found = recogniseModel(model(OF_TF2, { inputs: OPEN }), { isSilent: true });
  expect(found).toMatchObject({ head: "tf-detection", alternatives: [], unexplained: [], stride: 1 });
  expect(found.labels).toEqual(COCO_91);
  const own = model(
    OF_TF2.map(([name, shape]) => [name.replace(/$/, ":0"), shape.map((side) => (side === 91 ? 3 : side))]),
    { inputs: OPEN },
  );
  for (const labels of [
    ["cat", "dog"],
    ["background", "cat", "dog"],
  ]) {
    expect(recogniseModel(own, { labels, isSilent: true }).labels.slice(1)).toEqual(["cat", "dog"]);
  }
  expect(() => recogniseModel(own, { labels: ["cat"] })).toThrow("it has 3 classes, got 1 class name");
  expect(recogniseModel(own, {}).labels).toEqual(["class 0", "class 1", "class 2"]);
});

test("whole counts are those of EfficientNMS: over NHWC its boxes may be either, and a name settles it", () => {
  const whole = OF_TF2.filter(([name]) => /^(detection_(boxes|classes|scores)|num_detections)$/.test(name)).map(
    ([name, shape]): Declared => (name.startsWith("num") ? [name, shape, "i32"] : [name, shape]),
  );
  expect(() => recogniseModel(model(whole, { inputs: OPEN }), {})).toThrow(/`head: "tf-detection"`/);
  expect(recogniseModel(model(whole, { inputs: OPEN }), { head: "tf-detection" }).plan.kind).toBe("parts");
  expect(recogniseModel(model(whole), { isSilent: true }).head).toBe("efficient-nms");
});

test("masks of the API are patches under the boxes", async () => {
  const masks = { name: "detection_masks", shape: [1, 3, 4, 4], values: new Array<number>(48).fill(0) };
  // The left half of the first object.
  for (let at = 0; at < 16; at++) masks.values[at] = at % 4 < 2 ? 1 : 0;
  for (let at = 16; at < 32; at++) masks.values[at] = 1;
  const bytes = fixedModel([...DETECTIONS, masks], { isBytes: true, side: "side" });
  await using segmenter = await Segmenter.load(bytes, { backend: "cpu" });
  expect(segmenter.recognition.head).toBe("tf-detection-masks");
  const { objects } = await segmenter.detect(WIDE);
  expect(objects.map(({ label }) => label)).toEqual(["person", "dog"]);
  expect(objects[0]!.mask.area).toBeWithin(11 * 16, 13 * 16);
  expect(objects[1]!.mask.area).toBeGreaterThan(16 * 16 - 8);
  await expect(Detector.load(bytes, { backend: "cpu" })).rejects.toThrow("`Segmenter`");
});

test("TFLite's four outputs by their numbers, in either direction; classes from 0 on", async () => {
  const names = [
    ["TFLite_Detection_PostProcess", ":1", ":2", ":3"].map((end) =>
      end.startsWith(":") ? `TFLite_Detection_PostProcess${end}` : end,
    ),
    [31, 32, 33, 34].map((at) => `StatefulPartitionedCall:${at}`),
    [3, 2, 1, 0].map((at) => `StatefulPartitionedCall:${at}`),
  ];
  for (const called of names) {
    const outputs = DETECTIONS.map((output, at) => ({
      ...output,
      name: called[at]!,
      values: at === 1 ? [0, 17, 2] : output.values,
    }));
    await using detector = await Detector.load(fixedModel(outputs.toReversed(), { isBytes: true }), { backend: "cpu" });
    expect(detector.recognition).toMatchObject({ head: "tflite-detection", preprocessing: { scale: 1 } });
    const { detections: objects } = await detector.detect(WIDE);
    expect(objects.map(({ label, box }) => [label, ...box])).toEqual([
      ["person", 8, 8, 32, 24],
      ["dog", 0, 0, 16, 16],
    ]);
  }
  const declared: Declared[] = [
    ["StatefulPartitionedCall:1", [1, 10]],
    ["StatefulPartitionedCall:3", [1, 10, 4]],
    ["StatefulPartitionedCall:0", [1]],
    ["StatefulPartitionedCall:2", [1, 10]],
  ];
  const floats = model(declared, { inputs: [["serving_default_input:0", [1, 320, 320, 3]]] });
  const found = recogniseModel(floats, { labels: ["???", "bolt", "nut"], isSilent: true });
  expect(found).toMatchObject({
    labels: ["bolt", "nut"],
    preprocessing: { scale: 1 / 127.5, mean: [1, 1, 1], dtype: "f32" },
    plan: { scores: { output: "StatefulPartitionedCall:1" }, classes: { output: "StatefulPartitionedCall:2" } },
  });
  expect(found.assumptions.join()).toContain("mean: 127");
  const named = { ...floats, metadata: { names: namesMetadata(2) } };
  expect(recogniseModel(named, { isSilent: true }).labels).toEqual(["thing 0", "thing 1"]);
});

test("outputs without names whose numbers do not run from the boxes to the count are refused, named head or not", () => {
  const [boxes, row, count]: number[][] = [[1, 10, 4], [1, 10], [1]];
  const alphabetical = [row!, boxes!, count!, row!];
  for (const nameOf of [(at: number) => `StatefulPartitionedCall:${at}`, (at: number) => `Identity_${at}:0`]) {
    const outputs = alphabetical.map((shape, at): Declared => [nameOf(at), shape]);
    const unnamed = model(outputs, { inputs: [["input", [1, 320, 320, 3]]] });
    for (const head of [undefined, "tflite-detection", "tf-detection"] as const) {
      expect(() => recogniseModel(unnamed, { head })).toThrow("Cannot use the model as a detector");
    }
  }
});

test("scores that are numbered before the classes are refused, of class 0 alone as well, and read by the head of their order", async () => {
  const [boxes, classes, scores, count] = DETECTIONS;
  for (const ids of [
    [0, 0, 0],
    [1, 18, 3],
  ]) {
    const parts: FixedOutput[] = [boxes!, scores!, { ...classes!, values: ids }, count!];
    const outputs = parts.map((part, at) => ({ ...part, name: `StatefulPartitionedCall:${at}` }));
    const bytes = fixedModel(outputs, { isBytes: true });
    await using taken = await Detector.load(bytes, { backend: "cpu" });
    // What the hint names is among them.
    expect(taken.recognition.head).toBe("tflite-detection");
    expect(taken.recognition.alternatives).toContain("combined-nms-yx");
    const detecting = taken.detect(WIDE);
    await expect(detecting).rejects.toThrow("class ids are whole numbers from 0 on, got 0.8999");
    await expect(detecting).rejects.toThrow("name one of the other heads that `bunx bun-tensorrt inspect` lists");
    await using detector = await Detector.load(bytes, { backend: "cpu", head: "combined-nms-yx" });
    const { detections } = await detector.detect(WIDE);
    expect(detections).toMatchObject([
      { classId: ids[0], score: expect.closeTo(0.9, 5), box: [8, 8, 32, 24] },
      { classId: ids[1], score: expect.closeTo(0.6, 5), box: [0, 0, 16, 16] },
    ]);
  }
});

/** Boxes, scores, classes and a whole count, as `combined_non_max_suppression` gives them. */
function ofNms(layer: string, separator = "_") {
  const [boxes, classes, scores, count] = DETECTIONS;
  const parts: FixedOutput[] = [boxes!, scores!, classes!, { ...count!, dtype: "i64" }];
  return parts.map((part, at) => ({ ...part, name: at === 0 ? layer : `${layer}${separator}${at}` })).toReversed();
}

test("yolov3-tf2's yolo_nms has x before y; a wrong name, number or further output is none of it", async () => {
  await using detector = await Detector.load(fixedModel(ofNms("yolo_nms"), { isBytes: true, side: "side" }), {
    backend: "cpu",
    size: [64, 32],
  });
  expect(detector.recognition).toMatchObject({
    head: "combined-nms",
    needsNms: false,
    preferredSize: [416, 416],
    preprocessing: { fit: "stretch", colour: "RGB", layout: "NHWC" },
  });
  const { detections } = await detector.detect(WIDE);
  expect(detections).toMatchObject([
    { classId: 1, score: expect.closeTo(0.9, 5), box: [16, 4, 48, 16] },
    { classId: 18, score: expect.closeTo(0.6, 5), box: [0, 0, 32, 8] },
  ]);
  const named = (names: readonly string[]) =>
    model(
      [
        [names[0]!, [1, 100, 4]],
        [names[1]!, [1, 100]],
        [names[2]!, [1, 100]],
        [names[3]!, [1], "i32"],
        ...names.slice(4).map((name): Declared => [name, [1, 7]]),
      ],
      { inputs: [["input", [1, 416, 416, 3]]] },
    );
  const own = ["yolo_nms", "yolo_nms_1", "yolo_nms_2", "yolo_nms_3"];
  const { preprocessing, assumptions } = recogniseModel(named(own), { isSilent: true });
  expect([preprocessing.scale, assumptions]).toEqual([1 / 255, [expect.stringContaining("COCO's 80 class names")]]);
  const others = [own.with(3, "yolo_nms_4"), own.with(2, "yolo_2"), [...own, "more"]];
  for (const names of others)
    expect(() => recogniseModel(named(names), {})).toThrow("Cannot use the model as a detector");
});

test("of any other combined NMS the order of a box's numbers is for the caller to say", async () => {
  for (const [layer, separator, isAmbiguous] of [
    ["tf.image.combined_non_max_suppression", "_", true],
    ["tf_op_layer_CombinedNonMaxSuppression", "_", true],
    ["CombinedNonMaxSuppression", ":", true],
    ["decode_predictions", "_", false],
  ] as const) {
    const bytes = fixedModel(ofNms(layer, separator), { isBytes: true });
    const load = Detector.load(bytes, { backend: "cpu" });
    await expect(load).rejects.toThrow(/`head: "combined-nms"` \(`--head combined-nms`\), or "combined-nms-yx"/);
    if (isAmbiguous) await expect(load).rejects.toThrow(/fit 2 heads.*x1, y1, x2, y2.*y1, x1, y2, x2/s);
    for (const [head, box] of [
      ["combined-nms", [8, 4, 24, 16]],
      ["combined-nms-yx", [4, 8, 16, 24]],
    ] as const) {
      await using detector = await Detector.load(bytes, { backend: "cpu", head });
      expect(detector.recognition.assumptions.join()).toContain('fit: "letterbox"');
      expect(
        (await detector.detect(imageOf(new Uint8Array(32 * 32 * 3), { width: 32, height: 32 }))).detections[0]!.box,
      ).toEqual(box);
    }
  }
});
