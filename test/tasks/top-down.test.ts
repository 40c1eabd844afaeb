import { describe, expect, test } from "bun:test";
import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import { Detector, Model, PoseEstimator, TopDownPoseEstimator, type TopDownPoseOptions } from "../../src/index.ts";
import { type FoundPoint, readHeatmap, readSimcc } from "../../src/tasks/pose/person-image.ts";
import { recogniseTopDown } from "../../src/tasks/pose/top-down.ts";
import { nv12Pair } from "../support/nv12-images.ts";
import { type NodeSpec, onnxModel } from "../support/onnx-writer.ts";
import { toyTopDown } from "../support/toy-top-down.ts";

/** Levels as they are, so that scores are the brightest ones. */
const plain: TopDownPoseOptions = { backend: "cpu", preprocessing: { mean: 0, std: 1 } };

/** Bright spots, one a channel, on black. */
function spots(
  width: number,
  height: number,
  places: readonly (readonly [x: number, y: number])[],
  padding = 0,
): Image {
  const pitchBytes = width * 3 + padding;
  const data = new Uint8Array(pitchBytes * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (const [channel, place] of places.entries()) {
        const level = 255 - 6 * ((x - place[0]) ** 2 + (y - place[1]) ** 2);
        const at = y * pitchBytes + x * 3 + (channel % 3);
        data[at] = Math.max(data[at]!, level, 0);
      }
    }
  }
  return imageOf(data, { width, height, pitchBytes, format: "RGB" });
}

function load(model: Uint8Array, options: TopDownPoseOptions = {}): Promise<TopDownPoseEstimator> {
  return TopDownPoseEstimator.load(model, { ...plain, ...options });
}

/** A model of crops of 192x256 whose outputs are the same for each. */
function fixedPoints(
  outputs: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>>,
): Uint8Array {
  const named = Object.entries(outputs);
  return onnxModel({
    nodes: [
      { op: "ReduceMean", inputs: ["input"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      ...named.map(([name]): NodeSpec => ({ op: "Add", inputs: [`${name}_values`, "nothing"], outputs: [name] })),
    ],
    initializers: [
      { name: "zero", dtype: "f32", shape: [], data: Float32Array.of(0) },
      ...named.map(([name, { shape, data }]) => ({ name: `${name}_values`, dtype: "f32" as const, shape, data })),
    ],
    inputs: [{ name: "input", dtype: "f32", shape: [1, 3, 256, 192] }],
    outputs: named.map(([name, { shape }]) => ({ name, dtype: "f32", shape })),
  });
}

function expectPoints(
  { keypoints }: { readonly keypoints: readonly { readonly x: number; readonly y: number }[] },
  places: readonly (readonly [x: number, y: number, ...unknown[]])[],
  within: number,
): void {
  expect(keypoints.length).toBe(3);
  for (const [at, [x, y]] of places.entries()) {
    expect(Math.abs(keypoints[at]!.x - x)).toBeLessThan(within);
    expect(Math.abs(keypoints[at]!.y - y)).toBeLessThan(within);
  }
}

const places = [
  [60, 40],
  [70, 55],
  [52, 75],
] as const;
const people = [{ box: [45, 30, 80, 90] }] as const;

describe("TopDownPoseEstimator", () => {
  test.each(["simcc", "heatmap"] as const)("%s: points are pixels of the image, whatever its pitch", async (kind) => {
    await using estimator = await load(toyTopDown(kind));
    for (const padding of [0, 7]) {
      const { objects, width, task } = await estimator.estimate(spots(131, 101, places, padding), people);
      expect([task, width, objects.length]).toEqual(["pose", 131, 1]);
      expect(objects[0]).toMatchObject({ label: "person", score: 1, box: people[0].box });
      expectPoints(objects[0]!, places, kind === "simcc" ? 0.8 : 1.6);
    }
  });

  test("transformers' ViTPose: DARK finds points between the pixels of the map", async () => {
    await using estimator = await load(toyTopDown("heatmap", { name: "heatmaps" }));
    expect(estimator.recognition).toMatchObject({ isUnbiased: true, output: { refinement: "dark" } });
    const { objects } = await estimator.estimate(spots(131, 101, places), people);
    expectPoints(objects[0]!, places, 0.8);
  });

  // By transformers' VitPoseImageProcessor.post_process_pose_estimation, for a box whose crop is in whole pixels.
  const byTransformers = [
    [35.439, 711.024, 0.9],
    [284.471, 359.69, 0.87998],
    [533.503, 8.357, 0.86471],
  ] as const;

  test("transformers' ViTPose: the points of heat maps and a box are those of transformers", async () => {
    const maps = Float32Array.from({ length: 3 * 64 * 48 }, (_, at) => {
      const point = Math.floor(at / (64 * 48));
      const [x, y] = [at % 48, Math.floor(at / 48) % 64];
      return 0.9 * Math.exp(-((x - 7 - 15.3 * point) ** 2 + (y - 50 + 21.7 * point) ** 2) / 8);
    });
    const model = fixedPoints({ heatmaps: { shape: [1, 3, 64, 48], data: maps } });
    await using estimator = await load(model);
    const image = imageOf(new Uint8Array(640 * 900 * 3), { width: 640, height: 900 });
    const { objects } = await estimator.estimate(image, [{ box: [64.003, 3.5, 544.003, 819.5] }]);
    expectPoints(objects[0]!, byTransformers, 0.02);
    for (const [at, { score }] of objects[0]!.keypoints.entries()) expect(score).toBeCloseTo(byTransformers[at]![2], 4);
  });

  test("SimCC: the points of bins and a box are those of rtmlib", async () => {
    const bins = (length: number, best: readonly number[]): Float32Array<ArrayBuffer> =>
      Float32Array.from({ length: 2 * length }, (_, at) =>
        at % length === best[Math.floor(at / length)]! ? 0.75 : 0.25,
      );
    const model = fixedPoints({
      simcc_x: { shape: [1, 2, 384], data: bins(384, [100, 383]) },
      simcc_y: { shape: [1, 2, 512], data: bins(512, [301, 0]) },
    });
    await using estimator = await load(model, { simccScore: "mean" });
    const image = imageOf(new Uint8Array(640 * 900 * 3), { width: 640, height: 900 });
    const { objects } = await estimator.estimate(image, [{ box: [74.26, 21.7, 350.74, 431.3] }]);
    const found = objects[0]!.keypoints.map(({ x, y, score }) => [x, y, score]);
    expect(found).toEqual([
      [120.5, 271.5, 0.75],
      [403.5, -29.5, 0.75],
    ]);
  });

  test("crops in whole pixels move no point of what is in the image", async () => {
    await using estimator = await load(toyTopDown("heatmap", { name: "heatmaps" }));
    const [x, y] = [57.37, 61.81];
    const data = new Uint8Array(120 * 130 * 3);
    for (let at = 0; at < 120 * 130; at++) {
      const distance = ((at % 120) - x) ** 2 + (Math.floor(at / 120) - y) ** 2;
      data.fill(Math.round(230 * Math.exp(-distance / (2 * 8 ** 2))), at * 3, at * 3 + 3);
    }
    const image = imageOf(data, { width: 120, height: 130 });
    const boxes = [0, 0.21, 0.43, 0.68, 0.9].map((by) => ({ box: [30 + by, 20 - by, 84 + by, 98 + by * 2] as const }));
    for (const box of boxes) {
      const { objects } = await estimator.estimate(image, [box]);
      expectPoints(objects[0]!, [[x, y]], 0.1);
    }
  });

  test("boxes that reach beyond the image, at each of its corners", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    const size = [131, 101] as const;
    for (const [x, y] of [
      [4, 5],
      [126, 4],
      [5, 96],
      [125, 95],
    ] as const) {
      const { objects } = await estimator.estimate(
        spots(...size, [
          [x, y],
          [x, y],
          [x, y],
        ]),
        [{ box: [x - 15, y - 20, x + 15, y + 20] }],
      );
      expectPoints(objects[0]!, [[x, y]], 0.8);
    }
  });

  test("RGBA and NV12 give what RGB gives", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    const grey = [
      [61, 41],
      [61, 41],
      [61, 41],
    ] as const;
    const rgb = spots(130, 100, grey);
    const luma = (at: number): number => rgb.data[at * 3]!;
    const rgba = new Uint8Array(130 * 100 * 4);
    const nv12 = new Uint8Array(130 * 150).fill(128);
    for (let at = 0; at < 130 * 100; at++) {
      rgba.fill(luma(at), at * 4, at * 4 + 3);
      nv12[at] = luma(at);
    }
    const images: Image[] = [
      rgb,
      imageOf(rgba, { width: 130, height: 100, format: "RGBA" as PixelFormat }),
      imageOf(nv12, { width: 130, height: 100, format: "NV12", yuvRange: "full" }),
    ];
    const box = [{ box: [47, 31, 80, 90] }] as const;
    const results = await estimator.estimateBatch(images, [box, box, box]);
    for (const { objects } of results) expect(objects[0]!.keypoints).toEqual([...results[0]!.objects[0]!.keypoints]);
    expectPoints(results[0]!.objects[0]!, grey, 0.8);
  });

  test("NV12 with planes and rows apart gives what its RGB gives, from odd pixels on", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    for (const [width, height, form] of [
      [131, 101, { gap: 5, chromaGap: 3, between: 7, yuvRange: "full" }],
      [130, 577, { yuvStandard: "BT.709" }],
      [1, 3, { gap: 1 }],
    ] as const) {
      const { nv12, rgb } = nv12Pair(width, height, form);
      const boxes = Array.from({ length: 7 }, (_, at) => ({
        box: [(at * width) / 9 - 2, (at * height) / 8 - 3, ((at + 2) * width) / 9, ((at + 4) * height) / 8] as const,
      }));
      const [found, wanted] = await estimator.estimateBatch([nv12, rgb], [boxes, boxes]);
      expect(found!.objects).toEqual([...wanted!.objects]);
    }
  });

  test("boxes of less than a pixel, at the last edge too, and boxes much larger than the image", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    const image = spots(131, 101, places);
    const small = [
      [130.5, 100.5, 131, 101],
      [-5, -5, 0.2, 0.2],
      [10.4, 10.4, 10.41, 10.41],
    ] as const;
    const { objects } = await estimator.estimate(
      image,
      small.map((box) => ({ box })),
    );
    for (const [at, { keypoints }] of objects.entries()) {
      const [x1, y1, x2, y2] = small[at]!;
      for (const { x, y } of keypoints) expect(Math.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2)).toBeLessThan(6);
    }
    const [huge] = (await estimator.estimate(image, [{ box: [-5000, -5000, 5000, 5000] }])).objects;
    expect(huge!.keypoints.length).toBe(3);
    expect(estimator.estimate(image, [{ box: [-1e9, 0, 1e9, 9] }])).rejects.toThrow("is larger than 1048576 pixels");
    const bare = estimator as unknown as Record<
      "estimate" | "estimateBatch",
      (...given: unknown[]) => Promise<unknown>
    >;
    for (const call of [
      () => bare.estimate(image),
      () => bare.estimate(image, {}),
      () => bare.estimateBatch([image]),
    ]) {
      await expect(call()).rejects.toThrow(
        /^Cannot estimate a pose: the boxes of the people are missing\nHint: give the/,
      );
    }
  });

  test("a call ends well that was made before close(), and is refused after it; one that is aborted rejects alone", async () => {
    const image = spots(131, 101, places);
    const many = Array.from({ length: 70 }, () => people[0]);
    const file = await encodeImage(image);
    const estimator = await load(toyTopDown("simcc"));
    const controller = new AbortController();
    const aborted = estimator.estimate(image, many, { signal: controller.signal });
    const beside = estimator.estimate(file, many);
    controller.abort(new Error("enough"));
    expect(aborted).rejects.toThrow("enough");
    const closing = estimator.close();
    expect(estimator.estimate(image, people)).rejects.toThrow("is closed");
    expect((await beside).objects.length).toBe(70);
    await closing;
  });

  test("all people of all images of a call are one run of the model; a fixed batch takes as many as it has rows", async () => {
    const two = [
      spots(131, 101, places),
      spots(90, 120, [
        [30, 50],
        [40, 60],
        [50, 70],
      ]),
    ];
    const twelve = Array.from({ length: 12 }, () => people[0]);
    const eight = Array.from({ length: 8 }, () => ({ box: [20, 30, 60, 100] as const }));
    await using open = await load(toyTopDown("simcc"));
    const [one, other] = await open.estimateBatch(two, [twelve, eight]);
    expect([one!.objects.length, other!.objects.length]).toEqual([12, 8]);
    for (const { keypoints } of [...one!.objects, ...other!.objects]) expect(keypoints[0]!.score).toBeGreaterThan(19);
    expectPoints(
      other!.objects[7]!,
      [
        [30, 50],
        [40, 60],
        [50, 70],
      ],
      0.8,
    );
    await using four = await load(toyTopDown("simcc", { batch: 4 }));
    const five = await four.estimate(two[0]!, twelve.slice(0, 5));
    expect(five.objects.map(({ keypoints }) => keypoints)).toEqual(Array(5).fill(five.objects[0]!.keypoints));
    await using single = await load(toyTopDown("simcc", { batch: 1 }));
    const { objects } = await single.estimate(two[0]!, twelve);
    for (const { keypoints } of objects) expect(keypoints[0]!.score).toBeLessThan(1.01);
    expect(objects.map(({ keypoints: [{ x } = { x: 0 }] }) => x)).toEqual(
      one!.objects.map(({ keypoints }) => keypoints[0]!.x),
    );
  });

  test("nobody there is no run; what a detector said of a person stays", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    const image = spots(131, 101, places);
    expect((await estimator.estimate(image, [])).objects).toEqual([]);
    const found = { label: "player", classId: 3, score: 0.5, box: people[0].box };
    expect((await estimator.estimate(image, [found])).objects[0]).toMatchObject(found);
    await estimator.warmUp();
  });

  test("points that are no numbers are COCO's 0, 0, 0, and their person is counted", async () => {
    const bins = (length: number): Float32Array<ArrayBuffer> => {
      const values = new Float32Array(2 * length);
      values.fill(Number.NaN, 0, length);
      values[length + 10] = 0.5;
      return values;
    };
    const model = fixedPoints({
      simcc_x: { shape: [1, 2, 384], data: bins(384) },
      simcc_y: { shape: [1, 2, 512], data: bins(512) },
    });
    await using estimator = await load(model);
    const { objects, implausible } = await estimator.estimate(spots(131, 101, places), people);
    expect([objects.length, implausible]).toEqual([1, 1]);
    expect(objects[0]!.keypoints).toMatchObject([{ x: 0, y: 0, score: 0 }, { score: 0.5 }]);
  });

  test("scores by mmpose's rule and by rtmlib's; blue first for rtmlib's models", async () => {
    const image = spots(131, 101, [places[0]]);
    await using bgr = await load(toyTopDown("simcc"), { preprocessing: { mean: 0, std: 1, colour: "BGR" } });
    const { objects } = await bgr.estimate(image, people);
    expect(objects[0]!.keypoints.map(({ score }) => Math.round(score))).toEqual([0, 0, 1]);
    const to: FoundPoint = { x: 0, y: 0, score: 0 };
    const bins = { x: 8, y: 4 };
    readSimcc([0, 0, 0, 9, 1, 0, 0, 0, 0, 0], [9, 0, 4, 0, 0], { x: 2, y: 1 }, bins, [4, 2], "min", to);
    expect(to).toEqual({ x: 0.5, y: 0.5, score: 4 });
    readSimcc([0, 0, 0, 9, 1, 0, 0, 0, 0, 0], [9, 0, 4, 0, 0], { x: 2, y: 1 }, bins, [4, 2], "mean", to);
    expect(to.score).toBe(6.5);
  });

  test("what cannot be done is refused, with what can", async () => {
    await using estimator = await load(toyTopDown("simcc"));
    const image = spots(20, 20, [[5, 5]]);
    expect(estimator.estimate(image, [{ box: [30, 30, 40, 40] }])).rejects.toThrow(
      "lies outside the image of 20x20 pixels",
    );
    expect(estimator.estimate(image, [{ box: [4, 4, 4, 9] }])).rejects.toThrow("has no area");
    expect(estimator.estimate(image, [{ box: [Number.NaN, 4, 4, 9] }])).rejects.toThrow("has no area");
    expect(estimator.estimateBatch([image], [])).rejects.toThrow("give one list of boxes for each image");
    expect(TopDownPoseEstimator.load(toyTopDown("simcc"), { preprocessing: { fit: "stretch" } })).rejects.toThrow(
      "leave out `fit`",
    );
    const square = onnxModel({
      nodes: [{ op: "Identity", inputs: ["images"], outputs: ["out"] }],
      inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 8, 8] }],
      outputs: [{ name: "out", dtype: "f32", shape: [1, 3, 8, 8] }],
    });
    expect(TopDownPoseEstimator.load(square, plain)).rejects.toThrow("`PoseEstimator`");
    for (const facade of [PoseEstimator, Detector, Model]) {
      for (const rows of [undefined, ["output0", "output1"]] as const) {
        const model = toyTopDown("simcc", rows && { rows });
        await expect(facade.load(model, { backend: "cpu" })).rejects.toThrow("`TopDownPoseEstimator`");
      }
    }
  });
});

describe("readHeatmap", () => {
  // By transformers 5's VitPose: f32 maps of 12x16 with a Gaussian each, argmax and refined.
  const refined = [
    [2.999907, 1.987327, 0.9],
    [8.300175, 8.800014, 0.874372],
    [1.575079, -0.5, 0.838223],
    [6.900008, 6.399989, 0.866634],
  ] as const;

  test("DARK gives what transformers gives, at the edge too", () => {
    const to: FoundPoint = { x: 0, y: 0, score: 0 };
    for (const [point, [x, y, score]] of refined.entries()) {
      const centre = [((point * 5 + 3) % 12) + 0.3 * point, ((point * 7 + 2) % 16) - 0.2 * point] as const;
      const values = Float32Array.from({ length: 12 * 16 }, (_, at) => {
        const distance = ((at % 12) - centre[0]) ** 2 + (Math.floor(at / 12) - centre[1]) ** 2;
        return 0.9 * Math.exp(-distance / (2 * 1.5 ** 2));
      });
      readHeatmap({ values, at: 0, width: 12, height: 16 }, [12, 16], { refinement: "dark", isUnbiased: true }, to);
      expect(to.x).toBeCloseTo(x, 3);
      expect(to.y).toBeCloseTo(y, 3);
      expect(to.score).toBeCloseTo(score, 5);
    }
  });

  test("a quarter of a pixel towards the larger neighbour, none at the edge", () => {
    const to: FoundPoint = { x: 0, y: 0, score: 0 };
    const how = { refinement: "quarter", isUnbiased: false } as const;
    const values = [0, 0, 0, 0, 0, 1, 9, 2, 0, 5, 0, 0];
    readHeatmap({ values, at: 0, width: 4, height: 3 }, [16, 12], how, to);
    expect(to).toEqual({ x: 2.25 * 4, y: 1 * 4, score: 9 });
    readHeatmap({ values: [9, 1, 1, 1], at: 0, width: 2, height: 2 }, [2, 2], how, to);
    expect(to).toEqual({ x: 0, y: 0, score: 9 });
  });
});

test("a model that takes bytes normalises them itself", () => {
  const outputs = ["simcc_x", "simcc_y"].map(
    (name, at) => ({ name, dtype: "f32", shape: [1, 17, [384, 512][at]!] }) as const,
  );
  const specOf = (dtype: "f32" | "u8") => {
    const model = { inputs: [{ name: "input", dtype, shape: [1, 3, 256, 192] }], outputs, metadata: {} };
    return recogniseTopDown(model, "it", { simccScore: "min", batch: 1 }).preprocessing;
  };
  expect(specOf("f32")).toMatchObject({ dtype: "f32", scale: 1 / 255, fit: "stretch" });
  expect(specOf("u8")).toMatchObject({ dtype: "u8", scale: 1, mean: [0, 0, 0], std: [1, 1, 1], fit: "stretch" });
});
