import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openedSession } from "../../src/accelerators/opened-model.ts";
import { Detector } from "../../src/api/detector.ts";
import { ImageModel } from "../../src/api/image-model.ts";
import { Model } from "../../src/api/model.ts";
import type { ClassifierOptions } from "../../src/api/whole-image-config.ts";
import { Classifier } from "../../src/api/whole-image-models.ts";
import { ClosedError, ImageError, ModelError, OptionError, UnavailableError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type ClassificationResult, ClassifyTask } from "../../src/tasks/classify/classify-task.ts";
import { CudaHostTask } from "../../src/tasks/cuda-host-task.ts";
import { DEPTH } from "../../src/tasks/depth/depth-task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import { MapTask } from "../../src/tasks/image/map-task.ts";
import { registerFast } from "../support/backends.ts";
import { fixedModel } from "../support/fixed-model.ts";
import { flatImage } from "../support/flat-image.ts";
import { fileFolder } from "../support/folder.ts";
import { wavy } from "../support/images.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";

/** Forget what the environment says of backends, until disposed of. */
function withoutBackendChoice(): Disposable {
  const former = process.env.BUN_TENSORRT_BACKEND;
  delete process.env.BUN_TENSORRT_BACKEND;
  const restored = new DisposableStack();
  restored.defer(() => {
    if (former !== undefined) process.env.BUN_TENSORRT_BACKEND = former;
  });
  return restored;
}

/** The levels themselves, cut out of the image without a resize where its shorter side is the input's. */
const LEVELS: ClassifierOptions = {
  backend: "cpu",
  top: 100_000,
  activation: "none",
  preprocessing: { scale: 1, mean: 0, std: 1, crop: 1 },
};

const inFolder = fileFolder("classifier");
let warnings: string[] = [];
let formerSink: ReturnType<typeof setLogSink>;

beforeAll(() => {
  formerSink = setLogSink((level, text) => {
    if (level === "warn" || level === "info") warnings.push(text);
  });
});
afterAll(() => {
  setLogSink(formerSink);
});

/** Scores by class id: what the model's output holds. */
function valuesOf({ classes }: ClassificationResult): number[] {
  const values: number[] = [];
  for (const { classId, score } of classes) values[classId] = score;
  return values;
}

/** What such a model sees of an image: [height, width, 3] in the input's layout. */
async function seen(model: Uint8Array, image: Image, options: ClassifierOptions = LEVELS): Promise<number[]> {
  await using classifier = await Classifier.load(model, options);
  return valuesOf(await classifier.classify(image));
}

test("class scores of NaN are no classes, and are reported once a model", async () => {
  const scores = { name: "scores", shape: [1, 4], values: [0.5, Number.NaN, 2, Number.NEGATIVE_INFINITY] };
  await using classifier = await Classifier.load(fixedModel([scores]), LEVELS);
  warnings = [];
  for (let call = 0; call < 2; call++) {
    const { classes } = await classifier.classify(wavy(32, 32));
    expect(classes.map(({ classId }) => classId)).toEqual([2, 0, 3]);
  }
  const found = warnings.filter((line) => line.startsWith("Implausible"));
  expect(found).toEqual([
    expect.stringMatching(/^Implausible class scores of the model.*: 2 of 4 numbers are NaN or infinite; FP16/),
  ]);
});

/** Red is 10 x the column, green 10 x the row, blue 7. */
function ramp(width: number, height: number): Image {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) => {
    const pixel = Math.floor(at / 3);
    return [10 * (pixel % width), 10 * Math.floor(pixel / width), 7][at % 3]!;
  });
  return imageOf(data, { width, height });
}

/** The part of `ramp` from a place on, as the values of an input; 0 outside. */
function part(
  [width, height]: readonly [number, number],
  [x0, y0]: readonly [number, number],
  [columns, rows]: readonly [number, number] = [4, 4],
  layout: "NCHW" | "NHWC" = "NCHW",
): number[] {
  const at = (x: number, y: number, channel: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : [10 * x, 10 * y, 7][channel]!;
  const values: number[] = [];
  const pixels = Array.from({ length: rows * columns }, (_, k) => [x0 + (k % columns), y0 + Math.floor(k / columns)]);
  if (layout === "NHWC") for (const [x, y] of pixels) for (const c of [0, 1, 2]) values.push(at(x!, y!, c));
  else for (const c of [0, 1, 2]) for (const [x, y] of pixels) values.push(at(x!, y!, c));
  return values;
}

describe("the middle of an image", () => {
  test("is cut out where the shorter side has the input's size, its place rounded to even", async () => {
    const model = toyClassifier();
    for (const [size, from] of [
      [
        [4, 4],
        [0, 0],
      ],
      [
        [6, 4],
        [1, 0],
      ],
      [
        [5, 4],
        [0, 0],
      ], // 0.5 goes to 0
      [
        [7, 4],
        [2, 0],
      ], // 1.5 goes to 2
      [
        [4, 7],
        [0, 2],
      ],
      [
        [4, 9],
        [0, 2],
      ], // 2.5 goes to 2
    ] as const) {
      expect([size, await seen(model, ramp(size[0], size[1]))]).toEqual([size, part(size, from)]);
    }
  });

  test("is that of one pixel, of a portrait and of a landscape that are smaller than the input", async () => {
    const model = toyClassifier();
    for (const [width, height] of [
      [1, 1],
      [1, 9],
      [9, 1],
      [2, 3],
    ] as const) {
      for (const resize of ["bilinear", "antialias", "bicubic"] as const) {
        const values = await seen(model, flatImage(width, height, 99), {
          ...LEVELS,
          preprocessing: { ...LEVELS.preprocessing, resize },
        });
        expect([width, height, resize, ...new Set(values)]).toEqual([width, height, resize, 99]);
      }
    }
  });

  test("has the same values in every dtype and layout", async () => {
    for (const dtype of ["f32", "f16", "u8"] as const) {
      for (const layout of ["NCHW", "NHWC"] as const) {
        const found = await seen(toyClassifier({ dtype, layout }), ramp(6, 4));
        expect([dtype, layout, found]).toEqual([dtype, layout, part([6, 4], [1, 0], [4, 4], layout)]);
      }
    }
  });

  test("is stretched for an input that is no square, and where the caller says", async () => {
    const wide = toyClassifier({ side: [2, 6] });
    expect(await seen(wide, ramp(6, 2))).toEqual(part([6, 2], [0, 0], [6, 2]));
    const stretched = { ...LEVELS, preprocessing: { ...LEVELS.preprocessing, fit: "stretch" } } as const;
    const values = await seen(toyClassifier(), ramp(8, 4), stretched);
    // Two columns become one: 0 10 | 20 30 | 40 50 | 60 70, with the filter's reach beyond them.
    expect(values.slice(0, 4).map((level) => Math.round(level / 5))).toEqual([1, 5, 9, 13]);
    expect(values.slice(16, 20)).toEqual([0, 0, 0, 0]);
  });

  test("of an image that is smaller after the resize is padded with black, before it is normalised", async () => {
    writeFileSync(inFolder("model.onnx"), toyClassifier());
    const config = { size: { shortest_edge: 2 }, do_center_crop: true, crop_size: 4, resample: 2, do_normalize: false };
    const path = inFolder("preprocessor_config.json");
    writeFileSync(path, JSON.stringify({ ...config, do_rescale: false }));
    const options = { ...LEVELS, preprocessing: { mean: 1 } };
    await using classifier = await Classifier.load(inFolder("model.onnx"), options);
    const values = valuesOf(await classifier.classify(ramp(3, 2)));
    // The larger part of what is left over lies right.
    expect(values).toEqual(part([3, 2], [0, -1]).map((level) => level - 1));
    rmSync(path);
  });

  test("goes in by the caller's colours and numbers", async () => {
    const options = {
      ...LEVELS,
      preprocessing: { crop: 1, colour: "BGR", scale: 0.5, mean: [1, 2, 3], std: 2 },
    } as const;
    const values = await seen(toyClassifier(), ramp(4, 4), options);
    expect(values[0]).toBe((7 * 0.5 - 1) / 2);
    expect(values[35]).toBe((30 * 0.5 - 3) / 2);
  });
});

describe("values of a model", () => {
  const white = flatImage(4, 4, 255);

  test("are logits, probabilities, or fractions, and become probabilities", async () => {
    const { scale: _, ...raw } = { ...LEVELS.preprocessing };
    const options = { backend: "cpu", preprocessing: { ...raw, scale: 1 / 255, mean: [0, 0.5, 0.9] } } as const;
    const cases = [
      [toyClassifier({ scores: "means" }), "fractions", "softmax"],
      [toyClassifier({ scores: "means", hasSoftmax: true }), "probabilities", "none"],
    ] as const;
    for (const [model, scores, activation] of cases) {
      await using classifier = await Classifier.load(model, options);
      expect(classifier.recognition).toMatchObject({ scores, activation });
      const { classes, task, width, height } = await classifier.classify(white);
      expect([task, width, height, classes.map(({ classId }) => classId)]).toEqual(["classify", 4, 4, [0, 1, 2]]);
      const logits = [1, 0.5, 0.1].map(Math.exp);
      const sum = logits[0]! + logits[1]! + logits[2]!;
      for (const [at, { score, label }] of classes.entries()) {
        expect(score).toBeCloseTo(logits[at]! / sum, 6);
        expect(label).toBe(`class ${at}`);
      }
    }
  });

  test("are each a probability of its own where the caller says", async () => {
    const options = { backend: "cpu", activation: "sigmoid", top: 2 } as const;
    await using classifier = await Classifier.load(toyClassifier({ scores: "means", repeats: 40 }), options);
    const { classes } = await classifier.classify(white);
    const [red, green] = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224];
    // Of equal ones the first come first.
    const best = [(1 - 0.406) / 0.225, green, red].indexOf(Math.max((1 - 0.406) / 0.225, green, red)) === 0 ? 2 : 1;
    expect(classes.map(({ classId }) => classId)).toEqual([best, best + 3]);
    expect(classes[0]!.score).toBeCloseTo(1 / (1 + Math.exp(-(1 - 0.406) / 0.225)), 5);
    expect((await classifier.classify(white, { top: 1 })).classes).toHaveLength(1);
    expect((await classifier.classify(white, { top: 1000 })).classes).toHaveLength(120);
  });

  test("that are no numbers leave no class", async () => {
    const nodes = [
      { op: "ReduceMean", inputs: ["images"], outputs: ["means"], attributes: { axes: [2, 3], keepdims: 0 } },
      { op: "Sqrt", inputs: ["means"], outputs: ["scores"] },
    ];
    const model = onnxModel({
      nodes,
      inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 4, 4] }],
      outputs: [{ name: "scores", dtype: "f32", shape: [1, 3] }],
    });
    await using classifier = await Classifier.load(model, { backend: "cpu" });
    expect((await classifier.classify(flatImage(4, 4, 0))).classes).toEqual([]);
    expect((await classifier.classify(white)).classes).toHaveLength(3);
  });

  test("of a single class are for the caller to say", async () => {
    const model = onnxModel({
      nodes: [
        { op: "ReduceMean", inputs: ["images"], outputs: ["raw"], attributes: { axes: [1, 2, 3], keepdims: 0 } },
        { op: "Unsqueeze", inputs: ["raw", "axis"], outputs: ["score"] },
      ],
      inputs: [{ name: "images", dtype: "f32", shape: ["n", 3, 4, 4] }],
      outputs: [{ name: "score", dtype: "f32", shape: ["n", 1] }],
      initializers: [{ name: "axis", dtype: "i64", shape: [1], data: BigInt64Array.of(1n) }],
    });
    await expect(Classifier.load(model, { backend: "cpu" })).rejects.toThrow(/it has one score/);
    await using classifier = await Classifier.load(model, { ...LEVELS });
    expect((await classifier.classify(white)).classes).toEqual([{ label: "class 0", classId: 0, score: 255 }]);
  });
});

describe("what lies beside a model", () => {
  async function specOf(files: Readonly<Record<string, object | string>>, options = {}, below = "") {
    const place = mkdtempSync(inFolder("beside-"));
    mkdirSync(join(place, below), { recursive: true });
    writeFileSync(join(place, below, "model.onnx"), toyClassifier({ scores: "means", side: "side" }));
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(place, name), typeof content === "string" ? content : JSON.stringify(content));
    }
    await using classifier = await Classifier.load(join(place, below, "model.onnx"), { backend: "cpu", ...options });
    return classifier.recognition;
  }

  test("transformers' files say size, crop, filter, values and names", async () => {
    const vit = { size: { height: 8, width: 8 }, resample: 3, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
    const config = { id2label: { 0: "cat", 1: "dog", 2: "cow" } };
    const found = await specOf({ "preprocessor_config.json": vit, "config.json": config });
    expect(found).toMatchObject({
      size: [8, 8],
      labels: ["cat", "dog", "cow"],
      assumptions: [expect.stringContaining("logits")],
    });
    expect(found.preprocessing).toMatchObject({
      resize: "bicubic",
      resized: [8, 8],
      mean: [0.5, 0.5, 0.5],
      scale: 1 / 255,
    });
    const convnext = {
      size: { shortest_edge: 14 },
      crop_pct: 0.875,
      resample: 3,
      rescale_factor: 0.5,
      do_normalize: false,
    };
    const [near, upwards] = [
      await specOf({ "preprocessor_config.json": convnext }),
      await specOf({ "preprocessor_config.json": convnext }, {}, "onnx"),
    ];
    expect(near.preprocessing).toMatchObject({ resized: 16, scale: 0.5, mean: [0, 0, 0], std: [1, 1, 1] });
    expect(upwards.preprocessing).toEqual(near.preprocessing);
    const clip = {
      size: { shortest_edge: 12 },
      crop_size: { height: 10, width: 10 },
      do_center_crop: true,
      resample: 2,
    };
    const seenByClip = await specOf({
      "preprocessor_config.json": clip,
      "config.json": { problem_type: "multi_label_classification" },
    });
    expect(seenByClip).toMatchObject({
      size: [10, 10],
      activation: "sigmoid",
      preprocessing: { resized: 12, resize: "antialias" },
    });
    const nearest = await specOf({ "preprocessor_config.json": { size: 9, resample: 0 } });
    expect(nearest).toMatchObject({ size: [9, 9], preprocessing: { resized: [9, 9] } });
    expect(nearest.assumptions[0]).toBe("bilinear in place of its own filter 0");
  });

  test("timm's config says the same in its words, and the caller wins", async () => {
    const pretrained_cfg = {
      input_size: [3, 16, 16],
      interpolation: "bicubic",
      crop_pct: 0.95,
      mean: [0.1, 0.2, 0.3],
      std: [1, 1, 1],
    };
    const files = { "config.json": { pretrained_cfg, label_names: ["a", "b", "c"] } };
    const found = await specOf(files);
    expect(found).toMatchObject({ size: [16, 16], labels: ["a", "b", "c"] });
    expect(found.preprocessing).toMatchObject({ resized: 16, resize: "bicubic", mean: [0.1, 0.2, 0.3] });
    const squash = { "config.json": { pretrained_cfg: { ...pretrained_cfg, crop_mode: "squash", crop_pct: 0.8 } } };
    expect((await specOf(squash)).preprocessing.resized).toEqual([20, 20]);
    const options = { size: 12, labels: ["x", "y", "z"], preprocessing: { crop: 0.5, resize: "antialias", mean: 0 } };
    const said = await specOf(files, options);
    expect(said).toMatchObject({ size: [12, 12], labels: ["x", "y", "z"] });
    expect(said.preprocessing).toMatchObject({ resized: 24, resize: "antialias", mean: [0, 0, 0] });
  });

  /** Size of an image, `pretrained_cfg`, and the SHA-256 of the levels that timm 1.0.31 makes of it by `create_transform`. */
  const TIMM = [
    [
      [31, 17],
      { input_size: [3, 8, 8], interpolation: "lanczos", crop_pct: 0.9 },
      "173429d1a26a2a9aea8fd28de7f203ca81c6196b64ca198064108555ba272442",
    ],
    [
      [31, 17],
      {
        input_size: [3, 8, 8],
        interpolation: "bicubic",
        crop_pct: 1.0,
        crop_mode: "border",
        mean: [0.5, 0.25, 0.75],
        std: [1, 1, 1],
      },
      "5b764833c263fff02042f4ec6bd341231088767c3e80f448eb4cf6fa7fc61c94",
    ],
    [
      [17, 31],
      {
        input_size: [3, 9, 8],
        interpolation: "bilinear",
        crop_pct: 0.8,
        crop_mode: "border",
        mean: [0.485, 0.456, 0.406],
        std: [1, 1, 1],
      },
      "a4e07dd43dde34e680d0e4f52250dd24b51157f194175429d32b1489c0ab8215",
    ],
    [
      [31, 17],
      { input_size: [3, 8, 8], interpolation: "bicubic", crop_pct: 0.8, crop_mode: "squash" },
      "385e9211435e07a291dd53f24e1d153e3d88b5f1d97fb8b3ef1d103d23aef477",
    ],
    [
      [31, 17],
      { input_size: [3, 6, 9], interpolation: "bicubic", crop_pct: 0.8, crop_mode: "squash" },
      "a5fc35432c3d709ed2cccee176aff9a83e045440cf9bf88b2201b88433971639",
    ],
    [
      [31, 17],
      { input_size: [3, 6, 9], interpolation: "bicubic", crop_pct: 0.9 },
      "207335240a82fecd3c57972648f2fb4535541da5976355a1199d4773b72dfd65",
    ],
    [
      [17, 31],
      { input_size: [3, 9, 6], interpolation: "bilinear", crop_pct: 0.9 },
      "e4927af5ef0f9381ea4cd3f32bec50d969068e6abf2524ac8d61d4ecc456d4f9",
    ],
  ] as const;
  /** The same of `preprocessor_config.json` and transformers 5.24.0, whose classes work with Pillow. */
  const TRANSFORMERS = [
    [
      [31, 17],
      { size: { shortest_edge: 9 }, crop_size: { height: 8, width: 8 }, resample: 3, do_center_crop: true },
      "085595c732eb9e9364a77b51b9600a016fa824fff1430a8cdfed93e2ca135ad2",
    ],
    [
      [16, 31],
      { size: { shortest_edge: 9 }, crop_size: { height: 6, width: 6 }, resample: 1, do_center_crop: true },
      "028f5434c77689ae5d4a6f71dd4ba9288be140768e9e98b93f1fe5796cf71904",
    ],
    [
      [20, 31],
      { size: { shortest_edge: 8 }, crop_size: { height: 7, width: 7 }, resample: 2, do_center_crop: true },
      "0edb6ebce1253375fbc3393643b88d397e105800f9c3790c99c83fcb73c9be80",
    ],
    [
      [31, 17],
      { size: { height: 7, width: 7 }, resample: 1 },
      "52d91ab889d443a887be694e4cb4973e05fe161e05c8aed2efc5e09d76e64bbc",
    ],
    [
      [31, 17],
      { size: { shortest_edge: 7 }, crop_pct: 0.875, resample: 3 },
      "aed87c0e3a09568b29e5d3862d72a3c653174307290be4fea08833fa5cb9bd19",
    ],
  ] as const;

  test("is done to an image as timm and transformers do it, on every pixel", async () => {
    const cases = [
      ...TIMM.map(([size, pretrained_cfg, hash]) => [size, "config.json", { pretrained_cfg }, hash] as const),
      ...TRANSFORMERS.map(([size, config, hash]) => [size, "preprocessor_config.json", config, hash] as const),
    ];
    for (const [[width, height], name, content, hash] of cases) {
      const place = mkdtempSync(inFolder("golden-"));
      const sides = "pretrained_cfg" in content ? content.pretrained_cfg.input_size : undefined;
      const side = "crop_size" in content ? content.crop_size.height : 7;
      const model = toyClassifier({ side: sides === undefined ? side : [sides[1]!, sides[2]!] });
      writeFileSync(join(place, "model.onnx"), model);
      writeFileSync(join(place, name), JSON.stringify(content));
      const levels = {
        backend: "cpu",
        activation: "none",
        top: 1000,
        preprocessing: { scale: 1, mean: 0, std: 1 },
      } as const;
      await using classifier = await Classifier.load(join(place, "model.onnx"), levels);
      const values = valuesOf(await classifier.classify(wavy(width!, height!)));
      const found = new Bun.CryptoHasher("sha256").update(Uint8Array.from(values)).digest("hex");
      expect([content, found]).toEqual([content, hash]);
    }
  });

  test("is ignored where it is no object, or says nothing of images", async () => {
    warnings = [];
    const found = await specOf({ "preprocessor_config.json": "[", "config.json": { id2label: { 0: "one" } } });
    expect(found).toMatchObject({ size: [224, 224], labels: [], preprocessing: { resized: 256 } });
    expect(warnings.some((text) => text.includes("preprocessor_config.json"))).toBe(true);
  });
});

describe("the pre-processing of a family", () => {
  test("follows from Ultralytics' metadata, the name, and the input", async () => {
    const metadata = { task: "classify", imgsz: "[8, 8]", names: "{0: 'red', 1: 'green', 2: 'blue'}" };
    await using own = await Classifier.load(toyClassifier({ scores: "means", side: "side", metadata }), {
      backend: "cpu",
    });
    expect(own.recognition).toMatchObject({ size: [8, 8], labels: ["red", "green", "blue"], fixedSize: undefined });
    expect(own.recognition.preprocessing).toMatchObject({
      resized: 8,
      mean: [0, 0, 0],
      std: [1, 1, 1],
      resize: "antialias",
    });
    expect((await own.classify(imageOf(Uint8Array.of(9, 99, 0), { width: 1, height: 1 }))).classes[0]!.label).toBe(
      "green",
    );
    const lite = inFolder("efficientnet_lite4.onnx");
    writeFileSync(lite, toyClassifier({ scores: "means", side: 300 }));
    await using named = await Classifier.load(lite, { backend: "cpu" });
    expect(named.recognition.preprocessing).toMatchObject({
      resized: 332,
      resize: "bicubic",
      scale: 1,
      mean: [127, 127, 127],
    });
    await using keras = await Classifier.load(toyClassifier({ scores: "means", layout: "NHWC" }), { backend: "cpu" });
    expect(keras.recognition.preprocessing).toMatchObject({ layout: "NHWC", scale: 1 / 127.5, mean: [1, 1, 1] });
    await using bytes = await Classifier.load(toyClassifier({ scores: "means", dtype: "u8" }), { backend: "cpu" });
    expect(bytes.recognition.preprocessing).toMatchObject({ dtype: "u8", scale: 1, mean: [0, 0, 0], std: [1, 1, 1] });
  });
});

describe("a classifier and a detector", () => {
  const rows = Float32Array.of(0, 1, 1, 9, 9, 0, 0.9, 1, 1, 1, 9, 9, 0, 0.8);
  /** Two rows that begin with the number of an image, for any image. */
  const numbered = onnxModel({
    nodes: [
      { op: "ReduceMean", inputs: ["images"], outputs: ["mean"], attributes: { axes: [0, 1, 2, 3], keepdims: 0 } },
      { op: "Sub", inputs: ["mean", "mean"], outputs: ["nothing"] },
      { op: "Add", inputs: ["rows", "nothing"], outputs: ["output"] },
    ],
    inputs: [{ name: "images", dtype: "f32", shape: ["batch", 3, 16, 16] }],
    outputs: [{ name: "output", dtype: "f32", shape: ["rows", 7] }],
    initializers: [{ name: "rows", dtype: "f32", shape: [2, 7], data: rows }],
  });

  test("are told apart by name, by shape, and by rows of seven numbers", async () => {
    const asClassifier = async (model: Uint8Array): Promise<string> =>
      Classifier.load(model, { backend: "cpu" }).then(
        () => "loaded",
        (error: Error) => error.message,
      );
    expect(await asClassifier(toyDetector({ metadata: { task: "detect" } }))).toMatch(
      /its task is "detect"\nHint: .*`Detector`/,
    );
    expect(await asClassifier(toyDetector())).toContain("Hint: load it with `Detector`");
    expect(await asClassifier(numbered)).toContain("Hint: load it with `Detector`");
    await using detector = await Detector.load(numbered, { backend: "cpu" });
    expect(detector.recognition.head).toBe("yolov7-rows");
    for (const model of [
      toyClassifier({ scores: "means" }),
      toyClassifier({ scores: "means", metadata: { task: "classify", names: "['a', 'b', 'c']" } }),
      sevenClasses("output"),
    ]) {
      const refused = Detector.load(model, { backend: "cpu" });
      await expect(refused).rejects.toThrow(/as a detector: it is a classifier, .*\nHint: load it with `Classifier`/);
      await expect(refused).rejects.toThrow(ModelError);
      await using found = await Model.load(model, { backend: "cpu" });
      expect(found.task).toBe("classify");
    }
    await expect(ImageModel.load(toyClassifier(), { backend: "cpu" })).rejects.toThrow("load it with `Classifier`");
    // Nor is an engine built of one: that takes minutes.
    await using session = await Session.fromBytes(sevenClasses("output"), "seven", { optimization: "disable" });
    const opened = openedSession(session, "seven", undefined);
    await expect(new DetectTask(DEFAULT_DETECT_TASK_OPTIONS).check(opened)).rejects.toThrow("it is a classifier");
    await expect(new ClassifyTask({}).check(opened)).resolves.toBeUndefined();
    await using named = await Detector.load(sevenClasses("output"), { backend: "cpu", head: "yolov7-rows" });
    expect(named.recognition.head).toBe("yolov7-rows");
  });

  /** Seven classes under the name by which YOLOv7's rows are known. */
  function sevenClasses(name: string): Uint8Array<ArrayBuffer> {
    return onnxModel({
      nodes: [
        { op: "ReduceMean", inputs: ["images"], outputs: ["means"], attributes: { axes: [2, 3], keepdims: 0 } },
        { op: "MatMul", inputs: ["means", "weights"], outputs: [name] },
      ],
      inputs: [{ name: "images", dtype: "f32", shape: ["batch", 3, 16, 16] }],
      outputs: [{ name, dtype: "f32", shape: ["batch", 7] }],
      initializers: [
        {
          name: "weights",
          dtype: "f32",
          shape: [3, 7],
          data: Float32Array.from({ length: 21 }, (_, at) => Math.sin(at)),
        },
      ],
    });
  }
});

describe("calls", () => {
  const model = toyClassifier({ scores: "means", hasSoftmax: true });
  const colours = [0, 1, 2].map((at) =>
    imageOf(
      Uint8Array.from([0, 1, 2], (c) => (c === at ? 255 : 0)),
      { width: 1, height: 1 },
    ),
  );

  test("batches and streams keep the order, and errors stay with their image", async () => {
    await using classifier = await Classifier.load(model, { backend: "cpu", batch: 4, inFlight: 2, top: 1 });
    const batch = await classifier.classifyBatch([...colours, ...colours]);
    expect(batch.map(({ classes }) => classes[0]!.classId)).toEqual([0, 1, 2, 0, 1, 2]);
    const failed: number[] = [];
    const found: [number, number][] = [];
    const sources = [colours[2]!, new Uint8Array(9), colours[1]!];
    for await (const { index, classes } of classifier.stream(sources, {
      top: 2,
      onError: (_, at) => failed.push(at),
    })) {
      found.push([index, classes[0]!.classId]);
      expect(classes).toHaveLength(2);
    }
    expect([found, failed]).toEqual([
      [
        [0, 2],
        [2, 1],
      ],
      [1],
    ]);
    await expect(classifier.classify(new Uint8Array(9))).rejects.toThrow(ImageError);
    await expect(classifier.classify(colours[0]!, { signal: AbortSignal.abort(new Error("no more")) })).rejects.toThrow(
      "no more",
    );
    await expect(classifier.classify(colours[0]!, { tpo: 1 } as object)).rejects.toThrow(/Unknown option "tpo"/);
    await classifier.warmUp({ size: [20, 20] });
    await classifier.close();
    await expect(classifier.classify(colours[0]!)).rejects.toThrow(ClosedError);
  });

  test("options are checked, and names must be as many as the classes", async () => {
    await expect(Classifier.load(model, { top: 0 })).rejects.toThrow(OptionError);
    await expect(Classifier.load(model, { preprocessing: { crop: 2 } })).rejects.toThrow(OptionError);
    await expect(Classifier.load(model, { backend: "cpu", labels: ["one"] })).rejects.toThrow(
      "it has 3 classes, got 1 class name",
    );
    // The model's own that are too many or too few may be of another model: they are left out, which is said.
    const metadata = { task: "classify", names: "{0: 'red', 1: 'green'}" };
    warnings = [];
    await using misnamed = await Classifier.load(toyClassifier({ scores: "means", metadata }), { backend: "cpu" });
    expect(misnamed.labels).toEqual([]);
    expect(warnings.filter((text) => text.startsWith("Ignoring the class"))).toEqual([
      expect.stringMatching(
        /^Ignoring the class names of the model.*: it has 3 classes, and its metadata 2 class names; give one for each class/,
      ),
    ]);
    warnings = [];
    await using classifier = await Classifier.load(toyClassifier({ scores: "means", batch: 1 }), {
      backend: "cpu",
      size: 9,
      batch: 3,
    });
    expect(classifier.recognition.size).toEqual([4, 4]);
    expect(warnings.filter((text) => /Ignoring `size`|Reduced `batch`/.test(text))).toHaveLength(2);
  });

  test("where the choice is open and the task does not run on the best machine, the CPU is taken, and the log says so", async () => {
    const refusal = new UnavailableError(
      'Cannot load a classifier: the task "classify" does not run on a GPU',
      "backend",
    );
    using _ = registerFast(() => Promise.reject(refusal));
    warnings = [];
    using _open = withoutBackendChoice();
    await using classifier = await Classifier.load(model);
    expect(classifier.backend.kind).toBe("cpu");
    expect(
      warnings.filter((text) => /^Running on the CPU.*task "classify" does not run on a GPU/.test(text)),
    ).toHaveLength(1);
    await expect(Classifier.load(model, { backend: "fast" })).rejects.toBe(refusal);
  });

  test("a resize that a GPU has not is refused by name before a model is looked at, and where the choice is open the CPU has it", async () => {
    using _ = registerFast(async (_source, task) => {
      await task.check?.({} as never);
      throw new Error("The task was not refused");
    });
    const options = { ...LEVELS, preprocessing: { ...LEVELS.preprocessing, resize: "lanczos4" } } as const;
    const refusal = 'the resize "lanczos4" does not run on a GPU\nHint: run it with backend "cpu"';
    await expect(Classifier.load(model, { ...options, backend: "fast" })).rejects.toThrow(
      `Cannot load a classifier: ${refusal}`,
    );
    await expect(new MapTask(DEPTH, { preprocessing: { resize: "lanczos4" } }).check({} as never)).rejects.toThrow(
      `Cannot load a depth model: ${refusal}`,
    );
    expect(() => new CudaHostTask({ ...YOLO_PREPROCESSING, resize: "lanczos4" }, () => ({}) as never)).toThrow(refusal);
    warnings = [];
    using _open = withoutBackendChoice();
    await using classifier = await Classifier.load(model, { ...options, backend: "auto" });
    expect(classifier.backend.kind).toBe("cpu");
    expect(classifier.recognition.preprocessing.resize).toBe("lanczos4");
    expect(warnings.filter((text) => /^Running on the CPU.*resize "lanczos4"/.test(text))).toHaveLength(1);
  });
});
