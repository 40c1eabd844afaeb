import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { engineOptions } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { Detector } from "../../src/api/detector.ts";
import { ImageModel } from "../../src/api/image-model.ts";
import { Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { Classifier, DepthEstimator, orMaps, SemanticSegmenter } from "../../src/api/whole-image-models.ts";
import { ImageError, OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import type { Task } from "../../src/runtime/task.ts";
import { DEPTH, depthImage } from "../../src/tasks/depth/depth-task.ts";
import { keptSize } from "../../src/tasks/image/map-recognition.ts";
import { MapTask } from "../../src/tasks/image/map-task.ts";
import { maskOfClass, SEMANTIC } from "../../src/tasks/semantic/semantic-task.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { fixedModel } from "../support/fixed-model.ts";
import { flatImage } from "../support/flat-image.ts";
import { fileFolder } from "../support/folder.ts";
import { wavy } from "../support/images.ts";
import { isMissing, sharedFile, sharedPath } from "../support/shared.ts";
import { openFrom, RTX } from "../support/tensorrt.ts";
import { toyMap } from "../support/toy-map.ts";

const inFolder = fileFolder("maps");
let warnings: string[] = [];
let formerSink: ReturnType<typeof setLogSink>;

beforeAll(() => {
  formerSink = setLogSink((level, text) => {
    if (level === "warn") warnings.push(text);
  });
});
afterAll(() => {
  setLogSink(formerSink);
});

const CPU = { backend: "cpu" } as const;

/** A model in a folder with files beside it. */
function beside(model: Uint8Array, files: Readonly<Record<string, object>>): string {
  const place = mkdtempSync(inFolder("model-"));
  writeFileSync(join(place, "model.onnx"), model);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(place, name), JSON.stringify(content));
  return join(place, "model.onnx");
}

function sha256(data: ArrayBufferView): string {
  return new Bun.CryptoHasher("sha256").update(data as Uint8Array).digest("hex");
}

/** Numbers at five rows and five columns. */
function gridOf(map: Float32Array, width: number, height: number): number[] {
  const ys = [0, 1, Math.floor(height / 3), Math.floor(height / 2), height - 1];
  const xs = [0, 2, Math.floor(width / 3), Math.floor(width / 2), width - 1];
  return ys.flatMap((y) => xs.map((x) => map[y * width + x]!));
}

function expectClose(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length);
  for (const [at, value] of wanted.entries()) expect(Math.abs(found[at]! - value)).toBeLessThan(2e-5);
}

/**
 * Size of an image, input, classes and shrinking of the toy, and the SHA-256 of the map of PyTorch 2.15 and transformers 5.24:
 * SegformerImageProcessorPil, `interpolate(mode="bilinear")` to the size of the image, argmax; of a single class, above 0.
 */
const SEGFORMER = [
  [[50, 37], [32, 24], 7, 2, "2006109e20c010251cce5940f5d00e2e54bdc99b4f6c13eb1ed61ea162467200"],
  [[9, 70], [16, 16], 7, 2, "92812c8b82865c9580ed0c5d23d2cdd555620e74059be2e006e3a7ffb1e4ff01"],
  [[40, 30], [32, 32], 300, 4, "526a0e7760b76f4e37fad6227dc2b32a59c2e7c8a3ed8521d1d27e2a55597054"],
  [[31, 17], [16, 16], 1, 1, "f467c55643cbdd80a5fea28884cac0e4f29023925dc10a28cfb4b65a02d21957"],
] as const;

/** Size of an image, `preprocessor_config.json`, height and width of the input, smallest and largest depth, and some: by PyTorch. */
const DPT = [
  [
    [50, 37],
    {
      size: { height: 28, width: 28 },
      keep_aspect_ratio: true,
      ensure_multiple_of: 14,
      image_mean: [0.485, 0.456, 0.406],
      image_std: [0.229, 0.224, 0.225],
    },
    [28, 42],
    -0.362508,
    1.713198,
    [
      1.09383, 0.54597, 1.51381, 0.36174, 1.23311, 0.97154, 0.61129, 1.34247, 0.3683, 1.0992, 0.38544, 0.66228, 0.64425,
      0.58258, 0.93059, 0.91824, 0.68944, 0.43339, 0.73955, 1.12513, -0.16844, 0.26909, 0.51423, -0.0326, 0.29114,
    ],
  ],
  [
    [37, 90],
    {
      size: { height: 42, width: 42 },
      keep_aspect_ratio: true,
      ensure_multiple_of: 14,
      image_mean: [0.485, 0.456, 0.406],
      image_std: [0.229, 0.224, 0.225],
    },
    [98, 42],
    -1.562385,
    3.312079,
    [
      1.95278, -0.04466, 0.31142, 0.72911, -0.12294, 1.70104, 0.01986, 0.05807, 0.87976, 0.24449, 1.4, 0.33158, 0.24833,
      -0.51097, 0.3145, -0.37844, 2.08817, 0.79336, -0.74898, 0.98997, -0.49813, 0.33713, 0.44117, 1.59215, 1.63399,
    ],
  ],
  [
    [50, 37],
    { size: { height: 24, width: 32 }, image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] },
    [24, 32],
    -0.182736,
    1.417728,
    [
      1.00279, 0.67472, 0.97247, 0.35036, 0.75726, 0.99414, 0.68645, 0.92044, 0.39444, 0.78597, 0.51029, 0.65453,
      0.99839, 0.70528, 0.60968, 1.14244, 0.89987, 0.42758, 0.53748, 1.19344, 0.71381, 0.34596, 0.49261, 0.81982,
      0.75615,
    ],
  ],
] as const;

/** Size of an image, of the input, smallest and largest depth, and some: `cv2.resize`, then `align_corners=True` in PyTorch. */
const ULTRALYTICS_DEPTH = [
  [
    [50, 37],
    [32, 24],
    0.400724,
    2.622354,
    [
      1.88627, 1.59072, 1.45386, 1.13918, 1.92157, 1.20229, 1.85629, 1.83714, 1.39974, 1.88148, 1.68497, 1.59789,
      1.51298, 1.52877, 1.60654, 1.35294, 1.44806, 1.51573, 1.7002, 1.1451, 1.8, 1.64338, 1.57279, 0.98519, 1.7098,
    ],
  ],
  [
    [9, 20],
    [16, 16],
    0.626008,
    2.556373,
    [
      1.8549, 1.8902, 1.43088, 1.09412, 2.17647, 1.56698, 1.43044, 1.33336, 1.4548, 1.19505, 1.67162, 1.53364, 1.5016,
      1.39267, 1.61011, 1.80743, 1.17074, 0.92312, 0.82518, 1.34303, 2.00784, 1.28333, 0.81569, 0.71373, 1.58039,
    ],
  ],
] as const;

test("maps of NaN are reported, once a model; infinities are not, unless there is nothing else", async () => {
  const values = (...those: number[]): number[] => Array.from({ length: 16 }, (_, at) => those[at % those.length]!);
  const cases = [
    ["depth", values(Number.NaN), /^Implausible map of the model.*: 16 of 16 numbers are NaN or infinite; FP16/],
    ["depth", values(1, 2, Number.NaN, Number.POSITIVE_INFINITY), /: 8 of 16 numbers/],
    ["depth", values(Number.POSITIVE_INFINITY), /: 16 of 16 numbers/],
    ["depth", values(1, Number.POSITIVE_INFINITY), undefined],
    ["semantic", [...values(1), ...values(2, 2, 2, Number.NaN)], /: 4 of 32 numbers/],
    ["semantic", [...values(1), ...values(Number.NEGATIVE_INFINITY)], undefined],
  ] as const;
  for (const [task, numbers, warning] of cases) {
    const shape = task === "depth" ? [1, 4, 4] : [1, 2, 4, 4];
    const model = fixedModel([{ name: "map", shape, values: numbers }], { metadata: { task } });
    const image = flatImage(8, 8, 9);
    warnings = [];
    if (task === "depth") {
      await using estimator = await DepthEstimator.load(model, CPU);
      for (let call = 0; call < 2; call++) await estimator.estimate(image);
    } else {
      await using segmenter = await SemanticSegmenter.load(model, CPU);
      for (let call = 0; call < 2; call++) await segmenter.segment(image);
    }
    const found = warnings.filter((line) => line.startsWith("Implausible"));
    expect(found).toEqual(warning === undefined ? [] : [expect.stringMatching(warning)]);
  }
});

describe("classes of pixels", () => {
  test("of logits are those of transformers' SegFormer, on every pixel", async () => {
    for (const [[width, height], [w, h], classes, pool, hash] of SEGFORMER) {
      const file = { size: { width: w, height: h }, resample: 2 };
      const path = beside(toyMap({ classes, pool }), { "preprocessor_config.json": file });
      await using segmenter = await SemanticSegmenter.load(path, CPU);
      const { task, classMap, areas, ...result } = await segmenter.segment(wavy(width!, height!));
      expect([classes, task, result.width, result.height, sha256(classMap)]).toEqual([
        classes,
        "semantic",
        width!,
        height!,
        hash,
      ]);
      expect(classMap).toBeInstanceOf(classes > 256 ? Uint16Array : Uint8Array);
      expect(areas.reduce((sum, { pixels }) => sum + pixels, 0)).toBe(width! * height!);
      for (const { classId, pixels, share, label } of areas) {
        expect([label, pixels]).toEqual([`class ${classId}`, classMap.filter((id) => id === classId).length]);
        expect(share).toBe(pixels / classMap.length);
      }
      expect(areas).toEqual(areas.toSorted((a, b) => b.pixels - a.pixels));
    }
  });

  test.skipIf(isMissing("models", "tasks", "layouts", "yolo26-sem.onnx"))(
    "of Ultralytics' model are those of ../shared/reference, on every pixel",
    async () => {
      interface Wanted {
        readonly classes: Readonly<
          Record<string, { readonly pixels: number; readonly mask: { readonly counts: string } }>
        >;
      }
      const text = readFileSync(sharedPath("reference", "layouts", "yolo26-sem.json"), "utf8");
      const { pictures } = JSON.parse(text) as { readonly pictures: Readonly<Record<string, Wanted>> };
      const path = sharedPath("models", "tasks", "layouts", "yolo26-sem.onnx");
      await using segmenter = await SemanticSegmenter.load(path, CPU);
      expect(segmenter.labels).toEqual(["class0", "class1", "class2"]);
      for (const [name, { classes }] of Object.entries(pictures)) {
        const file = sharedFile("images", "photos", name) ?? sharedPath("images", "coco_val2017", name);
        const result = await segmenter.segment(file);
        const found = result.areas.map(({ classId, pixels }) => [
          classId,
          pixels,
          maskOfClass(result, classId).toRle({ compressed: true }).counts,
        ]);
        const wanted = Object.entries(classes).map(([id, { pixels, mask }]) => [Number(id), pixels, mask.counts]);
        expect([name, ...found.sort()]).toEqual([name, ...wanted.sort()]);
      }
    },
  );

  test("that the model has chosen are the same from every kind of integers", async () => {
    const size = [32, 24] as const;
    const image = wavy(32, 24);
    await using reference = await SemanticSegmenter.load(toyMap({ size, classes: 9 }), CPU);
    const wanted = await reference.segment(image);
    expect(wanted.areas.length).toBeGreaterThan(2);
    for (const form of ["u8", "i32", "i64", "i64-channel"] as const) {
      for (const given of [size, undefined]) {
        const options = given === undefined ? { ...CPU, size } : CPU;
        const model = toyMap({ ...(given && { size: given }), classes: 9, form, name: "classes" });
        await using segmenter = await SemanticSegmenter.load(model, options);
        const { classMap, areas } = await segmenter.segment(image);
        expect([form, ...classMap]).toEqual([form, ...wanted.classMap]);
        expect(areas).toEqual(wanted.areas);
      }
    }
  });

  test("are those of the model's own pixels where tiles have the size of its input", async () => {
    const image = wavy(70, 41);
    await using whole = await SemanticSegmenter.load(toyMap({ classes: 9 }), { ...CPU, size: [70, 41] });
    const wanted = await whole.segment(image);
    for (const batch of [1, 4]) {
      const options = { ...CPU, tile: [32, 24], overlap: 6, batch } as const;
      await using tiled = await SemanticSegmenter.load(toyMap({ batch: "n", size: [32, 24], classes: 9 }), options);
      // Two images, the second of a single tile.
      const [first, second] = await tiled.segmentBatch([image, wavy(32, 24)]);
      expect(first!.classMap).toEqual(wanted.classMap);
      expect(second!.classMap).toHaveLength(32 * 24);
    }
  });

  test("an overlap that leaves nothing of a tile is refused when the model is loaded, one without tiles is reported", async () => {
    for (const load of [
      () => SemanticSegmenter.load(toyMap({ classes: 3 }), { ...CPU, tile: [64, 32], overlap: 32 }),
      () => DepthEstimator.load(toyMap({ form: "depth" }), { ...CPU, tile: 32, overlap: 32 }),
    ]) {
      await expect(load()).rejects.toThrow(
        "`overlap` must be at most 31 pixels for tiles of 32, got 32\nHint: lower `overlap`, or raise `tile`",
      );
    }
    warnings = [];
    await using whole = await SemanticSegmenter.load(toyMap({ classes: 3 }), { ...CPU, overlap: 32 });
    expect([whole.task, warnings]).toEqual([
      "semantic",
      expect.arrayContaining(["Ignoring `overlap`: it needs a `tile`"]),
    ]);
  });

  test("have the names of the caller, the metadata or the files", async () => {
    const config = { architectures: ["SegformerForSemanticSegmentation"], id2label: { 0: "a", 1: "b", 2: "c" } };
    const path = beside(toyMap({ classes: 3, pool: 2 }), { "config.json": config });
    await using byFile = await SemanticSegmenter.load(path, CPU);
    expect(byFile.labels).toEqual(["a", "b", "c"]);
    await using own = await SemanticSegmenter.load(path, { ...CPU, labels: ["x", "y", "z"] });
    expect(own.labels).toEqual(["x", "y", "z"]);
    await expect(SemanticSegmenter.load(path, { ...CPU, labels: ["x"] })).rejects.toThrow(
      /3 classes, got 1 class name\n/,
    );
    await using found = await Model.load(path, CPU);
    expect(found.task).toBe("semantic");
    const metadata = { task: "semantic", names: "{0: 'road', 1: 'sky'}" };
    await using named = await SemanticSegmenter.load(toyMap({ classes: 2, metadata }), { ...CPU, size: 16 });
    const { areas } = await named.segment(flatImage(9, 9, 255));
    expect([areas.length, ["road", "sky"].includes(areas[0]!.label)]).toEqual([1, true]);
    expect(named.recognition.preprocessing).toMatchObject({ fit: "letterbox", mean: [0, 0, 0], pad: [114, 114, 114] });
  });

  test("are drawn in a colour of their own, beside the image or on it", async () => {
    await using segmenter = await SemanticSegmenter.load(toyMap({ classes: 9 }), { ...CPU, size: [20, 10] });
    const image = wavy(20, 10);
    const before = image.data.slice();
    const result = await segmenter.segment(image);
    const drawn = await result.draw({ labels: false, scores: false, opacity: 150 / 255 });
    // White over what is not the class's own.
    const palette = ["#ffffff", "#000000"];
    const black = await result.draw({ labels: false, scores: false, opacity: 1, palette });
    expect([...black.data.subarray(0, 3)]).toEqual(new Array(3).fill(result.classMap[0]! % 2 === 0 ? 255 : 0));
    expect((await result.draw({ masks: false, labels: false, scores: false })).data).toEqual(before);
    expect(image.data).toEqual(before);
    expect([drawn.width, drawn.height, drawn.format]).toEqual([20, 10, "RGB"]);
    const [first, other] = [result.classMap[0]!, result.classMap.findIndex((id) => id !== result.classMap[0])];
    const inkAt = (at: number): number[] =>
      [0, 1, 2].map((c) => (drawn.data[at * 3 + c]! - (before[at * 3 + c]! * 105) / 255) / (150 / 255));
    const same = result.classMap.lastIndexOf(first);
    for (const c of [0, 1, 2]) expect(Math.abs(inkAt(0)[c]! - inkAt(same)[c]!)).toBeLessThan(4);
    expect(inkAt(other).some((level, c) => Math.abs(level - inkAt(0)[c]!) > 8)).toBe(true);
  });
});

describe("depth", () => {
  test("is that of transformers' DPT, in the ratio of the image or stretched", async () => {
    for (const [[width, height], file, [inputHeight, inputWidth], min, max, grid] of DPT) {
      const config = { model_type: "depth_anything", architectures: ["DepthAnythingForDepthEstimation"] };
      const model = toyMap({ form: "depth", pool: 2, name: "predicted_depth" });
      const path = beside(model, { "preprocessor_config.json": file, "config.json": config });
      await using estimator = await DepthEstimator.load(path, CPU);
      expect(estimator.recognition).toMatchObject({ kind: "relative", filter: "bicubic", assumptions: [] });
      const { multiple, size } = estimator.recognition;
      const used = multiple === undefined ? size : keptSize([width!, height!], size, multiple);
      expect(used).toEqual([inputWidth!, inputHeight!]);
      const result = await estimator.estimate(wavy(width!, height!));
      expect([result.task, result.kind, result.depthMap.length]).toEqual(["depth", "relative", width! * height!]);
      expectClose([result.min, result.max, ...gridOf(result.depthMap, width!, height!)], [min, max, ...grid]);
    }
  });

  test("of Ultralytics' models is in metres, stretched, its corners in place", async () => {
    const metadata = { task: "depth" };
    for (const [[width, height], size, min, max, grid] of ULTRALYTICS_DEPTH) {
      const model = toyMap({ form: "depth-channel", name: "output0", size: [size[0]!, size[1]!], metadata });
      await using estimator = await DepthEstimator.load(model, CPU);
      const result = await estimator.estimate(wavy(width!, height!));
      expect(result.kind).toBe("metric");
      expectClose([result.min, result.max, ...gridOf(result.depthMap, width!, height!)], [min, max, ...grid]);
    }
  });

  test("of tiles is metric as it is, and relative on the scale of the whole image", async () => {
    const [width, height] = [60, 40];
    // Smooth, so that the whole image has the same depth when it is small.
    const data = Uint8Array.from({ length: width * height * 3 }, (_, k) => {
      const at = Math.floor(k / 3);
      return 3 * (at % width) + Math.floor(at / width);
    });
    const image = imageOf(data, { width, height });
    const levels = { resize: "bilinear", mean: 0, std: 1 } as const;
    const options = { ...CPU, preprocessing: levels, kind: "metric" } as const;
    await using whole = await DepthEstimator.load(toyMap({ form: "depth", name: "depth" }), {
      ...options,
      size: [60, 40],
    });
    const truth = (await whole.estimate(image)).depthMap;
    const tile = { tile: [24, 24], overlap: 8 } as const;
    const fixed = { size: [24, 24], name: "depth" } as const;
    await using metric = await DepthEstimator.load(toyMap({ ...fixed, form: "depth" }), { ...options, ...tile });
    const asItIs = (await metric.estimate(image)).depthMap;
    for (let at = 0; at < truth.length; at++) expect(Math.abs(asItIs[at]! - truth[at]!)).toBeLessThan(1e-6);

    const model = toyMap({ ...fixed, form: "depth-relative" });
    const relativeOf = async (kind: "relative" | "metric"): Promise<Float32Array> => {
      await using estimator = await DepthEstimator.load(model, { ...options, ...tile, kind });
      return (await estimator.estimate(image)).depthMap;
    };
    /** How far a map is from a line through the truth, of the width of its values. */
    const errorOf = (map: Float32Array): number => {
      const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
      const [meanMap, meanTruth] = [mean(map), mean(truth)];
      let [products, squares] = [0, 0];
      for (const [at, value] of truth.entries()) {
        products += (value - meanTruth) * (map[at]! - meanMap);
        squares += (value - meanTruth) ** 2;
      }
      const slope = products / squares;
      const off = truth.map((value, at) => Math.abs(meanMap + slope * (value - meanTruth) - map[at]!));
      return Math.max(...off) / (Math.max(...map) - Math.min(...map));
    };
    expect(errorOf(await relativeOf("relative"))).toBeLessThan(0.02);
    // Each tile by itself is on a scale of its own.
    expect(errorOf(await relativeOf("metric"))).toBeGreaterThan(0.2);
  });

  test("becomes an image whose near parts are bright, and none of what is no number", async () => {
    const depthMap = Float32Array.of(1, 3, 2, Number.NaN);
    const timing = { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 };
    const result = { task: "depth", kind: "metric", depthMap, min: 1, max: 3, width: 2, height: 2, timing } as const;
    const red = ({ data }: Image): number[] => [0, 1, 2, 3].map((at) => data[at * 3]!);
    expect(red(depthImage(result, { palette: "grey" }))).toEqual([255, 0, 128, 0]);
    expect(red(depthImage({ ...result, kind: "relative" }, { palette: "grey" }))).toEqual([0, 255, 128, 0]);
    expect(red(depthImage(result, { palette: "grey", max: 2 }))).toEqual([255, 0, 0, 0]);
    const [, , , dark] = red(depthImage(result));
    expect([[...depthImage(result).data.subarray(0, 3)], dark]).toEqual([[252, 255, 164], 0]);
  });
});

describe("models of maps", () => {
  test("are found out, refused by every other façade with their own", async () => {
    const semantic = toyMap({ classes: 9, size: [16, 16] });
    const depth = toyMap({ form: "depth", name: "predicted_depth", size: [16, 16] });
    const named = toyMap({ form: "depth-channel", size: [16, 16], metadata: { task: "depth-estimation" } });
    // As MiDaS has it: the sides alone tell that it is no row of objects.
    const nameless = toyMap({ form: "depth", name: "797", size: [64, 32] });
    warnings = [];
    for (const [model, task, facade] of [
      [semantic, "semantic", "SemanticSegmenter"],
      [depth, "depth", "DepthEstimator"],
      [named, "depth", "DepthEstimator"],
      [nameless, "depth", "DepthEstimator"],
    ] as const) {
      await using loaded = await Model.load(model, CPU);
      expect(loaded.task).toBe(task);
      const others = task === "depth" ? SemanticSegmenter : DepthEstimator;
      for (const other of [Detector, Classifier, ImageModel, PoseEstimator, others]) {
        const refused = await other.load(model, CPU).then(
          () => "loaded",
          (error: Error) => error.message,
        );
        expect([other.name, refused]).toEqual([
          other.name,
          expect.stringContaining(`Hint: load it with \`${facade}\``),
        ]);
      }
    }
    expect(warnings.some((text) => text.includes("ImageNet's mean and deviation"))).toBe(true);
    expect(warnings.some((text) => text.includes('say `kind: "metric"`'))).toBe(true);
    // One channel without a word about what it is may be an image.
    await using image = await Model.load(toyMap({ form: "depth-channel", name: "grey", size: [16, 16] }), CPU);
    expect(image.task).toBe("image");
  });

  const preprocessor = { size: { height: 28, width: 42 }, keep_aspect_ratio: true, ensure_multiple_of: 14 };
  const kept = { preprocessor, config: { architectures: ["DepthAnythingForDepthEstimation"] } };
  const PIXELS = [{ name: "images", dtype: "f32", shape: [-1, 3, -1, -1] }] as const;
  const DETECT = { name: "any", engineShapes: () => ({ size: [640, 640] }) } as unknown as Task<
    unknown,
    unknown,
    unknown
  >;

  test("are built for the sizes that their files or metadata say, those that keep the ratio up to 2:1", () => {
    const sizeOf = (task: Pick<Task<unknown, unknown, unknown>, "engineShapes">, metadata = {}): unknown =>
      task.engineShapes({ model: { inputs: PIXELS, outputs: [], metadata }, source: "a model" }).size;
    const wide = { min: [28, 14], opt: [42, 28], max: [84, 56] };
    expect(sizeOf(new MapTask(DEPTH, { files: kept as never }))).toEqual(wide);
    expect(sizeOf(new MapTask(DEPTH, { files: kept as never, size: [70, 42] }))).toEqual([70, 42]);
    expect(sizeOf(new MapTask(DEPTH, {}))).toEqual([518, 518]);
    const own = { task: "semantic", imgsz: "[96, 64]" };
    expect(sizeOf(new MapTask(SEMANTIC, {}), own)).toEqual([64, 96]);
    const configs = { semantic: {}, depth: {} } as never;
    expect(sizeOf(orMaps(DETECT, configs, kept as never))).toEqual(wide);
    expect(sizeOf(orMaps(DETECT, configs, undefined), own)).toEqual([64, 96]);
    expect(sizeOf(orMaps(DETECT, configs, undefined))).toEqual([640, 640]);
  });

  test("refuse an image whose ratio an engine was not built for, with the way out", async () => {
    const outputs = [{ name: "predicted_depth", dtype: "f32", shape: [-1, -1, -1] }] as const;
    const model = { inputs: [{ name: "pixel_values", dtype: "f32", shape: [-1, 3, -1, -1] }], outputs, metadata: {} };
    const range = { min: [1, 3, 14, 28], max: [1, 3, 56, 84] };
    const opened = { model, source: "the plan", described: async () => model, rangeOf: () => range } as never;
    const { sizeFor } = await new MapTask(DEPTH, { files: kept as never }).recognise(opened);
    expect(sizeFor([{ width: 60, height: 30 }])).toEqual([56, 28]);
    expect(() => sizeFor([{ width: 900, height: 100 }])).toThrow(
      /^Cannot make a map of an image of 900x100: .* would be \[1, 3, 28, 252\], .* \[1, 3, 14, 28\] to .*\nHint: say the `size`/,
    );
  });

  test.skipIf(RTX === undefined)("are built for any ratio, as TensorRT-RTX has been fetched", async () => {
    const onnx = toyMap({ form: "depth", pool: 2, batch: "n", name: "predicted_depth" });
    const task = new MapTask(DEPTH, { files: kept as never, batch: 3 });
    const shapes = engineOptions({ bytes: onnx, source: "a model" }, task, { precision: undefined });
    const { bytes } = await buildPlan(onnx, { ...shapes, computeCapabilities: ["8.6"] }, { library: openFrom(RTX!) });
    expect(readPlan(bytes, "depth").origin?.computeCapabilities).toEqual([[8, 6]]);
  });

  test("keep the order of a stream, and errors with their image; options are checked", async () => {
    await using estimator = await DepthEstimator.load(
      toyMap({ form: "depth", name: "depth", batch: "n", size: [8, 8] }),
      {
        ...CPU,
        batch: 2,
        kind: "metric",
      },
    );
    const sources = [flatImage(4, 4, 0), "missing.jpg", flatImage(5, 3, 255)];
    const failed: number[] = [];
    const onError = (error: unknown, index: number): void => {
      expect(error).toBeInstanceOf(ImageError);
      failed.push(index);
    };
    const seen: [number, number][] = [];
    for await (const { index, width } of estimator.stream(sources, { onError })) seen.push([index, width]);
    expect([seen, failed]).toEqual([
      [
        [0, 4],
        [2, 5],
      ],
      [1],
    ]);
    const aborted = AbortSignal.abort(new Error("enough"));
    await expect(estimator.estimate(sources[0]!, { signal: aborted })).rejects.toThrow("enough");
    await expect(estimator.estimate(sources[0]!, { top: 1 } as never)).rejects.toThrow(OptionError);
    await expect(DepthEstimator.load("a.onnx", { kind: "far" } as never)).rejects.toThrow("metric or relative");
    await expect(DepthEstimator.load("a.onnx", { labels: [] } as never)).rejects.toThrow(OptionError);
    const several = toyMap({ form: "depth", name: "depth", size: [8, 8] });
    await expect(SemanticSegmenter.load(several, CPU)).rejects.toThrow(
      /its task is "depth"\ninputs:\n(.*\n)+Hint: .*DepthEstimator/,
    );
    const coarse = toyMap({ form: "depth", name: "depth", size: [8, 8], pool: 2 });
    await expect(SemanticSegmenter.load(coarse, CPU)).rejects.toThrow(/must have one output with logits/);
    await expect(DepthEstimator.load(several, { ...CPU, output: "far" })).rejects.toThrow(/named "far"/);
  });
});
