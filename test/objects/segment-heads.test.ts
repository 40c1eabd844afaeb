import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { type ObjectModelOptions, Segmenter } from "../../src/api/object-model.ts";
import type { Head, ModelSpec } from "../../src/heads/head.ts";
import { recogniseObjects } from "../../src/heads/object-reading.ts";
import { defineHead, type HeadDefinition, type HeadReading } from "../../src/heads/own-head-options.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { OBJECT_HEADS } from "../../src/heads/registry.ts";
import { readTraits } from "../../src/heads/traits.ts";
import { imageOf } from "../../src/image/image.ts";
import { Candidates } from "../../src/model/rows.ts";
import golden from "../fixtures/tasks/segment-heads.json";
import { type FixedModelOptions, type FixedOutput, fixedModel } from "../support/fixed-model.ts";
import { sayable } from "../support/moved-head.ts";
import { largestDifference } from "./reference.ts";

/** As `segment-heads.py` beside the golden values makes them, by torchvision, transformers and PyTorch; exact in f16. */
function noise(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, at) => (((at * 37 + seed * 101) % 61) - 30.25) / 8);
}

const SIDE = 64;

/** [1, rows, columns], the other rows 0. */
function rowsOf(name: string, rows: readonly (readonly number[])[], count = rows.length): FixedOutput {
  const columns = rows[0]!.length;
  const values = [...rows.flat(), ...new Array<number>((count - rows.length) * columns).fill(0)];
  return { name, shape: [1, count, columns], values };
}

/** Three anchors a cell of 64 × 64. */
const YOLOV5: readonly FixedOutput[] = [
  rowsOf(
    "output0",
    [
      [23.75, 31.375, 34.5, 26.25, 0.9, 0.1, 0.8, ...noise(32, 2).map((value) => value / 4)],
      [40, 31.5, 40, 23, 0.75, 0.75, 0.1, ...noise(32, 3).map((value) => value / 4)],
      [40, 31.5, 40, 23, 0.9, 0.1, 0.1, ...noise(32, 3)],
    ],
    252,
  ),
  { name: "output1", shape: [1, 32, 16, 16], values: noise(32 * 256, 1) },
];

const NAMES = { names: "['cat', 'dog']", stride: "32" };

const tanh = (values: readonly number[]): number[] => values.map(Math.tanh);

/** Two classes of the first prior, and the third suppressed by it. */
const YOLACT: readonly FixedOutput[] = [
  rowsOf("loc", [
    [0.5, -0.25, 0.5, 0.25],
    [-0.5, 0.25, 0.25, 0.5],
    [0.5, -0.25, 0.5, 0.25],
  ]),
  rowsOf("conf", [
    [0.1, 0.75, 0.1],
    [0.1, 0.125, 0.625],
    [0.2, 0.5, 0.1],
  ]),
  rowsOf("mask", [tanh(noise(8, 5)), tanh(noise(8, 6)), tanh(noise(8, 5))]),
  { name: "priors", shape: [3, 4], values: [0.3, 0.4, 0.3, 0.4, 0.6, 0.5, 0.5, 0.5, 0.32, 0.42, 0.3, 0.4] },
  { name: "proto", shape: [1, 17, 17, 8], values: noise(17 * 17 * 8, 4).map((value) => Math.max(0, value)) },
];

const BOXES = [
  [0.5, 0.5, 0.5, 0.25],
  [0.25, 0.5, 0.5, 0.5],
  [0.75, 0.25, 0.25, 0.5],
  [0.5, 0.75, 0.5, 0.25],
];
const SOFTMAX = [
  [3, 0, 0],
  [0, 2, 1],
  [0, 0, 3],
  [1.5, 1, -1],
];

function planes(name: string): FixedOutput {
  const values = noise(4 * 64, 7).map((value, at) => {
    const [query, y, x] = [Math.floor(at / 64), Math.floor(at / 8) % 8, at % 8];
    return query < x && x < query + 5 && y >= 2 && y < 6 ? value : -6;
  });
  return { name, shape: [1, 4, 8, 8], values };
}

const RF_DETR = [
  rowsOf("dets", BOXES),
  rowsOf("labels", [
    [1.5, -3, -3],
    [-3, -3, 2.5],
    [-3, -3, -3],
    [0.5, 0.25, -3],
  ]),
  planes("masks"),
];
const DETR = [rowsOf("logits", SOFTMAX), rowsOf("pred_boxes", BOXES), planes("pred_masks")];
const MASK2FORMER = [rowsOf("class_queries_logits", SOFTMAX), planes("masks_queries_logits")];

const PATCHES = noise(3 * 784, 8).map((value) => 1 / (1 + Math.exp(-value)));
const TORCHVISION: readonly FixedOutput[] = [
  { name: "2530", shape: [3, 4], values: [10.5, 20.25, 40.75, 44, 0, 17, 63.5, 47.5, 30, 22, 31, 23] },
  { name: "2532", shape: [3], values: [1, 18, 3], dtype: "i64" },
  { name: "2531", shape: [3], values: [0.9, 0.8, 0.7] },
  { name: "2887", shape: [3, 1, 28, 28], values: PATCHES },
];
const MMDEPLOY: readonly FixedOutput[] = [
  rowsOf("dets", [
    [10.5, 2.25, 40.75, 26, 0.9],
    [0, 1, 63.5, 30.5, 0.8],
    [30, 6, 31, 7, 0.7],
  ]),
  { name: "labels", shape: [1, 3], values: [1, 18, 3], dtype: "i64" },
  { name: "masks", shape: [1, 3, 28, 28], values: PATCHES },
];

const TENSORFLOW: readonly FixedOutput[] = [
  rowsOf("detection_boxes", [
    [0.125, 0.25, 0.8125, 0.6875],
    [0, 0, 0.9, 1],
    [0.3, 0.4, 0.4, 0.45],
  ]),
  { name: "detection_classes", shape: [1, 3], values: [1, 18, 3] },
  { name: "detection_scores", shape: [1, 3], values: [0.9, 0.8, 0.7] },
  { name: "num_detections", shape: [1], values: [3] },
  { name: "detection_masks", shape: [1, 3, 28, 28], values: PATCHES },
];

/** Of the golden objects by the same name: the model, and what is said of it. */
const MODELS: Readonly<
  Record<
    string,
    {
      readonly outputs: readonly FixedOutput[];
      readonly model?: FixedModelOptions;
      readonly said?: Pick<ObjectModelOptions, "threshold" | "labels">;
    }
  >
> = {
  yolov5: { outputs: YOLOV5, model: { metadata: NAMES } },
  yolact: { outputs: YOLACT },
  "rf-detr": { outputs: RF_DETR, said: { threshold: 0.5 } },
  detr: { outputs: DETR, model: { metadata: NAMES }, said: { threshold: 0.5 } },
  mask2former: { outputs: MASK2FORMER, said: { threshold: 0.3 } },
  // As many classes of queries as there are queries.
  "mask2former-all": { outputs: MASK2FORMER, said: { threshold: 0 } },
  torchvision: { outputs: TORCHVISION, model: { isSingle: true } },
  mmdeploy: { outputs: MMDEPLOY },
  tensorflow: { outputs: TENSORFLOW, model: { isBytes: true, side: "side" } },
};

/** What golden values say of an object. */
interface GoldenObject {
  readonly score: number;
  readonly classId: number;
  readonly box: readonly number[];
  /** Pixels, and the CRC-32 of the bitmap. */
  readonly mask: readonly number[];
  readonly size: readonly number[];
}

/** Exact in f16; the others' outputs are rounded by it. */
const EXACT: readonly string[] = ["yolov5", "rf-detr", "detr", "mask2former", "mask2former-all"];

for (const [name, all] of Object.entries(golden as Record<string, readonly GoldenObject[]>)) {
  // An object without a pixel is left out.
  const wanted = all.filter(({ mask: [pixels] }) => pixels !== 0);
  const [family = "", at = "", maskSize = "image"] = name.split(" ");
  const { outputs, model, said } = MODELS[family]!;
  const [width = 0, height = 0] = at.split("x").map(Number);
  const image = imageOf(new Uint8Array(width * height * 3).fill(90), { width, height });
  for (const dtype of EXACT.includes(family) ? (["f32", "f16"] as const) : (["f32"] as const)) {
    test(`${name} in ${dtype}: objects and masks are those of the family's own code`, async () => {
      const bytes = fixedModel(outputs, { side: SIDE, dtype, ...model });
      const options = { backend: "cpu", ...said, maskSize: maskSize as "image" } as const;
      await using segmenter = await Segmenter.load(bytes, options);
      const { objects } = await segmenter.detect(image);
      expect(objects.map(({ classId }) => classId)).toEqual(wanted.map(({ classId }) => classId));
      for (const [row, { score, box, mask, size }] of wanted.entries()) {
        const found = objects[row]!;
        expect(Math.abs(found.score - score)).toBeLessThan(1e-3);
        // A mask's own box is known to a cell of 384, and the golden one to a pixel.
        const sides = family.startsWith("mask2former") ? found.box.map(Math.ceil) : found.box;
        expect(largestDifference(sides, box)).toBeLessThan(0.01);
        const bitmap = found.mask.toBitmap();
        expect([found.mask.width, found.mask.height, found.mask.area, Bun.hash.crc32(bitmap)]).toEqual([
          ...size,
          ...mask,
        ]);
      }
    });
  }
}

/** A built-in head as its author would pass it: what it gathers for kept rows is pushed with each object. */
function passed(builtIn: Head, options: Pick<ObjectModelOptions, "labels">): HeadDefinition<ModelSpec> {
  const candidates = new Candidates();
  return defineHead({
    name: "moved-out",
    task: "segment",
    recognise(model) {
      const spec = builtIn.recognise(readTraits(model, options)!);
      if (spec === undefined) return undefined;
      const { needsNms, sizeInputs, stride, preferredSize, isImageSized, usualIou, labels } = spec;
      const [extra] = spec.extras ?? [];
      const masks = (
        extra === undefined ? { ...spec.masks } : { ...spec.masks, coefficients: extra.length }
      ) as HeadReading["masks"];
      const preprocessing = sayable(spec.preprocessing);
      const family = { needsNms, sizeInputs, stride, preferredSize, isImageSized, usualIou, labels };
      return { plan: spec, preprocessing, masks, ...family };
    },
    decode({ plan: spec, values, ...image }, objects) {
      candidates.clear();
      builtIn.decode(spec.plan, image, candidates);
      const { boxes, scores, classIds, sources } = candidates;
      const [extra] = spec.extras ?? [];
      for (let row = 0, at = 0; row < candidates.count; row++, at += 4) {
        const source = sources[row]!;
        const [own, first] =
          extra === undefined ? [[source], 0] : [values(extra.output), source * extra.channels + extra.first];
        objects.push(
          boxes[at]!,
          boxes[at + 1]!,
          boxes[at + 2]!,
          boxes[at + 3]!,
          scores[row]!,
          classIds[row]!,
          own,
          first,
        );
      }
    },
  });
}

for (const [name, { outputs, model, said }] of Object.entries(MODELS)) {
  test(`${name}: moved out of the tree and passed by defineHead(), the head gives the same objects and masks`, async () => {
    const bytes = fixedModel(outputs, { side: SIDE, ...model });
    for (const maskSize of ["image", "proto"] as const) {
      const options = { backend: "cpu", ...said, maskSize } as const;
      await using builtIn = await Segmenter.load(bytes, options);
      const { head, plan } = builtIn.recognition;
      const inside = OBJECT_HEADS.find((known) => known.name === head && known.task === "segment")!;
      const heads = [passed(inside, options)];
      await using own = await Segmenter.load(bytes, { ...options, heads });
      expect(own.recognition).toMatchObject({ head: "moved-out", plan: { kind: "own", plan: { plan } } });
      const image = imageOf(new Uint8Array(50 * 37 * 3).fill(90), { width: 50, height: 37 });
      const [wanted, found] = await Promise.all([builtIn.detect(image), own.detect(image)]);
      expect(found.objects.length).toBeGreaterThan(0);
      for (const [row, { mask, ...rest }] of found.objects.entries()) {
        const { mask: same, ...others } = wanted.objects[row]!;
        expect(rest).toEqual(others);
        expect(mask.toBitmap()).toEqual(same.toBitmap());
      }
      expect(found.objects).toHaveLength(wanted.objects.length);
    }
  });
}

test("DETR's masks without boxes, as optimum exports them, are refused with the exports that help", () => {
  const outputs = [rowsOf("logits", SOFTMAX), planes("pred_masks")].map(({ name, shape }) => ({
    name,
    shape,
    dtype: "f32" as const,
  }));
  const inputs = [{ name: "pixel_values", dtype: "f32", shape: [-1, 3, -1, -1] }] as const;
  const refusal = /it gives masks of queries without their boxes[^\n]*\nHint: .*pred_boxes.*--task object-detection/;
  expect(() => recogniseObjects({ inputs, outputs, metadata: {} }, "segment", {})).toThrow(refusal);
  expect(() => recogniseModel({ inputs, outputs, metadata: {} }, {})).toThrow(refusal);
});

test("an object without its plane, or of one that is not there, is an error; so are masks of no rule", async () => {
  const load = (masks: unknown, extras?: readonly number[]): Promise<Segmenter> => {
    const head = defineHead({
      name: "planes",
      task: "segment",
      recognise: () => ({ classes: 2, masks: masks as HeadReading["masks"] }),
      decode: (_, objects) => objects.push(1, 1, 60, 60, 0.9, 0, extras),
    });
    return Segmenter.load(fixedModel(RF_DETR, { side: SIDE }), { backend: "cpu", heads: [head] });
  };
  const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
  const planesOf = { output: "masks", rule: "logits" };
  for (const [extras, got] of [
    [undefined, "none"],
    [[4], "4"],
    [[0.5], "0.5"],
  ] as const) {
    await using segmenter = await load(planesOf, extras);
    await expect(segmenter.detect(image)).rejects.toThrow(`the number of its plane, 0 to 3, got ${got}`);
  }
  await using segmenter = await load(planesOf, [2]);
  expect((await segmenter.detect(image)).objects).toHaveLength(1);
  await expect(load({ output: "masks" })).rejects.toThrow("neither `coefficients` nor a `rule` of planes");
});

test("models of masks are found out by what they are", async () => {
  for (const { outputs, model } of Object.values(MODELS)) {
    const bytes = fixedModel(outputs, { side: SIDE, ...model });
    await using loaded = await Model.load(bytes, { backend: "cpu" });
    expect(loaded.task).toBe("segment");
    await expect(Detector.load(bytes, { backend: "cpu" })).rejects.toThrow(
      /its task is "segment"\nHint: load it with `Segmenter`/,
    );
    // Boxes only.
    await using detector = await Detector.load(bytes, { backend: "cpu", task: "detect" });
    const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
    expect((await detector.detect(image, { threshold: 0.3 })).detections.length).toBeGreaterThan(1);
  }
});

test("a size that is open, prototypes without a batch and masks that are pasted already change nothing", async () => {
  const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
  const areasOf = async (outputs: readonly FixedOutput[], model: FixedModelOptions): Promise<readonly number[]> => {
    await using segmenter = await Segmenter.load(fixedModel(outputs, model), { backend: "cpu" });
    return (await segmenter.detect(image)).objects.map(({ mask }) => mask.area);
  };
  const yolov5 = await areasOf(YOLOV5, { side: SIDE, metadata: NAMES });
  expect(yolov5).toHaveLength(2);
  expect(await areasOf(YOLOV5, { side: "side", metadata: { ...NAMES, imgsz: "[64, 64]" } })).toEqual(yolov5);
  const yolact = await areasOf(YOLACT, { side: SIDE });
  expect(yolact).toHaveLength(2);
  const flat = YOLACT.map((output) => (output.name === "proto" ? { ...output, shape: [17, 17, 8] } : output));
  expect(await areasOf(flat, { side: SIDE })).toEqual(yolact);
  // Left of the middle, whatever the boxes.
  const halves = Array.from({ length: 3 * SIDE * SIDE }, (_, at) => (at % SIDE < SIDE / 2 ? 0.75 : 0.25));
  const rcnn = TORCHVISION.map((output) =>
    output.name === "2887" ? { ...output, shape: [3, 1, SIDE, SIDE], values: halves } : output,
  );
  const half = (SIDE * SIDE) / 2;
  expect(await areasOf(rcnn, { side: SIDE, isSingle: true })).toEqual([half, half, half]);
  const [boxes, labels, masks] = MMDEPLOY;
  const pasted = [boxes!, labels!, { ...masks!, shape: [1, 3, SIDE, SIDE], values: halves }];
  expect(await areasOf(pasted, { side: SIDE })).toEqual([half, half, half]);
});

test("masks that are neither patches nor as large as the input are refused", async () => {
  const [boxes, labels] = MMDEPLOY;
  const odd = { name: "masks", shape: [1, 3, 20, 30], values: new Array<number>(1800).fill(1) };
  const bytes = fixedModel([boxes!, labels!, odd], { side: SIDE });
  await expect(Segmenter.load(bytes, { backend: "cpu" })).rejects.toThrow(
    /its outputs are .*"masks" f32 \[1, 3, 20, 30\]/,
  );
});

test("what may be one of two is refused, with what tells them apart", async () => {
  const detr = fixedModel(DETR, { side: SIDE });
  await expect(Segmenter.load(detr, { backend: "cpu" })).rejects.toThrow(
    /fit the heads "hugging-face" and "hugging-face-softmax", but nothing tells .*\nHint: give its class names by `labels`/,
  );
  const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
  const bestOf = async (options: ObjectModelOptions): Promise<number | undefined> => {
    await using segmenter = await Segmenter.load(detr, { backend: "cpu", ...options });
    return (await segmenter.detect(image)).objects[0]?.score;
  };
  const [softmax, sigmoid] = [Math.exp(3) / (Math.exp(3) + 2), 1 / (1 + Math.exp(-3))];
  expect(await bestOf({ labels: ["cat", "dog"] })).toBeCloseTo(softmax, 5);
  expect(await bestOf({ labels: ["cat", "dog", "cow"] })).toBeCloseTo(sigmoid, 5);
  expect(await bestOf({ head: "hugging-face" })).toBeCloseTo(sigmoid, 5);
});

test("class names come from transformers' config.json beside a model, and tell what it is; other models have no use for them", async () => {
  const folder = mkdtempSync(join(tmpdir(), "segment-heads-"));
  try {
    const write = (name: string, content: string | Uint8Array): string => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    write("config.json", JSON.stringify({ model_type: "detr", id2label: { 0: "cow", 1: "hen" } }));
    const detr = write("model.onnx", fixedModel(DETR, { side: SIDE }));
    const other = write("other.onnx", fixedModel(YOLACT, { side: SIDE }));
    const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
    for (const load of [Segmenter, Model]) {
      await using model = await load.load(detr, { backend: "cpu" });
      if (model.task !== "segment") throw new Error(`it was loaded as ${model.task}`);
      const [{ label, score } = { label: "", score: 0 }] = (await model.detect(image)).objects;
      expect([label, score.toFixed(4)]).toEqual(["cow", (Math.exp(3) / (Math.exp(3) + 2)).toFixed(4)]);
    }
    await using yolact = await Segmenter.load(other, { backend: "cpu" });
    expect((await yolact.detect(image)).objects.map(({ label }) => label)).toEqual(["class 0", "class 1"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("boxes of YOLACT suppress each other from its own IoU on, unless another is said", async () => {
  // The second lies a quarter of its width beside the first: an IoU of 0.6, between YOLACT's threshold and the usual one.
  const priors = [0.5, 0.5, 0.4, 0.4, 0.6, 0.5, 0.4, 0.4, 0.5, 0.5, 0.4, 0.4];
  const outputs: readonly FixedOutput[] = [
    rowsOf("loc", [[0, 0, 0, 0]], 3),
    rowsOf("conf", [
      [0.1, 0.75, 0.1],
      [0.1, 0.625, 0.1],
      [0.9, 0, 0],
    ]),
    rowsOf("mask", [tanh(noise(8, 5)), tanh(noise(8, 6)), tanh(noise(8, 5))]),
    { name: "priors", shape: [3, 4], values: priors },
    { name: "proto", shape: [1, 17, 17, 8], values: new Array<number>(17 * 17 * 8).fill(1) },
  ];
  const image = imageOf(new Uint8Array(SIDE * SIDE * 3), { width: SIDE, height: SIDE });
  const bytes = fixedModel(outputs, { side: SIDE });
  const countOf = async (options: ObjectModelOptions, call = {}): Promise<number> => {
    await using detector = await Detector.load(bytes, { backend: "cpu", ...options, task: "detect" });
    await using segmenter = await Segmenter.load(bytes, { backend: "cpu", maskSize: "input", ...options });
    const boxes = (await detector.detect(image, call)).detections.length;
    expect((await segmenter.detect(image, call)).objects).toHaveLength(boxes);
    return boxes;
  };
  expect(await countOf({})).toBe(1);
  expect(await countOf({ iou: 0.7 })).toBe(2);
  expect(await countOf({}, { iou: 0.7 })).toBe(2);
});

test("a model with an input that nothing fills is refused before it fails to run", () => {
  const inputs = [
    { name: "images", dtype: "f32", shape: [1, 3, SIDE, SIDE] },
    { name: "scale_factor", dtype: "f32", shape: [1, 2] },
  ] as const;
  const outputs = RF_DETR.map(({ name, shape }) => ({ name, shape, dtype: "f32" }) as const);
  for (const named of [{}, { head: "rf-detr" }]) {
    expect(() => recogniseObjects({ inputs, outputs, metadata: {} }, "segment", named)).toThrow(
      'as a segmentation model: its head is "rf-detr", which does not say what to fill "scale_factor" (f32 [1, 2]) with',
    );
  }
});

test("columns of RF-DETR's classes that have no name are refused: nothing tells whether the first or the last is the background", async () => {
  const bytes = fixedModel(RF_DETR, { side: SIDE });
  for (const labels of [
    ["cat", "dog"],
    ["cat", "dog", "cow", "hen"],
  ]) {
    for (const named of [{}, { head: "rf-detr" }]) {
      await expect(Segmenter.load(bytes, { backend: "cpu", labels, ...named })).rejects.toThrow(
        `Cannot use the model from bytes as a segmentation model: it has 3 classes, got ${labels.length} class names`,
      );
    }
  }
});
