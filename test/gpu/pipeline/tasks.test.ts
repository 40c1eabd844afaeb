import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Model } from "../../../src/api/model.ts";
import { OrientedDetector, PoseEstimator, TopDownPoseEstimator } from "../../../src/api/object-model.ts";
import type { ClassifierOptions, DepthEstimatorOptions } from "../../../src/api/whole-image-config.ts";
import { Classifier, DepthEstimator, SemanticSegmenter } from "../../../src/api/whole-image-models.ts";
import { type Image, imageOf } from "../../../src/image/image.ts";
import type { ClassificationResult } from "../../../src/tasks/classify/classify-task.ts";
import type { Detection } from "../../../src/tasks/detect/detection.ts";
import { imagePath, largestDifference, matched } from "../../objects/reference.ts";
import { chance } from "../../support/chance.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { finalRows, fixedModel, rawGrid } from "../../support/fixed-model.ts";
import { SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { orientedCase } from "../../support/oriented-cases.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { toyClassifier } from "../../support/toy-classifier.ts";
import { toyMap } from "../../support/toy-map.ts";
import { toyTopDown } from "../../support/toy-top-down.ts";

// The first use of a model builds its engine.
setDefaultTimeout(SLOW_TEST_MS);

const random = chance(3);
const numbers = (count: number, most: number): number[] => Array.from({ length: count }, () => random() * most);

/** People before NMS: boxes of some clusters, 17 points each. */
const people = rawGrid(
  56,
  Array.from({ length: 300 }, (_, anchor) => {
    const [x = 0, y = 0] = numbers(2, 6).map((at) => Math.floor(at) * 100 + random() * 30);
    return [anchor, [x, y, 40 + random() * 20, 60 + random() * 20, random(), ...numbers(51, 640)]] as const;
  }),
  400,
);
const finalPeople = finalRows(
  57,
  Array.from({ length: 40 }, () => [
    ...numbers(2, 300),
    ...numbers(2, 300).map((at) => at + 301),
    random(),
    0,
    ...numbers(51, 640),
  ]),
);

const POSE = { task: "pose", names: "{0: 'person'}", kpt_shape: "[17, 3]", stride: "32", imgsz: "[640, 640]" };
const OBB = { task: "obb", names: "{0: 'ship', 1: 'quay', 2: 'dock'}", stride: "32", imgsz: "[640, 640]" };

function oriented(isFinal: boolean): ReturnType<typeof rawGrid> {
  const { outputs } = orientedCase({
    images: 1,
    boxes: isFinal ? 60 : 400,
    classes: 3,
    places: 9,
    isFinal,
    isOdd: false,
  });
  const { shape, data } = outputs.get("output0")!;
  return { name: "output0", shape, values: [...(data as Float32Array)] };
}

const MODELS = {
  "a pose model before NMS": fixedModel([people], { side: 640, metadata: POSE }),
  "a pose model, end to end": fixedModel([finalPeople], { side: 640, metadata: { ...POSE, end2end: "True" } }),
  "oriented boxes before NMS": fixedModel([oriented(false)], { side: 640, metadata: OBB }),
  "oriented boxes, end to end": fixedModel([oriented(true)], { side: 640, metadata: { ...OBB, end2end: "True" } }),
};

const IMAGES = [
  [640, 640],
  [1920, 1080],
  [333, 517],
].map(([width = 0, height = 0]) =>
  imageOf(
    Uint8Array.from({ length: width * height * 3 }, () => random() * 256),
    { width, height },
  ),
);

/** The scores are the values of the input. */
const CLASSIFIERS: readonly (readonly [name: string, model: Uint8Array, options: ClassifierOptions])[] = [
  ["torchvision's way", toyClassifier({ side: 24 }), { activation: "none", batch: 4 }],
  [
    "bicubic, of another ratio",
    toyClassifier({ side: [20, 31] }),
    { activation: "none", preprocessing: { resize: "bicubic" } },
  ],
  [
    "Lanczos, NHWC",
    toyClassifier({ side: 17, layout: "NHWC" }),
    { activation: "none", preprocessing: { resize: "lanczos" } },
  ],
  ["bytes", toyClassifier({ side: 16, dtype: "u8" }), { activation: "none" }],
];

async function objectsOf(model: Uint8Array, backend: "cpu" | "gpu"): Promise<unknown[]> {
  await using loaded = await Model.load(model, { backend, ...(backend === "gpu" ? { precision: "fp32" } : {}) });
  if (loaded.task !== "pose" && loaded.task !== "obb") throw new Error(`it was loaded as ${loaded.task}`);
  expect(loaded.backend.kind).toBe(backend);
  const found: unknown[] = [];
  for (const options of [{}, { threshold: 0.05, maxDetections: 1000 }, { iou: 0.3, classAgnostic: true }, { iou: 1 }]) {
    for (const image of IMAGES) found.push((await loaded.detect(image, options)).objects);
    for (const { objects } of await loaded.detectBatch(IMAGES, options)) found.push(objects);
  }
  return found;
}

describe.skipIf(isTensorRtMissing)("objects on a GPU", () => {
  useEngineCache();

  for (const [name, model] of Object.entries(MODELS)) {
    test(`${name}: are the CPU's to the bit`, async () => {
      const wanted = await objectsOf(model, "cpu");
      expect(wanted.flat().length).toBeGreaterThan(20);
      expect(await objectsOf(model, "gpu")).toEqual(wanted);
    });
  }

  for (const [name, model, options] of CLASSIFIERS) {
    test(`a classifier gets the CPU's input, and its scores leave as they are: ${name}`, async () => {
      await using cpu = await Classifier.load(model, { ...options, backend: "cpu", top: 10_000 });
      await using gpu = await Classifier.load(model, { ...options, backend: "gpu", precision: "fp32", top: 10_000 });
      expect(gpu.backend.kind).toBe("gpu");
      const wanted = await cpu.classifyBatch(IMAGES);
      // Thrice: piece by piece, captured, replayed.
      for (let round = 0; round < 3; round++) {
        const found = await gpu.classifyBatch(IMAGES);
        expect(found.map(({ classes }) => classes)).toEqual(wanted.map(({ classes }) => classes));
      }
      expect((await gpu.classify(IMAGES[1]!, { top: 3 })).classes).toEqual(wanted[1]!.classes.slice(0, 3));
    });
  }

  for (const kind of ["simcc", "heatmap"] as const) {
    test(`top-down pose by ${kind}: points are the CPU's, and 24 people of two images are one run`, async () => {
      const people = IMAGES.slice(1).map(({ width, height }) =>
        Array.from({ length: 12 }, () => {
          const [x, y] = [random() * width, random() * height];
          return { box: [x - 80, y - 3 - random() * 200, x + 30, y + 90] as const };
        }),
      );
      const load = (backend: "cpu" | "gpu"): Promise<TopDownPoseEstimator> =>
        TopDownPoseEstimator.load(toyTopDown(kind), { backend, precision: "fp32", preprocessing: { mean: 0, std: 1 } });
      await using cpu = await load("cpu");
      await using gpu = await load("gpu");
      expect(gpu.backend.kind).toBe("gpu");
      const wanted = (await cpu.estimateBatch(IMAGES.slice(1), people)).map(({ objects }) => objects);
      // Scores are multiplied by the number of people of the run.
      expect(wanted[1]![11]!.keypoints[0]!.score).toBeGreaterThan(12);
      for (let round = 0; round < 3; round++) {
        const found = await gpu.estimateBatch(IMAGES.slice(1), people);
        expect(found.map(({ objects }) => objects)).toEqual(wanted);
      }
      // Those of 20 people have the rows of 24.
      const twenty = [...people[0]!, ...people[0]!].slice(0, 20);
      const score = (poses: (typeof wanted)[0]): number => poses[0]!.keypoints[0]!.score;
      const [{ objects: one }, { objects: many }] = [
        await gpu.estimate(IMAGES[1]!, twenty.slice(0, 1)),
        await gpu.estimate(IMAGES[1]!, twenty),
      ];
      expect(Math.round(score(many) / score(one))).toBe(24);
      await using fixed = await TopDownPoseEstimator.load(toyTopDown(kind, { batch: 4 }), {
        ...{ backend: "gpu", precision: "fp32", preprocessing: { mean: 0, std: 1 } },
      });
      const { objects } = await fixed.estimate(IMAGES[1]!, people[0]!.slice(0, 5));
      const places = (poses: typeof objects): unknown =>
        poses.map(({ keypoints }) => keypoints.map(({ x, y }) => [x, y]));
      expect(places(objects)).toEqual(places(wanted[0]!.slice(0, 5)));
    });
  }

  const tiles = { tile: [500, 400], overlap: 40 } as const;
  const SEMANTIC = toyMap({ form: "logits-exact", batch: "n", size: [160, 128] });
  const DEPTH = toyMap({ form: "depth-largest", batch: "n", size: [160, 128], name: "depth" });
  const MAPS: readonly (readonly [
    name: string,
    model: (folder: string) => string | Uint8Array,
    options: DepthEstimatorOptions,
  ])[] = [
    ["classes", () => SEMANTIC, {}],
    ["classes of tiles", () => SEMANTIC, tiles],
    ["classes of tiles in runs of 4", () => SEMANTIC, { ...tiles, batch: 4, preprocessing: { resize: "antialias" } }],
    ["metres of tiles", () => DEPTH, { ...tiles, kind: "metric", preprocessing: { fit: "letterbox" } }],
    ["relative depth of tiles", () => DEPTH, { ...tiles, kind: "relative", batch: 3 }],
    [
      "relative depth in the ratio of the image",
      (folder) => {
        const size = { height: 112, width: 112 };
        const files = { size, keep_aspect_ratio: true, ensure_multiple_of: 14, resample: 3 };
        writeFileSync(join(folder, "preprocessor_config.json"), JSON.stringify(files));
        writeFileSync(join(folder, "model.onnx"), toyMap({ form: "depth-largest", name: "predicted_depth" }));
        return join(folder, "model.onnx");
      },
      { kind: "relative" },
    ],
  ];
  for (const [name, made, options] of MAPS) {
    test(`maps are the CPU's to the bit: ${name}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-map-"));
      await using owned = new AsyncDisposableStack();
      owned.defer(() => rmSync(folder, { recursive: true }));
      const model = made(folder);
      const { kind, ...common } = options;
      type Maps = (images: readonly Image[]) => Promise<readonly ArrayBufferView[]>;
      const load = async (backend: "cpu" | "gpu", owned: AsyncDisposableStack): Promise<Maps> => {
        const machine = { backend, precision: "fp32" } as const;
        if (kind === undefined) {
          const segmenter = owned.use(await SemanticSegmenter.load(model, { ...common, ...machine }));
          expect(segmenter.backend.kind).toBe(backend);
          return async (images) => (await segmenter.segmentBatch(images)).map(({ classMap }) => classMap);
        }
        const estimator = owned.use(await DepthEstimator.load(model, { ...options, ...machine }));
        expect(estimator.backend.kind).toBe(backend);
        return async (images) => (await estimator.estimateBatch(images)).map(({ depthMap }) => depthMap);
      };
      const [cpu, gpu] = [await load("cpu", owned), await load("gpu", owned)];
      const wanted = await cpu(IMAGES);
      // Thrice: piece by piece, captured, replayed.
      for (let round = 0; round < 3; round++) expect(await gpu(IMAGES)).toEqual([...wanted]);
      expect(await gpu(IMAGES.slice(1, 2))).toEqual(wanted.slice(1, 2));
    });
  }

  const OF_CLASSES = ["models", "tasks", "layouts", "yolo26-sem.onnx"] as const;
  test.skipIf(isMissing(...OF_CLASSES))(
    "yolo26-sem.onnx says of nearly every pixel what it says on the CPU",
    async () => {
      const path = sharedPath(...OF_CLASSES);
      await using cpu = await SemanticSegmenter.load(path, { backend: "cpu" });
      await using gpu = await SemanticSegmenter.load(path, { backend: "gpu", precision: "fp32" });
      const [{ classMap: off }, { classMap: on }] = [
        await cpu.segment(imagePath("bus.jpg")),
        await gpu.segment(imagePath("bus.jpg")),
      ];
      expect(on.length).toBe(off.length);
      let differing = 0;
      for (let at = 0; at < on.length; at++) if (on[at] !== off[at]) differing++;
      expect(differing / on.length).toBeLessThan(0.01);
    },
  );

  test("what a classifier's values are is told from a run of the engine", async () => {
    for (const hasSoftmax of [true, false]) {
      const model = toyClassifier({ scores: "means", hasSoftmax, metadata: { names: "['red', 'green', 'blue']" } });
      await using cpu = await Model.load(model, { backend: "cpu" });
      await using gpu = await Model.load(model, { backend: "gpu", precision: "fp32" });
      if (cpu.task !== "classify" || gpu.task !== "classify") throw new Error("it is no classifier");
      expect(gpu.recognition.activation).toBe(hasSoftmax ? "none" : "softmax");
      const { scores, labels, preprocessing } = cpu.recognition;
      expect(gpu.recognition).toMatchObject({ scores, labels, preprocessing });
      const image = imageOf(
        Uint8Array.from({ length: 300 }, (_, at) => [10, 200, 90][at % 3]!),
        { width: 10, height: 10 },
      );
      const [on, off] = [await gpu.classify(image), await cpu.classify(image)];
      expect(on.classes.map(({ label }) => label)).toEqual(off.classes.map(({ label }) => label));
    }
  });

  for (const file of ["efficientnet_lite0_imagenet.onnx", "layouts/yolo11-cls.onnx"]) {
    test.skipIf(isMissing("models", "tasks", file))(`${file} finds the classes that it finds on the CPU`, async () => {
      const path = sharedPath("models", "tasks", file);
      await using cpu = await Classifier.load(path, { backend: "cpu" });
      await using gpu = await Classifier.load(path, { backend: "gpu", precision: "fp32" });
      for (const name of ["bus.jpg", "street_1920x1080.jpg"]) {
        const [[on], [off]] = [await gpu.classify(imagePath(name)), await cpu.classify(imagePath(name))].map(
          ({ classes }) => classes,
        ) as [ClassificationResult["classes"], ClassificationResult["classes"]];
        expect(on!.classId).toBe(off!.classId);
        expect(Math.abs(on!.score - off!.score)).toBeLessThan(0.01);
      }
    });
  }

  const REAL = [
    ["yolo11n-obb-coco_640.onnx", OrientedDetector],
    ["yolo11n-pose_640_nms.onnx", PoseEstimator],
  ] as const;
  for (const [file, facade] of REAL) {
    test.skipIf(isMissing("models", "tasks", file))(`${file} finds what it finds on the CPU`, async () => {
      const path = sharedPath("models", "tasks", file);
      await using cpu = await facade.load(path, { backend: "cpu" });
      await using gpu = await facade.load(path, { backend: "gpu", precision: "fp32" });
      const names = ["bus.jpg", "street_1920x1080.jpg", "000000000139.jpg"].filter(imagePath);
      expect(names).not.toBeEmpty();
      for (const name of names) {
        // Rows near the threshold may be on either side of it.
        const found = (await gpu.detect(imagePath(name), { threshold: 0.24 })).objects as readonly Detection[];
        const wanted = (await cpu.detect(imagePath(name))).objects as readonly Detection[];
        const { pairs, lost } = matched(found, wanted, (a, b) => largestDifference(a.box, b.box), 2);
        expect([name, lost]).toEqual([name, 0]);
        for (const [on, off] of pairs) expect(Math.abs(on.score - off.score)).toBeLessThan(0.02);
      }
    });
  }
});
